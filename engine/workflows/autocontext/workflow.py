"""Autocontext as a kind of project; see ``protocol.Workflow``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...pixels.autocontext import NAMES
from ...project import Project, ProjectFile, WorkflowKind, read_common
from ...project.autocontext_project import AutocontextProject, read_autocontext_project
from ..pixel.workflow import count_table_columns, resolve_table, table_notes
from .flow import check_lane, classify_lane, plan_work, result_infos, work_voxels

__all__ = [
    "check_lane",
    "classify_lane",
    "count_table_columns",
    "describe",
    "explain",
    "plan_work",
    "read",
    "resolve_table",
    "result_infos",
    "result_names",
    "table_notes",
    "work_voxels",
]


def read(file: ProjectFile, project: Project, kind: WorkflowKind) -> AutocontextProject:
    """Read features and classifiers of both stages. Raises ClassifierMissing, ProjectError."""
    return read_autocontext_project(file, project)


def describe(file: ProjectFile, kind: WorkflowKind) -> tuple[tuple[str, str], ...]:
    """Describe the second stage: the fields of every summary are those of the first."""
    stage = read_autocontext_project(file, read_common(file, file.path, kind)).stages[1]
    selected = sum(cell for row in stage.features.matrix for cell in row)
    classifier = stage.classifier
    classes = ", ".join(f"{i} {name}" for i, name in enumerate(classifier.label_names, 1))
    text = (
        f"classes {classes}; {selected} features, {classifier.column_count} columns; "
        f"{classifier.tree_count} trees, {classifier.node_count} nodes"
    )
    return (("stage 2", text),)


def explain(project: AutocontextProject) -> Mapping[str, Any]:
    """Return the classes of each stage."""
    return {"stages": [{"classes": list(stage.classifier.label_names)} for stage in project.stages]}


def result_names(project: AutocontextProject) -> tuple[str, ...]:
    """Names of the results, the default first."""
    return NAMES

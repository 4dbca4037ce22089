"""Autocontext as a kind of project; see ``protocol.Workflow``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from ...pixels.autocontext import ALL_STAGES, NAMES, OF_STAGE
from ...pixels.results import CLASS_RESULTS, PROBABILITIES, SEGMENTATION, UNCERTAINTY
from ...project import Project, ProjectFile, WorkflowKind, read_common
from ...project.autocontext_project import AutocontextProject, read_autocontext_project
from ..pixel.workflow import count_table_columns, resolve_table, table_notes
from .flow import check_lane, classify_lane, plan_work, result_infos, work_voxels

if TYPE_CHECKING:
    from ..protocol import ClassView


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
    "view_classes",
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


def view_classes(project: AutocontextProject, results: Collection[str], has_table: bool) -> ClassView | None:
    """Describe how the classes of the last computed stage can be seen; None if no result needs classes."""
    from ...project.colours import read_colours  # for reports only
    from ..protocol import ClassView

    stages = [2] if ALL_STAGES in results else []
    for name in results:
        stage, result = OF_STAGE.get(name, (0, None))
        if result is not None and result.name in CLASS_RESULTS:
            stages.append(stage)
    if not stages:
        return None
    stage = max(stages)
    shown = project.stages[stage - 1]
    names = shown.classifier.label_names
    colours = read_colours(project.path, shown.labels_group, len(names))
    segmentation, uncertainty, probabilities = (
        f"{name} Stage {stage}" for name in (SEGMENTATION, UNCERTAINTY, PROBABILITIES)
    )
    return ClassView(names, colours, segmentation, uncertainty, probabilities=probabilities)

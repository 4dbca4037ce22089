"""Pixel Classification as a kind of project; see ``protocol.Workflow``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from ...errors import UsageError, setting
from ...export.tables import TableSettings
from ...inputs.images import InputImage
from ...pixels.results import CLASS_RESULTS, PROBABILITIES, RESULTS, SEGMENTATION, UNCERTAINTY
from ...project import PixelProject, Project, ProjectFile, WorkflowKind, read_pixel_project
from ...requests import TableRequest
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


def read(file: ProjectFile, project: Project, kind: WorkflowKind) -> PixelProject:
    """Read features and classifier. Raises ClassifierMissing, ProjectError."""
    return read_pixel_project(file, project)


def describe(file: ProjectFile, kind: WorkflowKind) -> tuple[tuple[str, str], ...]:
    """Return nothing: the summary of every project has the fields of pixel classification."""
    return ()


def explain(project: PixelProject) -> Mapping[str, Any]:
    """Return nothing beyond the entries of every project."""
    return {}


def result_names(project: PixelProject) -> tuple[str, ...]:
    """Names of the results, the default first."""
    return tuple(result.name for result in RESULTS)


def view_classes(project: PixelProject, results: Collection[str], has_table: bool) -> ClassView | None:
    """Describe how the classes of a run can be seen that exports these results; None if it does not need them."""
    from ...project.colours import read_colours  # for reports only
    from ..protocol import ClassView

    if not CLASS_RESULTS.intersection(results):
        return None
    names = project.classifier.label_names
    colours = read_colours(project.path, project.labels_group, len(names))
    return ClassView(names, colours, SEGMENTATION, UNCERTAINTY, probabilities=PROBABILITIES)


def resolve_table(project: Project, request: TableRequest, *, lane_count: int) -> None:
    """Return None. Raises UsageError if a table was requested."""
    # An empty file name requests a table, too.
    for option, is_given in (
        ("table_filename", request.table_filename is not None),
        ("table_only", request.table_only),
    ):
        if is_given:
            raise UsageError(
                f"{setting(option)}: {project.workflow} projects have no objects, so there is no table of them"
            )


def table_notes(project: Project, table: TableSettings) -> list[str]:
    """Return no lines: there is no table."""
    return []


def count_table_columns(project: Project, images: Mapping[str, InputImage], settings: TableSettings) -> int:
    """Return 0: there is no table."""
    return 0

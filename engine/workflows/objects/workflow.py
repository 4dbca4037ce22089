"""Object Classification as a kind of project; see ``protocol.Workflow``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from ...errors import UsageError, setting
from ...export.tables import TableSettings
from ...export.tables import resolve_table as resolve_object_table
from ...inputs.images import InputImage
from ...objects.results import PREDICTIONS, results_of
from ...pixels.results import SEGMENTATION
from ...project import ObjectProject, Project, ProjectFile, ThresholdSettings, WorkflowKind, read_object_project
from ...project.annotations import GROUP as PIXEL_GROUP
from ...project.object_annotations import GROUP
from ...requests import TableRequest
from .flow import check_lane, classify_lane, compute_part, plan_work, result_infos, work_voxels
from .plan import count_columns, find_division_obstacle

if TYPE_CHECKING:
    from ..protocol import ClassView


__all__ = [
    "check_lane",
    "classify_lane",
    "compute_part",
    "count_table_columns",
    "describe",
    "explain",
    "find_division_obstacle",
    "plan_work",
    "read",
    "resolve_table",
    "result_infos",
    "result_names",
    "table_notes",
    "view_classes",
    "work_voxels",
]


def read(file: ProjectFile, project: Project, kind: WorkflowKind) -> ObjectProject:
    """Read features, classifiers and stages. Raises ClassifierMissing, ProjectError."""
    return read_object_project(file, project, has_thresholds=kind.has_thresholds, has_pixels=kind.has_pixels)


def describe(file: ProjectFile, kind: WorkflowKind) -> tuple[tuple[str, str], ...]:
    """Return nothing: the summary of every project has the fields of object classification."""
    return ()


def result_names(project: ObjectProject) -> tuple[str, ...]:
    """Names of the results, the default first."""
    return tuple(result.name for result in results_of(has_pixels=project.pixels is not None))


def view_classes(project: ObjectProject, results: Collection[str], has_table: bool) -> ClassView | None:
    """Describe how the classes of objects can be seen, or those of pixels if objects are not classified; or None."""
    from ...project.colours import read_colours  # for reports only
    from ..protocol import ClassView

    exported = [result for result in results_of(has_pixels=project.pixels is not None) if result.name in results]
    if has_table or any(result.make is not None and not result.is_blockwise for result in exported):
        names = project.classifier.label_names
        return ClassView(names, read_colours(project.path, GROUP, len(names)), PREDICTIONS, of_objects=True)
    if project.pixels is None or not any(result.pixel_result for result in exported):
        return None
    names = project.pixels.classifier.label_names
    return ClassView(names, read_colours(project.path, PIXEL_GROUP, len(names)), SEGMENTATION)


def resolve_table(project: ObjectProject, request: TableRequest, *, lane_count: int) -> TableSettings | None:
    """Return the requested table, or the one the project is set up to write. Raises UsageError, ExportError."""
    table = resolve_object_table(request, project.table, lane_count=lane_count)
    if request.table_only and table is None:
        raise UsageError(
            f"{setting('table_only')}: this project was not set up to write a table; say where with "
            f"{setting('table_filename')}"
        )
    return table


def table_notes(project: ObjectProject, table: TableSettings) -> list[str]:
    """Lines about class names that a spreadsheet treats as formulas, and about columns that are left out."""
    lines = []
    if table.format.is_plain_text and not table.is_defused:
        from ...export.formulas import describe_formulas

        lines = [line] if (line := describe_formulas(project.classifier.label_names)) else []
    for plugin, features in project.features.left_out.items():
        names = [name for name in features if table.features is None or name in table.features]
        if names:
            lines.append(
                f"the table lacks the columns of {', '.join(names)} ({plugin}): these object features are not known "
                "here; the classifier does not read them"
            )
    return lines


def count_table_columns(project: ObjectProject, images: Mapping[str, InputImage], settings: TableSettings) -> int:
    """Number of columns of a lane's table."""
    return count_columns(project, images, settings.features)


def explain(project: ObjectProject) -> Mapping[str, Any]:
    """Return the entry ``objects``, which describes how objects are made and classified."""
    features = project.features
    objects = {
        "made_from": _source(project),
        "thresholds": None if project.thresholds is None else _thresholds(project.thresholds),
        "classes": list(project.classifier.label_names),
        "features": sum(len(names) for names in features.selected.values()),
        "features_in_tables": sum(len(names) for names in features.measured(everything=True).values()),
    }
    return {"objects": objects}


def _source(project: ObjectProject) -> str:
    if project.pixels is not None:
        return "probabilities of the project's own pixel stage"
    if project.thresholds is not None:
        return "Prediction Maps"
    return next(role for role in project.roles if role in ("Segmentation Image", "Label Image"))


def _thresholds(settings: ThresholdSettings) -> dict[str, Any]:
    return {
        "method": settings.method,
        "channel": settings.channel,
        "core_channel": settings.core_channel if len(settings.channels) > 1 else settings.channel,
        "low": settings.low,
        "high": settings.high if settings.method in ("hysteresis", "ipht") else None,
        "sigma": dict(zip("zyx", settings.sigma, strict=True)),
        "min_size": settings.min_size,
        "max_size": settings.max_size,
        "needs_whole_image": settings.method == "ipht",
    }

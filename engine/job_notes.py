"""Lines for the log about settings of a request that have no effect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .errors import setting
from .requests import ExportRequest, ResourceRequest, TableRequest

if TYPE_CHECKING:
    from .export.settings import ExportSettings
    from .export.tables import TableSettings
    from .jobs import Request
    from .project import Project


def describe_unused(
    request: Request,
    project: Project,
    results: Sequence[str],
    lane_count: int,
    export: Sequence[ExportSettings],
    table: TableSettings | None,
) -> list[str]:
    """Report everything in a request that has no effect.

    results        names of all images that the workflow of the project can export
    export, table  what the request means
    """
    return [
        *_empty_shard(request, lane_count),
        *_unused_flags(request, project, results),
        *_unused_label_search(request),
        *_unused_training(request),
        *_odd_names(export, table),
        *_unused_safety(request, table),
    ]


def _unused_flags(request: ExportRequest, project: Project, results: Sequence[str]) -> list[str]:
    """Report each flag that requests an image this workflow does not have: ilastik documents that it has no effect."""
    flags = [name for name, source in request.image_flags.items() if source not in results]
    return [f"{setting(name)} has no effect: {project.workflow} projects have no such image" for name in flags]


def _odd_names(export: Sequence[ExportSettings], table: TableSettings | None) -> list[str]:
    """Report each template with placeholders that are never filled in."""
    from .export.filenames import LANE_PLACEHOLDERS, describe_unknown_fields

    lines = [describe_unknown_fields(one.filename_format, setting("output_filename_format")) for one in export]
    lines += [describe_unknown_fields(one.internal_path, setting("output_internal_path")) for one in export]
    if table is not None:
        lines.append(describe_unknown_fields(table.template, setting("table_filename"), LANE_PLACEHOLDERS))
    return list(dict.fromkeys(filter(None, lines)))


def _unused_safety(request: TableRequest, table: TableSettings | None) -> list[str]:
    if request.safe_csv and (table is None or not table.is_defused):
        return [f"{setting('safe_csv')} has no effect: no CSV table is written"]
    return []


def _empty_shard(request: ResourceRequest, lane_count: int) -> list[str]:
    if request.shard is None or request.shard[0] <= lane_count:
        return []
    part, parts = request.shard
    return [f"Shard {part}/{parts} of {lane_count} inputs is empty, so there is nothing to do"]


def _unused_training(request: Request) -> list[str]:
    lines = []
    if not request.readonly and not request.retrain and not request.generate_random_labels:
        lines.append(f"{setting('readonly')}=0 has no effect without {setting('retrain')}")
    if request.variable_importance_path is not None and not request.trains:
        lines.append(f"{setting('variable_importance_path')} has no effect unless a classifier is trained")
    for name in ("random_label_count", "random_label_value"):
        if getattr(request, name) is not None and not request.generate_random_labels:
            lines.append(f"{setting(name)} has no effect without {setting('generate_random_labels')}")
    return lines


def _unused_label_search(request: Request) -> list[str]:
    if request.label_search_value and not request.print_labels_by_slice:
        return [f"{setting('label_search_value')} has no effect without {setting('print_labels_by_slice')}"]
    return []

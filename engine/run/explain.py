"""Explanation of a run as one document of plain values, for the text of a terminal and for programs (JSON).

``docs/explain.md`` describes every field; ``SCHEMA`` changes when a field changes its meaning or is removed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import __version__
from ..axes import CANONICAL
from ..errors import Spell, UsageError, as_field, render_settings
from ..export.images import ExportPlan
from ..inputs.images import InputImage
from ..jobs import Job
from ..messages import describe_error
from ..project import Project, TrainingImage
from ..tiling.time_model import START_S, add_seconds
from ..tiling.work_plan import WorkPlan
from ..workflows import load_workflow
from .batch import check_batch
from .check import JobCheck, LaneCheck, training_images

SCHEMA = "pixelforest/explain/1"

Document = dict[str, Any]


def explain_job(job: Job, spell: Spell = as_field) -> Document:
    """The document. Writes nothing. Raises BackendUnavailable.

    spell   how settings are spelled for the reader
    """
    check = check_batch(job)
    resources, report = check.resources, check.forecast(fail_fast=job.fail_fast)
    status, message = report.status, report.describe(spell)
    if check.error is not None:
        status, message = failure_status(check.error), describe_error(check.error, spell)
    return {
        **_head(status, message),
        "project": _project(job.project),
        "machine": {
            "device": resources.backend.name,
            "threads": resources.threads,
            "memory_bytes": resources.memory_bytes,
        },
        "warnings": [render_settings(text, spell) for text in job.notes],
        "seconds": _rounded(_total_seconds(check)),
        "lanes": [_lane(job, lane, spell, is_begun=True) for lane in check.lanes]
        + [_lane(job, lane, spell, is_begun=False) for lane in _not_begun(job, check)],
    }


def explain_failure(error: Exception, spell: Spell = as_field) -> Document:
    """The document of a run that would not come as far as its lanes."""
    return {**_head(failure_status(error), describe_error(error, spell)), "project": None, "machine": None, "lanes": []}


def failure_status(error: Exception) -> int:
    """Exit status of a run that an error ends: 2 for a usage error, else 1."""
    return 2 if isinstance(error, UsageError) else 1


def _head(status: int, message: str) -> Document:
    return {"schema": SCHEMA, "version": __version__, "status": status, "error": message or None}


def _not_begun(job: Job, check: JobCheck) -> list[LaneCheck]:
    main = job.project.roles[0]
    return [LaneCheck(lane, lane.arguments[main]) for lane in job.lanes[len(check.lanes) :]]


def _total_seconds(check: JobCheck) -> float | None:
    """Estimate the total time. Small lanes share the threads; each was estimated with one."""
    parts = [
        None if lane.work is None or lane.work.seconds is None else lane.work.seconds / check.sharing(lane)
        for lane in check.due
    ]
    return add_seconds(START_S, *parts)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else float(f"{seconds:.2g}")


# ----------------------------------------------------------------------------------------------------------- project


def _project(project: Project) -> Document:
    return {
        "path": str(project.path),
        "workflow": project.workflow,
        "saved_by": project.version or None,
        "roles": list(project.roles),
        "objects": None,
        **load_workflow(project.workflow).explain(project),
    }


# -------------------------------------------------------------------------------------------------------------- lanes


def _lane(job: Job, found: LaneCheck, spell: Spell, *, is_begun: bool) -> Document:
    trained = dict(zip(job.project.roles, training_images(job), strict=True))
    state = "not begun" if not is_begun else "fails" if found.error is not None else "done" if found.is_done else "ok"
    return {
        "lane": found.lane.index + 1,
        "name": found.name,
        "state": state,
        "status": None if not is_begun else 0 if found.error is None else failure_status(found.error),
        "error": None if found.error is None else describe_error(found.error, spell),
        "inputs": [
            _input(role, argument, found.images.get(role), _wanted_axes(job, role, trained[role], spell))
            for role, argument in found.lane.arguments.items()
        ],
        "results": [_result(name, export) for name, export in found.exports.items()],
        "table": _table(job, found),
        "work": None if found.work is None else _work(found, found.work),
        "unchecked": list(found.unchecked),
        "notes": [render_settings(text, spell) for text in found.notes],
        "warnings": [render_settings(text, spell) for text in found.warnings],
    }


def _wanted_axes(job: Job, role: str, trained: TrainingImage | None, spell: Spell) -> tuple[str | None, str]:
    """Requested axes, and the source of the request."""
    given = job.input_options.axes_of_role(job.project.roles.index(role))
    if given:
        return given, spell("input_axes")
    if trained is None or not trained.axes or job.input_options.ignore_training_axistags:
        return None, "the file"
    return trained.axes, "the project"


def _input(role: str, argument: str, image: InputImage | None, wanted: tuple[str | None, str]) -> Document:
    document: Document = {"role": role, "argument": argument, "axes_wanted": wanted[0], "axes_wanted_by": wanted[1]}
    if image is None:
        return {**document, "files": [], "axes": None, "axes_of_file": None, "shape": None, "dtype": None}
    sizes = dict(zip(CANONICAL, image.shape, strict=True))
    return {
        **document,
        "files": [str(file) for file in image.files],
        "axes": image.axes,
        "axes_of_file": image.file_axes if image.has_own_axes else None,
        "shape": {axis: sizes[axis] for axis in image.axes},
        "dtype": image.dtype.name,
        "pixel_size": {axis: size for axis, size in image.resolution.items() if size},
        "units": {axis: unit for axis, unit in image.axis_units.items() if unit},
        "scale": None if image.scales is None else image.scales.active,
        "scales": None if image.scales is None else list(image.scales.shapes),
        "images": list(image.siblings),
        "held_bytes": image.held_bytes,
    }


def _result(name: str, export: ExportPlan) -> Document:
    start, stop = export.region.start, export.region.stop
    return {
        "name": name,
        "format": export.format.name,
        "path": export.shown_path,
        "files": [str(file) for file in export.files],
        "exists": [str(file) for file in export.files if isinstance(file, Path) and os.path.lexists(file)],
        "is_added": export.format.container,
        "axes": export.spec.axes,
        "shape": list(export.spec.shape),
        "dtype": export.spec.dtype.name,
        "bytes": export.spec.nbytes,
        "region": {a: [start[i], stop[i]] for i, a in enumerate(CANONICAL)},
    }


def _table(job: Job, found: LaneCheck) -> Document | None:
    if found.table is None:
        return None
    workflow = load_workflow(job.project.workflow)
    return {
        "path": str(found.table.path),
        "also": None if found.table.ilastik_path is None else str(found.table.ilastik_path),
        "format": found.table.settings.format.name,
        "exists": os.path.lexists(found.table.path),
        "columns": workflow.count_table_columns(job.project, found.images, found.table.settings),
    }


def _work(found: LaneCheck, work: WorkPlan) -> Document:
    held = sum(image.held_bytes for image in found.images.values())
    return {
        "tiles": work.tiles,
        "tile": _by_axis(work.tile),
        "halo": _by_axis(work.halo),
        "memory_bytes": work.memory_bytes + held,
        "scratch_bytes": work.scratch_bytes,
        "seconds": _rounded(work.seconds),
    }


def _by_axis(sizes: tuple[int, int, int]) -> Mapping[str, int]:
    return dict(zip("zyx", sizes, strict=True))

"""Check of a job before a voxel is read: the first step of runs and explanations.

Lanes are opened, inspected and closed again; nothing is written. Every error that does not depend on voxels or other
programs is found here.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ...frozen import frozen
from ..errors import OUTPUT_FILES, ExportError, MemoryTooSmall, as_marked, raise_if_interrupted, setting
from ..export.filenames import LaneNames, Protected, protect
from ..export.images import ExportPlan, check_exports, check_place, may_be_asked, plan_export
from ..export.tables import TablePlan, check_tables, plan_table
from ..inputs.images import InputImage, open_image
from ..inputs.lanes import LaneArguments, describe_axes_choice
from ..jobs import Job
from ..machine import MIB, format_size
from ..project import TrainingImage
from ..resources import Resources
from ..storage.atomic_write import existing_folder
from ..tiling.work_plan import WorkPlan
from ..workflows.protocol import Workflow
from .lane_log import LaneLog
from .outcome import BatchReport, LaneResult

if TYPE_CHECKING:
    from .done_lanes import DoneLanes

# Scripts match on these lines of ilastik, so the loggers keep ilastik's names.
selection_logger = logging.getLogger("ilastik.applets.dataSelection.dataSelectionApplet")
logger = logging.getLogger("pixelforest.batch")

# Lanes with at most this many voxels are computed by one thread each, several in parallel: cut into tiles for many
# threads they would be mostly halo.
SMALL_LANE_VOXELS = 1 << 20
SMALL_LANE_BYTES = 256 * MIB  # memory per lane that limits the number of lanes in parallel
_LABEL = "Label Image"  # as in workflows/objects/inputs.py, whose imports runs without objects do not need


@dataclass(eq=False, repr=False)
class LaneCheck:
    """Findings about a lane; for one that cannot be computed, those up to the error.

    name       its main input, as it was given
    images     by role, closed; their refs open them again
    exports    by name of the result
    voxels     total of its progress
    error      reason why it cannot be computed
    notes, warnings  lines logged about it
    unchecked  parts of its images that only decoding can check
    is_done    True if an earlier run has completed it; is_begun: True if it was about to put its results in place
    has_run    True if an earlier run has begun to compute it in blocks
    block      shape (t, z, y, x) of the blocks that it is computed in; None: as a whole
    has_helpers  True if workers of a cluster, or other jobs, compute steps of it for this process
    """

    lane: LaneArguments
    name: str
    images: dict[str, InputImage] = field(default_factory=dict)
    exports: dict[str, ExportPlan] = field(default_factory=dict)
    table: TablePlan | None = None
    voxels: int = 0
    work: WorkPlan | None = None
    error: Exception | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    is_done: bool = False
    is_begun: bool = False
    has_run: bool = False
    block: tuple[int, ...] | None = None
    has_helpers: bool = False

    @property
    def has_several_blocks(self) -> bool:
        """True if a block is smaller than the results."""
        if self.block is None:
            return False
        extent = next(iter(self.exports.values())).region.shape[:4]
        return any(n < m for n, m in zip(self.block, extent, strict=True))

    @property
    def files(self) -> tuple[Path | str, ...]:
        """Files that it would write."""
        images = [file for export in self.exports.values() for file in export.files]
        return (*images, *([] if self.table is None else self.table.files))


@frozen
class JobCheck:
    """Findings about a job.

    lanes    lanes that were inspected, in order
    skipped  number of lanes not inspected, because the job stops at an earlier lane that cannot be computed
    resources  of the whole job
    workers  number of small lanes computed in parallel
    error    reason why no lane can be computed
    records  records of the lanes that are done; None: the job keeps none
    """

    lanes: tuple[LaneCheck, ...]
    skipped: int
    resources: Resources
    workers: int
    error: Exception | None = None
    records: DoneLanes | None = None

    @property
    def due(self) -> list[LaneCheck]:
        """Lanes to compute."""
        return [lane for lane in self.lanes if lane.error is None and not lane.is_done]

    @property
    def done(self) -> list[LaneCheck]:
        """Lanes that an earlier run has completed."""
        return [lane for lane in self.lanes if lane.is_done]

    def sharing(self, lane: LaneCheck) -> int:
        """Number of lanes computed in parallel with this one, itself included."""
        return self.workers if self.workers > 1 and is_small(lane) else 1

    def forecast(self, *, fail_fast: bool) -> BatchReport:
        """Predict the report of a run in which no error depends on voxels."""
        failed = [lane for lane in self.lanes if lane.error is not None]
        shown = failed if fail_fast and failed else self.lanes
        results = tuple(
            LaneResult(
                lane.lane.index,
                lane.name,
                () if lane.error else lane.files,
                lane.error,
                warnings=lane.warnings,
                is_skipped=lane.is_done,
            )
            for lane in shown
        )
        return BatchReport(results, self.skipped + len(self.lanes) - len(results), is_forecast=True)


def check_job(job: Job, workflow: Workflow, open_resources: Callable[[int], Resources], log: LaneLog) -> JobCheck:
    """Check every lane. Errors are in the result; only errors of ``open_resources`` are raised.

    open_resources  number of voxels -> resources
    log             open; receives the lines about each lane
    """
    records = _open_records(job)
    fixed = protect({job.project.path: "the project", **dict.fromkeys(job.own_files, "a log or report of this run")})
    lanes: list[LaneCheck] = []
    sets: dict[frozenset[Path], LaneCheck] = {}
    for lane in job.lanes:
        if job.fail_fast and lanes and lanes[-1].error is not None:
            break
        found = LaneCheck(lane, lane.arguments[job.project.roles[0]])
        with log.about(lane.index):
            _try(found, partial(_check_lane, found, job, workflow, records, fixed))
            _say_if_repeated(found, job.project.roles[0], sets)
        lanes.append(found)
    good = [found for found in lanes if found.error is None]
    due = [found for found in good if not found.is_done]
    resources = open_resources(sum(found.voxels for found in due))
    workers = count_workers(due, resources)
    error = _find_collision(good) or (None if records is None else records.conflict) or _find_shared_file(job, due)
    if error is None:
        has_failed = len(good) < len(lanes)
        for found in due:
            if job.fail_fast and has_failed:
                break
            with log.about(found.lane.index):
                _try(found, partial(_plan_work, found, job, workflow, resources, workers))
            has_failed = has_failed or found.error is not None
        _check_room([found for found in due if found.error is None])
    _warn_of_places_outside(good, log)
    for found in lanes:
        found.notes, found.warnings = log.notes(found.lane.index), log.warnings(found.lane.index)
    return JobCheck(tuple(lanes), len(job.lanes) - len(lanes), resources, workers, error, records)


def _open_records(job: Job) -> DoneLanes | None:
    if not job.resume:
        return None
    from .done_lanes import DoneLanes

    return DoneLanes(job)


def _open_images(job: Job, lane: LaneArguments, stack: contextlib.ExitStack, into: dict[str, InputImage]) -> None:
    """Open a lane's images by role, closed with the stack."""
    for index, role in enumerate(job.project.roles):
        if role in lane.arguments:
            trained = training_images(job)[index]
            image = open_image(lane.arguments[role], role_index=index, training=trained, options=job.input_options)
            into[role] = stack.enter_context(image)


def training_images(job: Job) -> list[TrainingImage | None]:
    """Images of the project's last lane, in the order of the roles."""
    last = job.project.lanes[-1].images if job.project.lanes else {}
    return [last.get(role) for role in job.project.roles]


def is_small(found: LaneCheck) -> bool:
    """Return True if a lane is computed by one thread, in parallel with others."""
    return found.voxels <= SMALL_LANE_VOXELS


def count_workers(lanes: Sequence[LaneCheck], resources: Resources) -> int:
    """Number of small lanes computed in parallel; 0 or 1: none."""
    return min(sum(map(is_small, lanes)), resources.threads, resources.memory_bytes // SMALL_LANE_BYTES)


# ----------------------------------------------------------------------------------------------------------- one lane


def _try(found: LaneCheck, action: Callable[[], None]) -> None:
    try:
        action()
    except Exception as error:
        raise_if_interrupted(error)
        logger.debug("the error of lane %d came from here", found.lane.index + 1, exc_info=error)
        found.error = error


def _check_lane(found: LaneCheck, job: Job, workflow: Workflow, records: DoneLanes | None, fixed: Protected) -> None:
    """Check a lane; ``fixed``: files other than inputs that must not be written to."""
    project = job.project
    selection_logger.info("%s", describe_axes_choice(job.input_options, training_images(job)))
    with contextlib.ExitStack() as stack:
        _open_images(job, found.lane, stack, found.images)
        for image in found.images.values():
            image.verify()
        found.unchecked = tuple(_find_unchecked(found.images))
        workflow.check_lane(project, found.images)
        main = found.images[project.roles[0]]
        infos = workflow.result_infos(project, found.images)
        inputs = {file: "an input" for image in found.images.values() for file in image.files}
        protected = {**protect(inputs), **fixed}
        for settings in job.export:
            found.exports[settings.source] = plan_export(
                infos[settings.source], main, settings, protected=protected, is_place_checked=records is None
            )
        if job.table is not None:
            found.table = plan_table(job.table, main, lane=found.lane.index, protected=protected)
        if records is not None:
            _look_up(found, job, workflow, records)
        found.voxels = workflow.work_voxels(project, found.images, found.exports, has_table=found.table is not None)


def _look_up(found: LaneCheck, job: Job, workflow: Workflow, records: DoneLanes) -> None:
    """Find out if a lane is done, else check the places of its results: those of a done one are taken, by itself."""
    from .block_run import can_be_cut, can_be_helped, plan_blocks, refuse_to_cut
    from .done_lanes import is_remote

    is_in_parts = job.blocks is not None or job.finish
    has_urls = is_remote(found)  # such results are made in blocks or steps only, however small they are
    if has_urls and not all(map(may_be_asked, job.export)):
        return
    if can_be_cut(found):
        found.block = plan_blocks(found)
    elif is_in_parts or has_urls or (job.cluster is not None and len(job.lanes) == 1):
        try:
            found.has_helpers = can_be_helped(found, job.project, workflow)
            if not found.has_helpers:
                refuse_to_cut(found)
        except ExportError as error:
            name = "finish" if job.finish else "blocks" if job.blocks else "scheduler" if job.cluster else "resume"
            raise ExportError(f"{setting(name)}: {error.render(as_marked)}") from None
    # Before the records are read: another process of this run may begin at any moment, and its record comes first.
    problem = _find_url_problem(found, job) if has_urls else None
    records.look_up(found)
    if not (found.has_several_blocks or found.has_run or is_in_parts or has_urls):
        found.block = None
    if found.has_run and found.block is None and job.cluster is None:  # --blocks has begun it
        found.has_helpers = can_be_helped(found, job.project, workflow)
    if problem is not None and not (found.is_done or found.has_run):
        raise problem
    for settings in () if found.is_done or has_urls else job.export:
        plan = found.exports[settings.source]
        if found.is_begun:  # some of its results may be in place
            plan = found.exports[settings.source] = replace(plan, spec=replace(plan.spec, may_replace=True))
        check_place(plan, settings)


def _find_url_problem(found: LaneCheck, job: Job) -> ExportError | None:
    """Return the error if results cannot be put behind their URLs, unless this run has begun to."""
    from .done_lanes import remote_result

    try:
        for settings in job.export:
            plan = found.exports[settings.source]
            remote_result(plan).check_unused()
            check_place(plan, settings)
    except ExportError as error:
        return error
    return None


def _find_unchecked(images: Mapping[str, InputImage]) -> Iterator[str]:
    """Name the parts of each image that can still turn out damaged during the run."""
    for role, image in images.items():
        if image.unchecked:
            yield f"{image.unchecked} of {role}"
        if role == _LABEL and image.dtype.kind == "i":
            yield f"whether ids of {role} are negative"


def _say_if_repeated(found: LaneCheck, role: str, sets: dict[frozenset[Path], LaneCheck]) -> None:
    """Warn about a lane whose main image is that of an earlier lane, named by another of its files."""
    if role not in found.images or not found.images[role].set_files:
        return
    first = sets.setdefault(frozenset(found.images[role].set_files), found)
    if first is not found:
        logger.warning(
            "%s is a part of the same image of several files as %s (input %d), so the same volume is computed once "
            "more; name one file of each image",
            found.name,
            first.name,
            first.lane.index + 1,
        )


def _plan_work(found: LaneCheck, job: Job, workflow: Workflow, resources: Resources, workers: int) -> None:
    """Plan a lane as it will be computed: in parallel if it is small and its share of memory suffices, else alone."""

    def plan(part: Resources) -> WorkPlan:
        return workflow.plan_work(
            job.project,
            found.images,
            found.exports,
            has_table=found.table is not None,
            resources=part,
        )

    if workers > 1 and is_small(found):
        with contextlib.suppress(MemoryTooSmall):
            found.work = plan(resources.share(workers))
            return
    found.work = plan(resources)


# ---------------------------------------------------------------------------------------------------------- all lanes


def _find_collision(good: Sequence[LaneCheck]) -> Exception | None:
    """Return the error if lanes would overwrite each other's results, else None."""
    exports = [(found.lane.index, export) for found in good for export in found.exports.values()]
    mains = {found.lane.index: next(iter(found.images.values())) for found in good}
    names = {i: LaneNames(main.nickname, main.dataset_dir, main.source_names) for i, main in mains.items()}
    try:
        check_exports(exports, names)
        check_tables([(found.lane.index, found.table) for found in good if found.table is not None], exports, names)
    except ExportError as error:
        return error
    return None


def _find_shared_file(job: Job, due: Iterable[LaneCheck]) -> ExportError | None:
    """Return the error if several workers of a cluster would write to one file, such as datasets of a HDF5 file."""
    owners: dict[Path | str, LaneCheck] = {}
    for found in due if job.cluster is not None else ():
        for export in found.exports.values():
            if not export.format.container or export.format.is_folder:
                continue
            first = owners.setdefault(export.path, found)
            if first is not found:
                return ExportError(
                    f"with {setting('scheduler')} every input needs a file of its own, and {first.name} and "
                    f"{found.name} write to {export.path}; choose a name for each with {OUTPUT_FILES}"
                )
    return None


def _warn_of_places_outside(good: Iterable[LaneCheck], log: LaneLog) -> None:
    """Log each line about a path that leads elsewhere once, for the first lane concerned."""
    first: dict[str, int] = {}
    for found in good:
        lines = [plan.outside for plan in found.exports.values()]
        for line in filter(None, [*lines, "" if found.table is None else found.table.outside]):
            first.setdefault(line, found.lane.index)
    for line, lane in first.items():
        with log.about(lane):
            logger.warning("%s", line)


def _check_room(good: Iterable[LaneCheck]) -> None:
    """Refuse lanes whose results do not fit on their disk after those of earlier lanes, as far as sizes are known."""
    free: dict[int, int] = {}
    for found in good:
        for export in found.exports.values():
            needed = export.format.least_bytes(export.spec)
            if not needed or not isinstance(export.path, Path):
                continue
            import shutil  # with compressions, 4 ms, and most results have no size before they are written

            with contextlib.suppress(OSError):
                folder = existing_folder(export.path)
                disk = os.stat(folder).st_dev
                usage = shutil.disk_usage(folder)
                left = free.setdefault(disk, usage.free if usage.total else needed)
                if needed > left:
                    found.error = ExportError(
                        f"cannot write {export.path}: the disk is full: the result takes {format_size(needed)}, "
                        f"{format_size(left)} are free; free some space or choose another folder with "
                        f"{OUTPUT_FILES}"
                    )
                    break
                free[disk] = left - needed + _replaced_bytes(export)


def _replaced_bytes(export: ExportPlan) -> int:
    """Bytes freed once a result has replaced older files; 0 where that is uncertain."""
    if export.format.container:
        return 0
    return sum(file.stat().st_size for file in export.files if isinstance(file, Path) and file.is_file())

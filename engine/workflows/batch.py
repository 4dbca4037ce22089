"""All lanes of a job, one after another or several at once: open, check, compute, put the files in place.

A lane that fails is reported and the others go on. Which results a lane has and how they are computed is decided by
the workflow; where they go, by engine/export.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from ...kernels.contract import Backend
from ..backends import open_backend
from ..errors import MemoryTooSmall, UsageError
from ..export.images import ExportPlan, ImageExport, ResultInfo, check_exports, open_export, plan_export
from ..export.tables import TableExport, TablePlan, check_tables, open_table, plan_table
from ..inputs import InputImage, LaneArguments, describe_axes_choice, open_image
from ..jobs import WORKFLOW_MODULES, Job
from ..machine import MIB, format_size
from ..messages import describe_error
from ..progress import Progress
from ..project import Project, TrainingImage

# Scripts match on these lines of ilastik, so the loggers keep ilastik's names.
workflow_logger = logging.getLogger("ilastik.workflows.pixelClassification.pixelClassificationWorkflow")
selection_logger = logging.getLogger("ilastik.applets.dataSelection.dataSelectionApplet")
export_logger = logging.getLogger("ilastik.applets.batchProcessing.batchProcessingApplet")
container_logger = logging.getLogger("lazyflow.operators.ioOperators.ioOperators.OpH5N5WriterBigDataset")
logger = logging.getLogger("pixelforest.batch")

# A lane of no more voxels is computed by one thread, and several such lanes at once: cut into tiles for many threads
# it would be mostly halo.
SMALL_LANE_VOXELS = 1 << 20
SMALL_LANE_BYTES = 256 * MIB  # as many lanes at once as the memory holds of these
INTERRUPT_PERIOD_S = 0.2


class Workflow(Protocol):
    """What a module in this folder provides for one kind of project."""

    def result_infos(self, project: Project, images: Mapping[str, InputImage]) -> Mapping[str, ResultInfo]:
        """Everything that can be exported for a lane."""

    def check_lane(self, project: Project, images: Mapping[str, InputImage]) -> None:
        """Raise InputMismatch if the images do not fit the project or each other."""

    def work_voxels(
        self, project: Project, images: Mapping[str, InputImage], exports: Mapping[str, ExportPlan], *, has_table: bool
    ) -> int:
        """How many voxels ``classify_lane`` will report."""

    def classify_lane(
        self,
        project: Project,
        images: Mapping[str, InputImage],
        exports: Mapping[str, ImageExport],
        *,
        backend: Backend,
        threads: int,
        memory_bytes: int,
        on_progress: Callable[[int], None],
        table: TableExport | None = None,
    ) -> None:
        """Write the exports' regions; start and fill the table. What ``on_progress`` raises ends the work."""


@dataclass(frozen=True)
class LaneResult:
    """How one lane ended: with files, or with an error.

    name    its main input, as it was given
    """

    index: int
    name: str
    files: tuple[Path, ...] = ()
    error: Exception | None = None


@dataclass(frozen=True)
class BatchReport:
    """How all lanes of a job ended, in their order.

    skipped   how many were not begun, because one before them failed and the job was to stop then
    """

    lanes: tuple[LaneResult, ...] = ()
    skipped: int = 0

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that was written."""
        return tuple(file for lane in self.lanes for file in lane.files)

    @property
    def failed(self) -> tuple[LaneResult, ...]:
        return tuple(lane for lane in self.lanes if lane.error is not None)

    @property
    def status(self) -> int:
        """The exit status: 0 all lanes are done, 1 failed, 2 could not be meant, 3 some failed, the others are done."""
        if not self.failed:
            return 0
        if self.skipped == 0 and len(self.failed) < len(self.lanes):
            return 3
        return 2 if all(isinstance(lane.error, UsageError) for lane in self.failed) else 1

    @property
    def message(self) -> str:
        """The last word on a run that did not go well; empty if it did."""
        if not self.failed:
            return ""
        first = self.failed[0]
        if len(self.lanes) + self.skipped == 1 and first.error is not None:
            return describe_error(first.error)
        done = len(self.lanes) - len(self.failed)
        rest = f", {self.skipped} were not begun" if self.skipped else ""
        names = ", ".join(lane.name for lane in self.failed[:3]) + (", …" if len(self.failed) > 3 else "")
        return f"{len(self.failed)} of {len(self.lanes) + self.skipped} inputs failed ({names}); {done} are done{rest}"


def run_batch(job: Job, *, progress: Progress | None = None) -> BatchReport:
    """Process every lane of a job. What goes wrong in a lane is in the report; only what concerns all lanes is raised.

    progress   shows how far the work has come; nothing is shown without it
    Raises BackendUnavailable for the device, ExportError if lanes would overwrite each other's results.
    """
    for note in job.notes:
        logger.warning("%s", note)
    workflow_logger.info("Beginning Batch Processing")
    backend = open_backend(job.device, job.forest)
    batch = _Batch(job, load_workflow(job.project), backend, progress or Progress(is_shown=False))
    threads = f"{job.threads} thread{'' if job.threads == 1 else 's'}"
    logger.info("Using device %s, %s, %s of memory", batch.backend.name, threads, format_size(job.memory_bytes))
    if not job.lanes:
        logger.warning("There are no input images, so nothing was computed; name them behind the options")
    batch.run()
    report = batch.report()
    if not report.failed:  # scripts take this line for success
        workflow_logger.info("Completed Batch Processing")
    for file in report.files:
        logger.info("Wrote %s", file)
    return report


def load_workflow(project: Project) -> Workflow:
    """The module that runs projects of this kind."""
    return cast(Workflow, import_module(f".{WORKFLOW_MODULES[project.workflow]}", __package__))


@dataclass(frozen=True)
class _LanePlan:
    """A lane that was opened and found good. ``exports``: name of the result -> how it is exported."""

    lane: LaneArguments
    name: str
    exports: Mapping[str, ExportPlan]
    table: TablePlan | None
    voxels: int


class _Stopped(Exception):  # not an error: ends a lane that runs beside one that was interrupted
    pass


class _Batch:
    """The lanes of a job and what became of them."""

    def __init__(self, job: Job, workflow: Workflow, backend: Backend, progress: Progress) -> None:
        self.job, self.workflow, self.backend, self.progress = job, workflow, backend, progress
        self._results: dict[int, LaneResult] = {}
        self._is_interrupted = threading.Event()
        last = job.project.lanes[-1].images if job.project.lanes else {}
        self._training: list[TrainingImage | None] = [last.get(role) for role in job.project.roles]

    def run(self) -> None:
        """Plan all lanes first, so that a mistake is found before hours are spent; then compute those that fit."""
        plans = [plan for lane in self.job.lanes if (plan := self._plan_or_record(lane)) is not None]
        exports = [(plan.lane.index, export) for plan in plans for export in plan.exports.values()]
        check_exports(exports)
        check_tables([(plan.lane.index, plan.table) for plan in plans if plan.table is not None], exports)
        self.progress.start(sum(plan.voxels for plan in plans))
        try:
            # The images were announced when the lanes were planned.
            with _quiet("pixelforest.inputs"):
                self._compute_all(plans)
        finally:
            self.progress.finish()

    def report(self) -> BatchReport:
        lanes = tuple(self._results[index] for index in sorted(self._results))
        return BatchReport(lanes, skipped=len(self.job.lanes) - len(lanes))

    # ------------------------------------------------------------------------------------------------------- planning

    def _plan_or_record(self, lane: LaneArguments) -> _LanePlan | None:
        """A lane's plan; None if it failed, which is recorded, or if the batch is to stop."""
        if self._should_stop():
            return None
        name = lane.arguments[self.job.project.roles[0]]
        try:
            return self._plan(lane, name)
        except Exception as error:
            self._record_failure(lane, name, error)
            return None

    def _plan(self, lane: LaneArguments, name: str) -> _LanePlan:
        project = self.job.project
        selection_logger.info("%s", describe_axes_choice(self.job.input_options, self._training))
        with contextlib.ExitStack() as stack:
            images = self._open_images(lane, stack)
            self.workflow.check_lane(project, images)
            main = images[project.roles[0]]
            infos = self.workflow.result_infos(project, images)
            protected = {file: "an input" for image in images.values() for file in image.files}
            protected[project.path] = "the project"
            exports = {
                settings.source: plan_export(infos[settings.source], main, settings, protected=protected)
                for settings in self.job.export
            }
            wanted = self.job.table
            table = None if wanted is None else plan_table(wanted, main, lane=lane.index, protected=protected)
            voxels = self.workflow.work_voxels(project, images, exports, has_table=table is not None)
        return _LanePlan(lane, name, exports, table, voxels)

    def _open_images(self, lane: LaneArguments, stack: contextlib.ExitStack) -> dict[str, InputImage]:
        """Role -> image, closed with the stack."""
        images = {}
        for index, role in enumerate(self.job.project.roles):
            if role in lane.arguments:
                image = open_image(
                    lane.arguments[role],
                    role_index=index,
                    training=self._training[index],
                    options=self.job.input_options,
                )
                images[role] = stack.enter_context(image)
        return images

    # ------------------------------------------------------------------------------------------------------ computing

    def _compute_all(self, plans: Sequence[_LanePlan]) -> None:
        small = [plan for plan in plans if plan.voxels <= SMALL_LANE_VOXELS]
        workers = min(len(small), self.job.threads, self.job.memory_bytes // SMALL_LANE_BYTES)
        if workers > 1:
            self._compute_side_by_side(small, workers)
        for plan in plans:
            if plan.lane.index not in self._results:
                self._compute_or_record(plan, threads=self.job.threads, memory_bytes=self.job.memory_bytes)

    def _compute_side_by_side(self, plans: Sequence[_LanePlan], workers: int) -> None:
        """One thread a lane, several lanes at once, each with its share of the memory.

        A lane that needs more than its share has no result afterwards.
        """
        share = self.job.memory_bytes // workers
        with ThreadPoolExecutor(workers, thread_name_prefix="lane") as pool:
            pending = {
                pool.submit(self._compute_or_record, plan, threads=1, memory_bytes=share, is_alone=False)
                for plan in plans
            }
            try:
                while pending:  # a wait without end could not be interrupted on Windows
                    done, pending = wait(pending, timeout=INTERRUPT_PERIOD_S, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
            except BaseException:  # also an interrupt: the running lanes end at their next tile
                self._is_interrupted.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _compute_or_record(self, plan: _LanePlan, *, threads: int, memory_bytes: int, is_alone: bool = True) -> None:
        if self._should_stop():
            return
        try:
            files = self._compute(plan, threads=threads, memory_bytes=memory_bytes)
            self._results[plan.lane.index] = LaneResult(plan.lane.index, plan.name, files)
        except _Stopped:
            pass
        except Exception as error:
            if is_alone or not isinstance(error, MemoryTooSmall):
                self._record_failure(plan.lane, plan.name, error)

    def _compute(self, plan: _LanePlan, *, threads: int, memory_bytes: int) -> tuple[Path, ...]:
        exports: dict[str, ImageExport] = {}
        table: TableExport | None = None
        files: list[Path] = []
        with contextlib.ExitStack() as stack:
            images = self._open_images(plan.lane, stack)
            try:
                for name, export_plan in plan.exports.items():
                    export_logger.info("Exporting to %s", export_plan.shown_path)
                    if export_plan.format.container:
                        container_logger.info("Data shape: %s", export_plan.spec.shape)
                    exports[name] = open_export(export_plan)
                if plan.table is not None:
                    export_logger.info("Exporting the table to %s", plan.table.path)
                    table = open_table(plan.table)
                self.workflow.classify_lane(
                    self.job.project,
                    images,
                    exports,
                    backend=self.backend,
                    threads=threads,
                    memory_bytes=memory_bytes,
                    on_progress=self._on_progress,
                    table=table,
                )
                while exports:
                    name = next(iter(exports))
                    files += exports[name].finish()
                    del exports[name]
                if table is not None:
                    files.append(table.finish())
                    table = None
            finally:
                for export in exports.values():  # none are left if all went well
                    export.abort()
                if table is not None:
                    table.abort()
        return tuple(files)

    def _on_progress(self, voxels: int) -> None:
        if self._is_interrupted.is_set():
            raise _Stopped
        self.progress.add(voxels)

    # --------------------------------------------------------------------------------------------------------- ending

    def _should_stop(self) -> bool:
        has_failed = any(result.error is not None for result in list(self._results.values()))
        return self._is_interrupted.is_set() or (self.job.fail_fast and has_failed)

    def _record_failure(self, lane: LaneArguments, name: str, error: Exception) -> None:
        self._results[lane.index] = LaneResult(lane.index, name, error=error)
        logger.debug("the error of lane %d came from here", lane.index + 1, exc_info=error)
        if len(self.job.lanes) > 1:  # a single lane's error is the last word anyway
            logger.error("lane %d (%s): %s", lane.index + 1, name, describe_error(error))


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Only errors of this logger are shown meanwhile."""
    target = logging.getLogger(name)
    before = target.level
    target.setLevel(logging.ERROR)
    try:
        yield
    finally:
        target.setLevel(before)

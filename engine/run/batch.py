"""Runner of all lanes of a job, one after another or in parallel: check, compute, put the files in place.

A lane that fails is reported and the others continue. The results of a lane and their computation are decided by the
workflow, their destination by engine/export; what can be known in advance, by check.py.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from ...kernels.contract import KernelError
from ..backends import always_available, open_backend
from ..errors import BackendFailed, MemoryTooSmall, Text, as_marked, raise_if_interrupted, setting
from ..export.tables import TableExport, open_table
from ..export.tile_sinks import ImageExport, open_export
from ..inputs.images import InputImage, reopen_images
from ..jobs import Job, Request, resolve_job
from ..machine import format_size
from ..messages import describe_error
from ..progress import Progress
from ..resources import Resources
from ..storage.thread_limit import set_thread_limit
from ..workflows import load_workflow
from ..workflows.protocol import Workflow
from .check import JobCheck, LaneCheck, check_job, is_small
from .lane_log import LaneLog
from .outcome import BatchReport, LaneResult

if TYPE_CHECKING:
    from ..sampling.lane import LaneSample, LaneSampler, SampleSettings
    from .block_run import LaneRun
    from .cluster import StepWorkers
    from .step_run import StepStore, StoredSteps

__all__ = ["BatchReport", "LaneResult", "check_batch", "run_batch"]

# Scripts match on these lines of ilastik, so the loggers keep ilastik's names.
workflow_logger = logging.getLogger("ilastik.workflows.pixelClassification.pixelClassificationWorkflow")
export_logger = logging.getLogger("ilastik.applets.batchProcessing.batchProcessingApplet")
container_logger = logging.getLogger("lazyflow.operators.ioOperators.ioOperators.OpH5N5WriterBigDataset")
logger = logging.getLogger("pixelforest.batch")

INTERRUPT_PERIOD_S = 0.2


def run(
    request: Request, *, progress: Progress | None = None, on_lane: Callable[[LaneResult], None] | None = None
) -> BatchReport:
    """Run what the command line would run, on files: ``run_batch`` of what ``resolve_job`` makes of a request.

    Parameters
    ----------
    request
        Options of the command line, by name.
    progress, on_lane
        As for ``run_batch``.

    Returns
    -------
    BatchReport
        Outcome of every input.

    Raises
    ------
    PixelforestError
        If nothing can be computed. Errors of single inputs are in the report.

    Examples
    --------
    >>> import pixelforest as pf
    >>> request = pf.Request(project="MyProject.ilp", inputs=("image.png",), output_format="numpy")
    >>> [file.name for file in pf.run(request).files]
    ['image_Probabilities.npy']
    """
    return run_batch(resolve_job(request), progress=progress, on_lane=on_lane)


def run_batch(
    job: Job, *, progress: Progress | None = None, on_lane: Callable[[LaneResult], None] | None = None
) -> BatchReport:
    """Process every lane of a job. Errors of one lane are in the report; only errors of the whole job are raised.

    Parameters
    ----------
    job
        The job, from ``resolve_job``.
    progress
        Shows the progress; None: nothing is shown.
    on_lane
        Called with the result of each lane when it has ended, from any thread.

    Returns
    -------
    BatchReport
        Outcome of every lane.

    Raises
    ------
    BackendUnavailable
        If the device cannot be used.
    ExportError
        If lanes would overwrite each other's results.
    """
    set_thread_limit(job.threads)
    _log_notes(job)
    workflow_logger.info("Beginning Batch Processing")
    if not job.lanes and not job.shard:
        logger.warning("There are no input images, so nothing was computed; name them after the options")
    if job.lanes or not always_available(job.device, job.forest):
        with LaneLog(logging.WARNING) as log:
            batch = Batch(job, load_workflow(job.project.workflow), progress or Progress(is_shown=False), log)
            batch.on_lane = on_lane or (lambda result: None)
            batch.run()
        report = batch.report()
    else:
        report = BatchReport()
    if not report.failed:  # scripts recognise success by this line
        workflow_logger.info("Completed Batch Processing")
    for file in report.skipped_files:
        logger.info("Skipped %s, which an earlier run has written", file)
    for file in report.files:
        logger.info("Wrote %s", file)
    return report


def check_batch(job: Job) -> JobCheck:
    """Check a job without computing it. Raises BackendUnavailable; all other errors are in the result."""
    _log_notes(job)
    with LaneLog() as log:
        check = check_job(job, load_workflow(job.project.workflow), partial(_open_resources, job), log)
    for lane in check.lanes:
        if lane.error is not None:
            _log_failure(job, lane.lane.index, lane.name, lane.error)
    return check


def _open_resources(job: Job, voxels: int) -> Resources:
    if job.cluster is not None:  # the devices are those of its workers
        return Resources(open_backend("cpu"), job.threads, job.memory_bytes)
    backend = open_backend(job.device, job.forest, tunes=job.tunes, voxels=voxels, threads=job.threads)
    threads = f"{job.threads} thread{'' if job.threads == 1 else 's'}"
    memory = format_size(job.memory_bytes)
    logger.info("Using device %s, %s, %s of memory", backend.describe(), threads, memory, extra={"for_people": True})
    return Resources(backend, job.threads, job.memory_bytes)


def _log_notes(job: Job) -> None:
    for note in job.notes:
        logger.warning("%s", note)


def _log_failure(job: Job, index: int, name: str, error: Exception) -> None:
    if len(job.lanes) > 1:  # a single lane's error is the last word anyway
        text = Text(describe_error(error, as_marked))
        logger.error("lane %d (%s): %s", index + 1, name, text, extra={"is_of_lane": True})


class _Stopped(Exception):  # not an error: ends lanes running in parallel with one that was interrupted
    pass


class Batch:
    """Lanes of a job and their outcomes."""

    def __init__(
        self,
        job: Job,
        workflow: Workflow,
        progress: Progress,
        log: LaneLog,
        open_resources: Callable[[int], Resources] | None = None,
    ) -> None:
        self.job, self.workflow, self.progress, self.log = job, workflow, progress, log
        self._open_resources = open_resources or partial(_open_resources, job)
        self.on_lane: Callable[[LaneResult], None] = lambda result: None
        self._results: dict[int, LaneResult] = {}
        self._samplers: dict[int, LaneSampler] = {}
        self._is_interrupted, self._has_failed = threading.Event(), threading.Event()

    def run(self) -> None:
        """Check all lanes first, so that errors are found before hours are spent; then compute the valid ones."""
        check = check_job(self.job, self.workflow, self._open_resources, self.log)
        self.resources, self.records = check.resources, check.records
        for lane in check.lanes:
            if lane.error is not None:
                self.record_failure(lane, lane.error)
        if check.error is not None:
            raise check.error
        done_voxels = sum(lane.voxels for lane in check.done)
        self.progress.start(sum(lane.voxels for lane in check.due) + done_voxels, skipped_voxels=done_voxels)
        try:
            self._skip(check.done)
            # The images were announced when the lanes were checked.
            with _quiet("pixelforest.inputs"):
                self._compute_all(check.due, check.workers)
        finally:
            self.progress.finish()
            if self.records is not None:
                self.records.close()

    def stop(self) -> None:
        """End the lanes in work at their next tile; called by another thread."""
        self._is_interrupted.set()

    def report(self) -> BatchReport:
        lanes = tuple(self._results[index] for index in sorted(self._results))
        return BatchReport(lanes, skipped=len(self.job.lanes) - len(lanes))

    # ------------------------------------------------------------------------------------------------------ computing

    def _compute_all(self, lanes: Sequence[LaneCheck], workers: int) -> None:
        if self.job.cluster is not None:
            from .cluster import compute_on_cluster

            assert self.records is not None
            compute_on_cluster(self.job, lanes, self.records, self.progress, self, self._sample_settings())
            return
        if workers > 1:
            self._compute_side_by_side([lane for lane in lanes if is_small(lane)], workers)
        for lane in lanes:
            if lane.lane.index not in self._results:
                self._compute_or_record(lane, self.resources)

    def _compute_side_by_side(self, lanes: Sequence[LaneCheck], workers: int) -> None:
        """Compute several lanes in parallel, each with one thread and its share of the memory.

        A lane that needs more than its share has no result afterwards.
        """
        share = self.resources.share(workers)
        with ThreadPoolExecutor(workers, thread_name_prefix="lane") as pool:
            try:  # from the first lane on: an interrupt may arrive while the others are submitted
                done = SimpleQueue[Future[None]]()
                for lane in lanes:
                    future = pool.submit(self._compute_or_record, lane, share, is_alone=False)
                    future.add_done_callback(done.put)
                for _ in lanes:
                    _next(done).result()
            except BaseException:  # also an interrupt: the running lanes end at their next tile
                self._is_interrupted.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def compute_with_helpers(self, lane: LaneCheck, open_helpers: Callable[[], StepWorkers]) -> None:
        """Compute a lane in this process, with the help of others."""
        self._compute_or_record(lane, self.resources, open_helpers=open_helpers)

    def _compute_or_record(
        self,
        lane: LaneCheck,
        resources: Resources,
        *,
        is_alone: bool = True,
        open_helpers: Callable[[], StepWorkers] | None = None,
    ) -> None:
        if self.should_stop():
            return
        started_s = time.monotonic()
        self.progress.work_on(lane.name)
        with self.log.about(lane.lane.index):
            try:
                files = self._compute(lane, resources, open_helpers)
                self._record(lane, files=files, seconds=time.monotonic() - started_s)
            except _Stopped:
                pass
            except KernelError as error:
                text = f"{self.resources.backend.describe()}: {error}; {setting('device', 'cpu')} computes the same "
                text += "without it"
                self.record_failure(lane, BackendFailed(text), seconds=time.monotonic() - started_s)
            except Exception as error:
                raise_if_interrupted(error)
                if is_alone or not isinstance(error, MemoryTooSmall):
                    self.record_failure(lane, error, seconds=time.monotonic() - started_s)

    def _compute(
        self, lane: LaneCheck, resources: Resources, open_helpers: Callable[[], StepWorkers] | None
    ) -> tuple[Path, ...]:
        classify: Callable[..., None] = self.workflow.classify_lane
        exports: dict[str, ImageExport] = {}
        table: TableExport | None = None
        steps: StepStore | None = None
        run: LaneRun | None = None  # that continues the results
        files: list[Path] = []
        with reopen_images({role: image.ref for role, image in lane.images.items()}) as images:
            sampler = self._begin_sample(lane, images)
            if lane.block is not None:
                return self._compute_blocks(lane, resources, images, sampler)
            if sampler is not None and sampler.observer is not None:
                classify = partial(classify, observer=sampler.observer)
            if lane.has_helpers:
                if self.job.blocks is not None:
                    return self._compute_part(lane, resources, images)
                steps = self._open_steps(lane, resources) if open_helpers is None else open_helpers()
                classify, run = partial(classify, helpers=steps), steps.run_of_results
            try:
                committed = set() if run is None else run.committed(run.folder.records())
                for name, export_plan in lane.exports.items():
                    if name in committed:
                        continue
                    export_logger.info("Exporting to %s", export_plan.shown_path)
                    if export_plan.format.container:
                        container_logger.info("Data shape: %s", export_plan.spec.shape)
                    exports[name] = open_export(export_plan, run="" if run is None else run.name_of(name))
                if lane.table is not None:
                    export_logger.info("Exporting the table to %s", lane.table.path)
                    table = open_table(lane.table)
                if exports or table is not None:
                    classify(
                        self.job.project,
                        images,
                        exports if sampler is None else sampler.add_sinks(exports, pixels=resources.backend.pixels),
                        resources=resources,
                        on_progress=self._on_progress,
                        table=table,
                    )
                if run is not None:
                    if table is not None:
                        table.finish()
                        table = None
                    return run.complete(exports)
                if self.records is not None:
                    self.records.begin(lane)
                while exports:
                    name = next(iter(exports))
                    files += exports[name].finish()
                    del exports[name]
                if table is not None:
                    files += table.finish()
                    table = None
                if self.records is not None:
                    self.records.complete(lane)
                if steps is not None:
                    steps.remove()
            finally:
                if steps is not None:
                    steps.close()
                for export in exports.values():  # none are left if all went well
                    export.abort()
                if table is not None:
                    table.abort()
        return tuple(files)

    def _compute_blocks(
        self,
        lane: LaneCheck,
        resources: Resources,
        images: Mapping[str, InputImage],
        sampler: LaneSampler | None,
    ) -> tuple[Path, ...]:
        from .block_run import BlockWork, compute_in_blocks

        assert self.records is not None
        work = BlockWork(self.job, self.workflow, resources, self.records, self.progress, self._on_progress, sampler)
        return compute_in_blocks(lane, images, work)

    def _open_steps(self, lane: LaneCheck, resources: Resources) -> StoredSteps:
        from .step_run import StoredSteps

        assert self.records is not None
        return StoredSteps(lane, self.records, self.job, resources)

    def _compute_part(
        self, lane: LaneCheck, resources: Resources, images: Mapping[str, InputImage]
    ) -> tuple[Path, ...]:
        compute_part: Callable[..., None] = self.workflow.compute_part  # type: ignore[attr-defined]  # has helpers
        steps = self._open_steps(lane, resources)
        try:
            compute_part(
                self.job.project,
                images,
                lane.exports,
                has_table=lane.table is not None,
                resources=resources,
                on_progress=self._on_progress,
                helpers=steps,
            )
        finally:
            steps.close()
        steps.log_part()
        return ()

    def _on_progress(self, voxels: int) -> None:
        if self._is_interrupted.is_set():
            raise _Stopped
        self.progress.add(voxels)

    def _begin_sample(self, lane: LaneCheck, images: Mapping[str, InputImage]) -> LaneSampler | None:
        """Begin to sample a lane, if the job asks for it."""
        settings = self._sample_settings()
        if settings is None:
            return None
        from ..sampling.lane import begin_sample

        raw, has_table = images[self.job.project.roles[0]], lane.table is not None
        sampler = begin_sample(self.workflow, self.job.project, raw, lane.exports, settings, has_table=has_table)
        self._samplers[lane.lane.index] = sampler
        return sampler

    def _sample_settings(self) -> SampleSettings | None:
        """Return how lanes are sampled; None: they are not."""
        if not self.job.samples:
            return None
        from ..sampling.lane import choose_settings

        return choose_settings(len(self.job.lanes) * (self.job.shard or (1, 1))[1], self.job.samples)

    def sample(self, lane: LaneCheck, restore: Callable[[LaneSampler], None]) -> LaneSample | None:
        """Return the sample of a lane that others have computed, once ``restore`` has filled it in."""
        if not self.job.samples:
            return None
        try:
            with reopen_images({role: image.ref for role, image in lane.images.items()}) as images:
                if (sampler := self._begin_sample(lane, images)) is not None:
                    restore(sampler)
                return self._finish_sample(lane.lane.index)
        except Exception as error:
            raise_if_interrupted(error)
            _warn_of_missing_pictures(lane.lane.index, error)
            return None

    def _finish_sample(self, index: int) -> LaneSample | None:
        """Finish the sample of a lane, also of one that failed. A picture that cannot be made fails no lane."""
        sampler = self._samplers.pop(index, None)
        if sampler is None or not sampler.is_whole:
            return None
        try:
            return sampler.finish()
        except Exception as error:
            raise_if_interrupted(error)
            _warn_of_missing_pictures(index, error)
            return None

    # --------------------------------------------------------------------------------------------------------- ending

    def should_stop(self) -> bool:
        """Return True if no further lane is to be computed."""
        return self._is_interrupted.is_set() or (self.job.fail_fast and self._has_failed.is_set())

    def _skip(self, lanes: Sequence[LaneCheck]) -> None:
        """Record the lanes that an earlier run has completed."""
        if lanes:
            logger.info("%d of %d inputs are done already and are skipped", len(lanes), len(self.job.lanes))
        for lane in lanes:
            if lane.block is not None or lane.has_run or lane.has_helpers:
                from .block_run import remove_leftovers

                assert self.records is not None
                remove_leftovers(lane, self.records)
            self.keep(LaneResult(lane.lane.index, lane.name, lane.files, warnings=lane.warnings, is_skipped=True))

    def record_failure(self, lane: LaneCheck, error: Exception, *, seconds: float = 0.0) -> None:
        """Take the error of a lane, and log it."""
        logger.debug("the error of lane %d came from here", lane.lane.index + 1, exc_info=error)
        self._record(lane, error=error, seconds=seconds)
        _log_failure(self.job, lane.lane.index, lane.name, error)

    def _record(
        self, lane: LaneCheck, *, files: tuple[Path, ...] = (), error: Exception | None = None, seconds: float
    ) -> None:
        index = lane.lane.index
        sample = self._finish_sample(index)
        warnings, device = self.log.warnings(index), self.resources.backend.name
        result = LaneResult(index, lane.name, files, error, device, seconds, warnings=warnings, sample=sample)
        self.keep(result)

    def keep(self, result: LaneResult) -> None:
        """Take the outcome of a lane."""
        if result.error is not None:
            self._has_failed.set()
        self._results[result.index] = result
        self.on_lane(result)


def _warn_of_missing_pictures(index: int, error: Exception) -> None:
    logger.warning("There are no pictures of input %d: %s", index + 1, describe_error(error, as_marked))


def _next(queue: SimpleQueue[Future[None]]) -> Future[None]:
    """Wait for the next entry, in steps: an unlimited wait could not be interrupted on Windows."""
    while True:
        with contextlib.suppress(Empty):
            return queue.get(timeout=INTERRUPT_PERIOD_S)


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Show only errors of this logger within the context."""
    target = logging.getLogger(name)
    before = target.level
    target.setLevel(logging.ERROR)
    try:
        yield
    finally:
        target.setLevel(before)

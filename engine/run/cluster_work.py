"""Work that a worker of a cluster does for a run: whole inputs, blocks or steps of one. Nothing here knows the cluster.

A worker computes one task at a time, while files of those before may still come to disk, in the folder in which
the run was started, so that relative paths are the same.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from ...frozen import frozen
from ...kernels.contract import KernelError
from ..backends import open_backend
from ..errors import BackendFailed, ExportError, PixelforestError, Text, as_marked, raise_if_interrupted, setting
from ..inputs.lanes import LaneArguments
from ..jobs import Job
from ..machine import choose_memory, choose_threads
from ..messages import describe_error
from ..progress import Progress
from ..resources import Resources
from ..storage.thread_limit import set_thread_limit
from ..workflows import load_workflow
from .batch import Batch
from .block_run import BlockTask, LevelTask
from .lane_log import LaneLog
from .outcome import LaneResult

# Share of the memory at which Dask would stop a worker; at 0.8 of it, a worker gets no further task.
LIMIT_SHARE = 0.6


@frozen
class LanesTask:
    """Inputs that one worker computes as a whole."""

    lanes: tuple[LaneArguments, ...]


class Step(Protocol):
    """Part of the work on a lane, defined by its workflow; a value that can be pickled."""

    def compute(self, project: Any, resources: Resources, on_progress: Callable[[int], None]) -> Any:
        """Compute it in this process."""


@frozen
class StepTask:
    """Step of the work on a lane that the process which was started computes.

    lane, index  numbers of the lane and of the step
    """

    lane: int
    index: int
    step: Step


Task = LanesTask | BlockTask | LevelTask | StepTask


@frozen
class BlockFacts:
    """Outcome of a block: facts about its files, for ``SharedBlocks.add``, lines logged as warnings, and its sample."""

    results: Mapping[str, tuple[str, int]]
    device: str
    seconds: float
    warnings: tuple[str, ...]
    sample: bytes | None = None


@frozen
class StepFacts:
    """Value that a step, or a part of a level, returned, and lines logged as warnings."""

    value: Any
    warnings: tuple[str, ...]


Outcome = tuple[LaneResult, ...] | BlockFacts | StepFacts | Exception | None
"""Outcome of a task; None: it was stopped."""


class _Stopped(Exception):
    pass


class _WorkingFolder:
    """Working folder of this process, while threads need it to be another one, the same for all of them."""

    def __init__(self) -> None:
        self._lock, self._threads = threading.Lock(), 0

    def enter(self, folder: Path) -> None:
        """Count a thread that needs a folder. Raises OSError."""
        with self._lock:
            if self._threads == 0:
                self._changed = contextlib.chdir(folder)
                self._changed.__enter__()
            self._threads += 1

    def leave(self) -> None:
        """Count one less; after the last, the working folder is the one before."""
        with self._lock:
            self._threads -= 1
            if self._threads == 0:
                self._changed.__exit__(None, None, None)


_working_folder = _WorkingFolder()


class WorkerRun:
    """A run as its workers know it; a value that can be pickled until ``start`` is called."""

    def __init__(self, job: Job, folder: Path) -> None:
        """Describe a job that was started in a folder."""
        assert job.cluster is not None
        self._settings = job.cluster
        self._job = replace(job, cluster=None, shard=None, notes=())
        self._folder = folder
        self._resources: Resources | None = None
        self._batch: Batch | None = None
        self._is_stopped = False

    def start(self, *, threads: int, limit_bytes: int | None, workers: int) -> None:
        """Prepare a worker with this number of threads, and a limit of its memory, for its first task.

        workers  number of workers that share the settings of threads and memory; 0: each has them for itself
        """
        asked, budget = self._settings.threads, self._settings.memory_bytes
        if workers:
            asked, budget = threads, (budget or choose_memory()) // workers
        memory_bytes = choose_memory(budget)
        if limit_bytes and budget is None:
            memory_bytes = min(memory_bytes, int(limit_bytes * LIMIT_SHARE))
        threads = choose_threads(asked or threads)
        set_thread_limit(threads)
        self._job = replace(self._job, threads=threads, memory_bytes=memory_bytes)

    def stop(self) -> None:
        """End the task in work at its next tile."""
        self._is_stopped = True
        if self._batch is not None:
            self._batch.stop()

    def compute(self, task: Task, on_computed: Callable[[], object]) -> Outcome:
        """Compute a task. Every error is an outcome, as a value that can be pickled.

        on_computed  called once nothing is left but to wait for the disk: another thread may compute the next task
        """
        try:
            with self._in_folder():
                match task:
                    case BlockTask():
                        return self._compute_block(task, on_computed)
                    case LevelTask():
                        return StepFacts(task.compute(), ())
                    case StepTask():
                        return self._compute_step(task)
                return self._compute_lanes(task)
        except _Stopped:
            return None
        except Exception as error:
            raise_if_interrupted(error)
            return _portable(error)

    def _compute_lanes(self, task: LanesTask) -> tuple[LaneResult, ...]:
        job = replace(self._job, lanes=task.lanes)
        with LaneLog(logging.WARNING) as log:
            self._batch = batch = Batch(
                job, load_workflow(job.project.workflow), Progress(is_shown=False), log, self._open_resources
            )
            if self._is_stopped:
                raise _Stopped
            batch.run()
        results = batch.report().lanes
        return tuple(each if each.error is None else replace(each, error=_portable(each.error)) for each in results)

    def _compute_block(self, task: BlockTask, on_computed: Callable[[], object]) -> BlockFacts:
        job, started_s = self._job, time.monotonic()
        resources = self._open_resources(0)
        with LaneLog(logging.WARNING) as log, log.about(task.lane):
            try:
                workflow = load_workflow(job.project.workflow)
                results, sample = task.compute(job.project, workflow, resources, self._on_progress, on_computed)
            except KernelError as error:
                text = (
                    f"{resources.backend.describe()}: {error}; {setting('device', 'cpu')} computes the same without it"
                )
                raise BackendFailed(text) from None
        seconds = time.monotonic() - started_s
        return BlockFacts(results, resources.backend.name, seconds, log.warnings(task.lane), sample)

    def _compute_step(self, task: StepTask) -> StepFacts:
        resources = self._open_resources(0)
        with LaneLog(logging.WARNING) as log, log.about(task.lane):
            value = task.step.compute(self._job.project, resources, self._on_progress)
        return StepFacts(value, log.warnings(task.lane))

    def _open_resources(self, voxels: int) -> Resources:
        """Open the backend once: a worker has much to do, so that a GPU is worth its start."""
        job = self._job
        if self._resources is None:
            backend = open_backend(job.device, job.forest, tunes=job.tunes, threads=job.threads)
            self._resources = Resources(backend, job.threads, job.memory_bytes)
        return self._resources

    def _on_progress(self, voxels: int) -> None:
        if self._is_stopped:
            raise _Stopped

    @contextlib.contextmanager
    def _in_folder(self) -> Iterator[None]:
        try:
            _working_folder.enter(self._folder)
        except OSError as error:
            raise ExportError(
                f"the worker on {socket.gethostname()} cannot use {self._folder}, where the run was started "
                f"({error.strerror}); start it in a folder of a disk that all workers share"
            ) from None
        try:
            yield
        finally:
            _working_folder.leave()


def _portable(error: Exception) -> Exception:
    """Return the error, or one with its message if it cannot be sent."""
    with contextlib.suppress(Exception):
        if isinstance(error, PixelforestError) and type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    return PixelforestError(Text(describe_error(error, as_marked)).marked)

"""Computation of a job by the workers of a cluster (``--scheduler``): whole inputs, or parts of large ones.

This process checks all inputs before, records what is done, and completes images of blocks. Workers write the files,
to a disk that all share.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import raise_if_interrupted
from ..jobs import Job
from ..progress import Progress
from ..tiling import blocks
from .block_run import BlockTask, LevelTask, SharedBlocks
from .check import LaneCheck
from .cluster_work import BlockFacts, LanesTask, Outcome, StepFacts, StepTask, Task, WorkerRun
from .done_lanes import DoneLanes
from .outcome import LaneResult
from .step_run import StepStore, StoredStep

if TYPE_CHECKING:
    from ..sampling.lane import LaneSample, LaneSampler, SampleSettings
    from .dask_cluster import DaskWorkers

logger = logging.getLogger("pixelforest.batch")
export_logger = logging.getLogger("ilastik.applets.batchProcessing.batchProcessingApplet")

TASKS_PER_WORKER = 2  # one in work, one that waits
BLOCKS_PER_WORKER = 3  # and one whose files come to disk; for whole inputs, one more waits
GROUPS_PER_WORKER = 4  # tasks of small inputs, so that all workers end at about the same time
WAIT_S = 0.2


class Outcomes(Protocol):
    """Receiver of the outcomes of lanes."""

    def keep(self, result: LaneResult) -> None: ...
    def record_failure(self, lane: LaneCheck, error: Exception, *, seconds: float = 0.0) -> None: ...
    def should_stop(self) -> bool: ...
    def sample(self, lane: LaneCheck, restore: Callable[[LaneSampler], None]) -> LaneSample | None: ...
    def compute_with_helpers(self, lane: LaneCheck, open_helpers: Callable[[], StepWorkers]) -> None: ...


def compute_on_cluster(
    job: Job,
    lanes: Sequence[LaneCheck],
    records: DoneLanes,
    progress: Progress,
    outcomes: Outcomes,
    sample: SampleSettings | None,
) -> None:
    """Compute lanes that were checked; ``sample``: as for SharedBlocks. Raises BackendUnavailable, BackendFailed."""
    if not lanes:
        return
    assert job.cluster is not None
    from .dask_cluster import DaskWorkers

    with DaskWorkers(job.cluster, WorkerRun(job, Path.cwd())) as workers:
        logger.info("Using the %d workers of %s", workers.count(), job.cluster.scheduler)
        helped = [found for found in lanes if found.has_helpers]
        others = [found for found in lanes if not found.has_helpers]
        distribution = _Distribution(others, workers, records, progress, outcomes, sample)
        try:
            distribution.run()
        finally:
            distribution.close()
        for found in helped:
            outcomes.compute_with_helpers(found, partial(StepWorkers, found, records, workers))


class StepWorkers(StepStore):
    """Workers that compute steps of a lane for this process, which stores their values."""

    def __init__(self, found: LaneCheck, records: DoneLanes, workers: DaskWorkers) -> None:
        """Open the run of a lane. Raises ExportError."""
        super().__init__(found, records)
        self._workers = workers
        self._warnings = set(found.warnings)

    def count(self) -> int:
        """Return their number at the moment."""
        return self._workers.count()

    def compute(self, steps: Iterable[StoredStep], on_wait: Callable[[], None]) -> Iterator[tuple[int, Any]]:
        """Yield the values of steps, with the number of each, in any order; ``on_wait`` is called regularly.

        Raises the error of a step. A window of steps is in work at a time.
        """
        waiting, in_work = enumerate(steps), dict[int, StoredStep]()
        while True:
            window = max(1, TASKS_PER_WORKER * self.count())
            while len(in_work) < window and (following := next(waiting, None)) is not None:
                index, step = following
                value = self.load(step, index)
                if value is not None:
                    on_wait()
                    yield index, value
                    continue
                self._workers.submit(StepTask(self.found.lane.index, index, step))
                in_work[index] = step
            if not in_work:
                return
            on_wait()
            ended = self._workers.next(WAIT_S)
            for task, outcome in ended:  # before anything is made of the first one
                if isinstance(task, StepTask) and isinstance(outcome, StepFacts):
                    self.save(in_work.pop(task.index), task.index, outcome.value)
            for task, outcome in ended:
                assert isinstance(task, StepTask)
                if isinstance(outcome, Exception):
                    raise outcome
                assert isinstance(outcome, StepFacts)
                for line in outcome.warnings:
                    if line not in self._warnings:
                        self._warnings.add(line)
                        logger.warning("%s", line)
                yield task.index, outcome.value


class _Shared:
    """A lane in blocks that is being computed.

    waiting  numbers of the blocks that are not done
    levels   parts of the smaller copies that are not begun, level by level; None: not cut yet
    parts    number of parts in work
    """

    def __init__(self, found: LaneCheck, records: DoneLanes, sample: SampleSettings | None) -> None:
        self.found = found
        self.blocks = SharedBlocks(found, records, sample)
        self.waiting = set(self.blocks.due)
        self.levels: list[list[LevelTask]] | None = None
        self.parts = 0
        self.is_over = False
        self.seconds, self.device = 0.0, ""
        self.warnings = list(found.warnings)


class _Distribution:
    """Lanes on their way to the workers and back."""

    def __init__(
        self,
        lanes: Sequence[LaneCheck],
        workers: DaskWorkers,
        records: DoneLanes,
        progress: Progress,
        outcomes: Outcomes,
        sample: SampleSettings | None = None,
    ) -> None:
        self._sample = sample
        self._lanes = {found.lane.index: found for found in lanes}
        self._workers, self._records, self._progress, self._outcomes = workers, records, progress, outcomes
        self._shared: dict[int, _Shared] = {}
        self._parts = deque[LevelTask]()

    def run(self) -> None:
        """Compute all lanes, a window of tasks at a time."""
        tasks, in_work = self._tasks(), 0
        while True:
            window = max(1, BLOCKS_PER_WORKER * self._workers.count())
            while in_work < window and not self._outcomes.should_stop():
                task = self._next_part() or next(tasks, None) or self._next_part()
                if task is None:
                    break
                self._workers.submit(task)
                in_work += 1
            if not in_work:
                return
            ended = self._workers.next(WAIT_S)
            in_work -= len(ended)
            self._take(ended)

    def _next_part(self) -> LevelTask | None:
        return self._parts.popleft() if self._parts else None

    def close(self) -> None:
        """Close the runs of lanes that are not complete."""
        for shared in self._shared.values():
            shared.blocks.close()

    # ------------------------------------------------------------------------------------------------------ tasks

    def _tasks(self) -> Iterator[Task]:
        whole = [found for found in self._lanes.values() if found.block is None]
        yield from self._group(whole)
        for index, found in self._lanes.items():
            if found.block is not None:
                yield from self._cut(index, found)

    def _group(self, whole: Sequence[LaneCheck]) -> Iterator[LanesTask]:
        """Unite small lanes: a task should take seconds."""
        groups = GROUPS_PER_WORKER * max(1, self._workers.count())
        size = min(blocks.BLOCK_VOXELS, sum(found.voxels for found in whole) // groups)
        group: list[LaneCheck] = []
        for found in whole:
            if group and sum(each.voxels for each in group) + found.voxels > size:
                yield LanesTask(tuple(each.lane for each in group))
                group = []
            for plan in found.exports.values():
                export_logger.info("Exporting to %s", plan.shown_path)
            group.append(found)
        if group:
            yield LanesTask(tuple(each.lane for each in group))

    def _cut(self, index: int, found: LaneCheck) -> Iterator[BlockTask]:
        for plan in found.exports.values():
            export_logger.info("Exporting to %s", plan.shown_path)
        try:
            shared = self._shared[index] = _Shared(found, self._records, self._sample)
        except Exception as error:
            raise_if_interrupted(error)
            self._outcomes.record_failure(found, error)
            return
        self._progress.skip(found.voxels - sum(shared.blocks.voxels(i) for i in shared.blocks.due))
        if not shared.waiting:
            self._continue(shared)
        for i in shared.blocks.due:
            if shared.is_over:
                return
            yield shared.blocks.task(i)

    # ----------------------------------------------------------------------------------------------------- outcomes

    def _take(self, ended: Sequence[tuple[Task, Outcome]]) -> None:
        computed: dict[int, dict[int, BlockFacts]] = {}
        for task, outcome in ended:
            if isinstance(task, BlockTask) and isinstance(outcome, BlockFacts):
                computed.setdefault(task.lane, {})[task.index] = outcome
        for lane, facts in computed.items():
            self._take_blocks(self._shared[lane], facts)
        for task, outcome in ended:
            if isinstance(task, LevelTask):
                self._take_part(self._shared[task.lane], task, outcome)
            elif isinstance(outcome, tuple):
                for result in outcome:
                    self._take_lane(result)
            elif isinstance(outcome, Exception) and isinstance(task, LanesTask):
                for each in task.lanes:
                    self._outcomes.record_failure(self._lanes[each.index], outcome)
            elif isinstance(outcome, Exception) and isinstance(task, BlockTask):
                self._fail(self._shared[task.lane], outcome)

    def _take_lane(self, result: LaneResult) -> None:
        found = self._lanes[result.index]
        self._warn(result.warnings, found.warnings)
        if result.error is not None:
            self._outcomes.record_failure(found, result.error, seconds=result.seconds)
            return
        self._progress.add(found.voxels)
        # Another worker may have computed it, and died before it said so.
        self._outcomes.keep(replace(result, is_skipped=False))

    def _take_blocks(self, shared: _Shared, facts: Mapping[int, BlockFacts]) -> None:
        """Record blocks by number."""
        if shared.is_over:
            return
        try:
            for index, each in facts.items():
                if each.sample is not None:
                    shared.blocks.add_sample(index, each.sample)
            shared.blocks.add({index: each.results for index, each in facts.items()})
        except Exception as error:
            raise_if_interrupted(error)
            self._fail(shared, error)
            return
        for index, each in facts.items():
            self._progress.add(shared.blocks.voxels(index))
            self._warn(each.warnings, shared.warnings)
            shared.warnings += [line for line in each.warnings if line not in shared.warnings]
            shared.seconds += each.seconds
            shared.device = each.device
            shared.waiting.discard(index)
        if not shared.waiting:
            self._continue(shared)

    def _take_part(self, shared: _Shared, task: LevelTask, outcome: Outcome) -> None:
        if shared.is_over:
            return
        if isinstance(outcome, Exception):
            self._fail(shared, outcome)
        elif isinstance(outcome, StepFacts):
            shared.blocks.add_part(task, outcome.value)
            shared.parts -= 1
            if not shared.parts:
                self._continue(shared)

    def _continue(self, shared: _Shared) -> None:
        """Begin the next smaller copy, which is made from the one before, or complete the results."""
        if shared.levels is None:
            shared.levels = shared.blocks.cut_levels()
        if not shared.levels:
            self._complete(shared)
            return
        parts = shared.levels.pop(0)
        shared.parts = len(parts)
        self._parts.extend(parts)

    def _complete(self, shared: _Shared) -> None:
        try:
            sample = self._outcomes.sample(shared.found, shared.blocks.restore_samples)
            files = shared.blocks.complete()
        except Exception as error:
            raise_if_interrupted(error)
            self._fail(shared, error)
            return
        shared.is_over = True
        shared.blocks.close()
        found, warnings = shared.found, tuple(shared.warnings)
        self._outcomes.keep(
            LaneResult(
                found.lane.index, found.name, files, None, shared.device, shared.seconds, warnings, sample=sample
            )
        )

    def _fail(self, shared: _Shared, error: Exception) -> None:
        if shared.is_over:
            return
        shared.is_over = True
        self._parts = deque(task for task in self._parts if task.lane != shared.found.lane.index)
        shared.blocks.close()
        self._outcomes.record_failure(shared.found, error, seconds=shared.seconds)

    def _warn(self, lines: Sequence[str], known: Sequence[str]) -> None:
        """Log warnings of workers that were not logged here yet."""
        for line in lines:
            if line not in known:
                logger.warning("%s", line)

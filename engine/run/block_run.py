"""Computation of a lane block by block, by several processes or one after another (``--resume``, ``--blocks``).

A block is recorded when its bytes are on disk, so that a process that is killed repeats the blocks in work and no
others. The process that finds all of them recorded completes the results.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ...box import Box
from ...frozen import frozen
from ..errors import ExportError, setting
from ..export.images import ExportPlan
from ..export.tile_sinks import BlockSink, ImageExport, open_export
from ..inputs.images import ImageRef, InputImage, reopen_images
from ..jobs import Job, describe_whole_format
from ..progress import Progress
from ..project import Project
from ..resources import Resources
from ..storage.atomic_write import kept_path
from ..storage.object_storage import RemotePath
from ..storage.remote_run import RemoteRunFolder, remote_run_path, remove_remote_run
from ..storage.run_folder import RunFolder, remove_run, run_path
from ..storage.special_files import resolve_links
from ..tiling.blocks import choose_block, cut_in_blocks, select_part
from ..workflows.protocol import Workflow
from .check import LaneCheck
from .done_lanes import DoneLanes, is_remote, remote_result, result_places
from .fingerprint import Fingerprint, digest
from .turns import MAX_WAITING, is_long

if TYPE_CHECKING:
    from ..export.tile_sinks import TileSink
    from ..sampling.lane import LaneSampler, SampleSettings

logger = logging.getLogger("pixelforest.batch")

# A block on so many threads is cut into tiles of about the best size; further threads compute other blocks.
THREADS_PER_BLOCK = 4
MIN_BLOCK_BYTES = 1 << 30  # memory of each block in work, where several are


def can_be_cut(found: LaneCheck) -> bool:
    """Return True if a lane can be computed in blocks."""
    return found.table is None and all(_opens_blocks(plan) and plan.result.is_local for plan in found.exports.values())


def _opens_blocks(plan: ExportPlan) -> bool:
    chosen = plan.format
    return (chosen.open_blocks if isinstance(plan.path, Path) else chosen.open_url_blocks) is not None


def can_be_helped(found: LaneCheck, project: Project, workflow: Workflow) -> bool:
    """Return True if other processes can compute steps of a lane. Raises ExportError if only its settings do not."""
    find_obstacle = getattr(workflow, "find_division_obstacle", None)  # not every workflow can be helped
    if find_obstacle is None:
        return False
    if obstacle := find_obstacle(project, list(found.exports)):
        raise ExportError(f"{obstacle}; compute it without this option")
    return True


def refuse_to_cut(found: LaneCheck) -> NoReturn:
    """Raise the ExportError that says why a lane cannot be computed in blocks."""
    for name, plan in found.exports.items():
        if not _opens_blocks(plan):
            raise ExportError(describe_whole_format(plan.format.name))
        if not plan.result.is_local:
            raise ExportError(f"{name} is made from the whole image, and not in blocks")
    raise ExportError("a table of objects is made from the whole image, and not in blocks")


def plan_blocks(found: LaneCheck) -> tuple[int, ...]:
    """Choose the shape (t, z, y, x) of the blocks of a lane that can be computed in blocks."""
    units = []
    for plan in found.exports.values():
        unit = dict(zip(plan.spec.axes, plan.format.unit(plan.spec) or plan.spec.shape, strict=True))
        units.append([unit.get(axis, 1) for axis in "tzyx"])
    return choose_block(_region(found).shape, units)


def _region(found: LaneCheck) -> Box:
    """Region (t, z, y, x) of the results, which for results of pixels is the same."""
    region = next(iter(found.exports.values())).region
    return Box(region.start[:4], region.stop[:4])


def cut_lane(found: LaneCheck) -> list[Box]:
    """Cut the results of a lane that is computed in blocks, (t, z, y, x)."""
    assert found.block is not None
    return cut_in_blocks(_region(found), found.block)


@frozen
class BlockWork:
    """Everything that computing blocks of a lane needs from the run."""

    job: Job
    workflow: Workflow
    resources: Resources
    records: DoneLanes
    progress: Progress
    on_progress: Callable[[int], None]
    sampler: LaneSampler | None = None


def compute_in_blocks(found: LaneCheck, images: Mapping[str, InputImage], work: BlockWork) -> tuple[Path, ...]:
    """Compute the blocks of a lane that are due; returns the files of the results if it has completed them.

    Raises ExportError, also if blocks are missing that this process was not to compute.
    """
    run = LaneRun(found, work.records)
    try:
        boxes, job = cut_lane(found), work.job
        done = run.blocks()
        mine = () if job.finish else select_part(len(boxes), job.blocks)
        due = [i for i in mine if i not in done]
        if job.finish and len(done) < len(boxes):
            if not done:
                run.remove()
            raise ExportError(_describe_missing(found, run, [i for i in range(len(boxes)) if i not in done]))
        logger.info("%s: %d of %d blocks are done already", found.name, len(done), len(boxes))
        work.progress.skip(found.voxels - sum(boxes[i].size for i in due))
        with run.open_exports() as exports, _summed_warnings():
            _compute(boxes, due, run, exports, images, work)
            if job.blocks is not None:
                missing = len(boxes) - len(run.blocks())
                logger.info("%s: %d blocks were computed, %d are still missing", found.name, len(due), missing)
                if work.sampler is not None:
                    work.sampler.is_whole = False
                return ()
            if work.sampler is not None:
                for i in done:
                    work.sampler.restore(boxes[i], run.sample(i))
            files = _complete(boxes, done, run, exports)
        return files
    finally:
        run.close()


def _complete(
    boxes: Sequence[Box], done: Mapping[int, Mapping[str, Any]], run: LaneRun, exports: Mapping[str, ImageExport]
) -> tuple[Path, ...]:
    """Put the results in place, once the blocks ``done``, by number, are counted that others have computed."""
    for i, record in done.items():
        for name, export in exports.items():
            facts = record["results"][name]
            export.restore(BlockSink(export, boxes[i]), facts["files"], facts["overflow"])
    return run.complete(exports)


def _compute(
    boxes: Sequence[Box],
    due: Sequence[int],
    run: LaneRun,
    exports: Mapping[str, ImageExport],
    images: Mapping[str, InputImage],
    work: BlockWork,
) -> None:
    """Compute blocks and record each; several in parallel where threads and memory suffice."""
    resources = work.resources
    at_once = min(len(due), resources.threads // THREADS_PER_BLOCK, resources.memory_bytes // MIN_BLOCK_BYTES)
    if at_once > 1:
        threads = resources.threads // at_once
        resources = replace(resources.share(at_once), threads=threads)
    failed = threading.Event()

    def report(voxels: int) -> None:
        if failed.is_set():
            raise _OtherFailed
        work.on_progress(voxels)

    def compute(index: int) -> Callable[[], None]:
        """Compute a block; returns what waits for its files, and records it."""
        sinks = {name: BlockSink(export, boxes[index]) for name, export in exports.items()}
        taking: Mapping[str, TileSink] = sinks
        if work.sampler is not None:
            taking = work.sampler.add_sinks(sinks, boxes[index], pixels=resources.backend.pixels)
        work.workflow.classify_lane(
            work.job.project, images, taking, resources=resources, on_progress=report, table=None
        )

        def finish() -> None:
            facts = {name: (exports[name].settle(sink), sink.overflow_count) for name, sink in sinks.items()}
            if work.sampler is not None:
                run.put_sample(index, work.sampler.pack(boxes[index], taking))
            run.add({index: facts})

        return finish

    def compute_and_finish(index: int) -> None:
        compute(index)()

    if at_once <= 1:
        _compute_in_turn(due, compute)
        return
    with ThreadPoolExecutor(at_once, thread_name_prefix="block") as pool:
        try:
            for future in as_completed([pool.submit(compute_and_finish, index) for index in due]):
                future.result()
        except BaseException:
            failed.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _compute_in_turn(due: Sequence[int], compute: Callable[[int], Callable[[], None]]) -> None:
    """Compute one block after the other; files of long ones come to disk while the next is computed."""
    waiting = deque[Future[None]]()
    with ThreadPoolExecutor(MAX_WAITING, thread_name_prefix="finish") as pool:
        for index in due:
            started_s = time.monotonic()
            finish = compute(index)
            if not is_long(started_s):
                finish()
                continue
            while len(waiting) >= MAX_WAITING:
                waiting.popleft().result()
            waiting.append(pool.submit(finish))
        for each in waiting:
            each.result()


@contextlib.contextmanager
def _summed_warnings() -> Iterator[None]:
    """Log a warning that every block gives, about a place and a number of voxels, once with the sum."""
    target, sums = logging.getLogger("pixelforest.pixels"), dict[tuple[str, object], int]()
    lock = threading.Lock()

    def take(record: logging.LogRecord) -> bool:
        match record.args:
            case (place, int(voxels)):
                with lock:
                    sums[record.msg, place] = sums.get((record.msg, place), 0) + voxels
                return False
        return True

    target.addFilter(take)
    try:
        yield
    finally:
        target.removeFilter(take)
        for (message, place), voxels in sums.items():
            target.warning(message, place, voxels)


@frozen
class BlockTask:
    """A block that another process computes; a value that can be pickled.

    lane, index  numbers of the lane and of the block, whose box is (t, z, y, x)
    images   references by role
    exports  by name of the result; runs: names of the runs that make them
    sample   None: the block is not sampled
    """

    lane: int
    index: int
    box: Box
    images: Mapping[str, ImageRef]
    exports: Mapping[str, ExportPlan]
    runs: Mapping[str, str]
    sample: SampleSettings | None = None

    def compute(
        self,
        project: Project,
        workflow: Workflow,
        resources: Resources,
        on_progress: Callable[[int], None],
        on_computed: Callable[[], object],
    ) -> tuple[Mapping[str, tuple[str, int]], bytes | None]:
        """Compute it; returns what ``SharedBlocks.add`` records, when it is on disk, and the packed sample.

        on_computed  called when nothing is left but to wait for the disk

        Raises ExportError, InputError.
        """
        with contextlib.ExitStack() as stack:
            images = stack.enter_context(reopen_images(self.images))
            exports = {}
            for name, plan in self.exports.items():
                exports[name] = open_export(plan, run=self.runs[name])
                stack.callback(exports[name].abort)
            sinks = {name: BlockSink(export, self.box) for name, export in exports.items()}
            sampler: LaneSampler | None = None
            taking: Mapping[str, TileSink] = sinks
            if self.sample is not None:
                from ..sampling.lane import begin_sample

                raw = images[project.roles[0]]
                sampler = begin_sample(workflow, project, raw, self.exports, self.sample, has_table=False)
                taking = sampler.add_sinks(sinks, self.box, pixels=resources.backend.pixels)
            workflow.classify_lane(project, images, taking, resources=resources, on_progress=on_progress, table=None)
            on_computed()
            results = {name: (exports[name].settle(sink), sink.overflow_count) for name, sink in sinks.items()}
            return results, None if sampler is None else sampler.pack(self.box, taking)


@frozen
class LevelTask:
    """Part of a smaller copy of a result, made from the copy before; a value that can be pickled.

    lane    number of the lane
    name    of the result; export: its plan; run: name of the run that makes it
    level   number of the copy, from 1; part: box (t, z, y, x) of it
    """

    lane: int
    name: str
    export: ExportPlan
    run: str
    level: int
    part: Box

    def compute(self) -> str:
        """Make it; returns what ``SharedBlocks.add_part`` takes, when it is on disk. Raises ExportError."""
        export = open_export(self.export, run=self.run)
        try:
            return export.make_part(self.level, self.part)
        finally:
            export.abort()


class SharedBlocks:
    """Blocks of a lane that other processes compute; this one records each and completes the results.

    due  numbers of the blocks that are to be computed
    """

    def __init__(self, found: LaneCheck, records: DoneLanes, sample: SampleSettings | None = None) -> None:
        """Open the run of a lane that is computed in blocks, and sampled if ``sample`` says how. Raises ExportError."""
        self._found, self._boxes, self._stack = found, cut_lane(found), contextlib.ExitStack()
        self._run = LaneRun(found, records)
        self._stack.callback(self._run.close)
        with contextlib.ExitStack() as opened:
            opened.push(self._stack)
            done = self._run.blocks()
            self.due = [i for i in range(len(self._boxes)) if i not in done]
            logger.info("%s: %d of %d blocks are done already", found.name, len(done), len(self._boxes))
            self._exports = self._stack.enter_context(self._run.open_exports())
            opened.pop_all()
        parts = records.fingerprint_of(found)
        images = {role: image.ref for role, image in found.images.items()}
        plans = {name: found.exports[name] for name in self._exports}
        self._names = {name: _name_of(parts, name) for name in plans}
        self._task = partial(BlockTask, images=images, exports=plans, runs=self._names, sample=sample)

    def task(self, index: int) -> BlockTask:
        """Return the work of a block, as a value."""
        return self._task(self._found.lane.index, index, self._boxes[index])

    def voxels(self, index: int) -> int:
        """Return the size of a block."""
        return self._boxes[index].size

    def add(self, results: Mapping[int, Mapping[str, tuple[str, int]]]) -> None:
        """Record blocks that are on disk, by number. Raises ExportError."""
        self._run.add(results)

    def add_sample(self, index: int, packed: bytes) -> None:
        """Keep the sample of a block. Raises ExportError."""
        self._run.put_sample(index, packed)

    def restore_samples(self, sampler: LaneSampler) -> None:
        """Restore the samples of all blocks, before the results are completed."""
        for i, box in enumerate(self._boxes):
            sampler.restore(box, self._run.sample(i))

    def cut_levels(self) -> list[list[LevelTask]]:
        """Cut the smaller copies of all results into parts, level by level; those of one part are left out."""
        found: list[list[LevelTask]] = []
        for name, export in self._exports.items():
            for level, (shape, unit) in enumerate(export.level_shapes(), start=1):
                parts = cut_in_blocks(Box.whole(shape), choose_block(shape, [unit]))
                if len(parts) == 1:
                    break
                if len(found) < level:
                    found.append([])
                found[level - 1] += [
                    LevelTask(self._found.lane.index, name, export.plan, self._names[name], level, part)
                    for part in parts
                ]
        return found

    def add_part(self, task: LevelTask, files: str) -> None:
        """Count a part of a smaller copy that is on disk; it is not recorded. Raises ValueError."""
        self._exports[task.name].restore_part(task.level, task.part, files)

    def complete(self) -> tuple[Path, ...]:
        """Put the results in place, once all blocks are recorded; returns their files. Raises ExportError."""
        return _complete(self._boxes, self._run.blocks(), self._run, self._exports)

    def close(self) -> None:
        """Close the run; what is done is kept unless it is complete."""
        self._stack.close()


class _OtherFailed(Exception):  # not an error: ends blocks in work after one that failed
    pass


class LaneRun:
    """The run that computes a lane, as far as it has come.

    folder  its records
    """

    def __init__(self, found: LaneCheck, records: DoneLanes) -> None:
        self._found, self._records = found, records
        self._parts = records.fingerprint_of(found)
        facts, run = {"lane": records.key_of(found), "parts": self._parts}, digest(self._parts)
        self.folder: RunFolder | RemoteRunFolder
        if is_remote(found):
            self.folder = RemoteRunFolder(RemotePath(str(found.files[0])), run, facts)
        else:
            self.folder = RunFolder(Path(found.files[0]).absolute(), run, facts)

    def blocks(self) -> dict[int, dict[str, Any]]:
        """Return the records of the blocks that are done, by number."""
        records = self.folder.records()
        committed = self.committed(records)
        done = {each["block"]: each for each in records if "block" in each}
        for name, plan in self._found.exports.items():
            if done and name not in committed and not self._is_unfinished(name, plan):
                logger.warning("%s: %s was removed, so all blocks are computed again", self._found.name, plan.path)
                self.folder.remove()
                self.folder.open()
                return {}
        return done

    def add(self, results: Mapping[int, Mapping[str, tuple[str, int]]]) -> None:
        """Record blocks that are on disk, by number."""
        records = []
        for index, found in results.items():
            facts = {name: {"files": files, "overflow": overflow} for name, (files, overflow) in found.items()}
            records.append({"block": index, "results": facts})
        self.folder.add(*records)

    def put_sample(self, index: int, packed: bytes) -> None:
        """Keep the sample of a block, before the block is recorded."""
        self.folder.put_sample(index, packed)

    def sample(self, index: int) -> bytes | None:
        """Return the sample of a block; None if there is none."""
        return self.folder.sample(index)

    @contextlib.contextmanager
    def open_exports(self) -> Iterator[dict[str, ImageExport]]:
        """Open the results that are not in place yet."""
        committed = self.committed(self.folder.records())
        exports: dict[str, ImageExport] = {}
        try:
            for name, plan in self._found.exports.items():
                if name not in committed:
                    exports[name] = open_export(plan, run=self.name_of(name))
            yield exports
        finally:
            for export in exports.values():
                export.abort()

    def complete(self, exports: Mapping[str, ImageExport]) -> tuple[Path, ...]:
        """Put all results in place."""
        self._records.begin(self._found)
        for name, export in exports.items():
            self.folder.add({"commit": name})
            export.finish()
        self._records.complete(self._found, are_durable=True)
        self.folder.remove()
        remove_leftovers(self._found, self._records)
        return tuple(file for file in self._found.files if isinstance(file, Path))

    def name_of(self, name: str) -> str:
        """Name of the run that makes one result."""
        return _name_of(self._parts, name)

    def close(self) -> None:
        """Close it; may be called twice."""
        self.folder.discard()

    def remove(self) -> None:
        """Remove it. Never raises."""
        self.folder.remove()

    def _is_unfinished(self, name: str, plan: ExportPlan) -> bool:
        """Return True if there is what becomes a result."""
        run = _name_of(self._parts, name)
        if isinstance(plan.path, str):
            return remote_result(plan, run).is_begun()
        folder = _kept_folder(plan, run)
        return (folder / plan.internal_path if plan.format.container else folder).exists()

    def committed(self, records: Sequence[Mapping[str, Any]]) -> set[str]:
        """Names of results that are in place: about to be put there, and not under another name any more."""
        begun = {each["commit"] for each in records if "commit" in each}
        return {
            name
            for name, plan in self._found.exports.items()
            if name in begun and not self._is_unfinished(name, plan) and _is_in_place(plan)
        }


def _is_in_place(plan: ExportPlan) -> bool:
    return remote_result(plan).is_there() if isinstance(plan.path, str) else result_places(plan)[0].exists()


def _name_of(parts: Fingerprint, name: str) -> str:
    """Name of the run that makes one result of a lane."""
    return digest({**parts, "result": name})


def _kept_folder(plan: ExportPlan, run: str) -> Path:
    return kept_path(resolve_links(Path(plan.path)), run)


def remove_leftovers(found: LaneCheck, records: DoneLanes) -> None:
    """Remove what a run that has completed a lane may have left: its folder, and emptied containers. Never raises."""
    parts = records.fingerprint_of(found)
    if is_remote(found):
        remove_remote_run(remote_run_path(RemotePath(str(found.files[0])), digest(parts)))
        return
    remove_run(run_path(Path(found.files[0]).absolute(), digest(parts)))
    for name, plan in found.exports.items():
        remove_run(_kept_folder(plan, _name_of(parts, name)))


def _describe_missing(found: LaneCheck, run: LaneRun, missing: Sequence[int]) -> str:
    numbers = ", ".join(str(i + 1) for i in missing[:10]) + (", …" if len(missing) > 10 else "")
    return (
        f"cannot complete {found.files[0]}: {len(missing)} blocks are missing (number {numbers}); start those of "
        f"{setting('blocks')}=I/N again that have not ended, or let {setting('resume')} compute the rest here"
    )

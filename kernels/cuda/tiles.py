"""Processing of a tile on a device: upload → features → forest → results → download; in pieces if memory is short."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ...frozen import frozen
from ..contract import DeviceOutOfMemory, ForestArrays, ResultPlan, StagedSource, TileJob, TileResult, Voxels, as_voxels
from ..cpu.host.workspace import CpuForest
from ..shared.nodes import PackedForest
from . import nvforest
from .device import Device, DeviceArray
from .features import CudaPlan, CudaStack, feature_stack, stack_bytes
from .filters import upload_source
from .forest import CudaForest, forest_kernels
from .launch import Compilation, begin
from .nvforest import NvForest, Place, working_bytes
from .results import HostResult, class_columns, download_results, make_result, result_bytes, select_features
from .stages import stack_stages
from .strided import gather_mask, gather_source, scatter_result

logger = logging.getLogger("pixelforest.kernels")

TILES_IN_FLIGHT = 3
"""Tiles in flight on a device, so that it never waits: the time of all parts of a tile (copy into pinned memory,
launches, upload, kernels, download) divided by that of the longest one, rounded up. By bench/gpu_pipeline.py the
quotient is 1.1 on a T4 and 2.3 on a B200."""
READERS = 2
"""Threads that read for a device: by bench/gpu_pipeline.py an H100 waits for one thread, and not for two."""
MIN_PIECE_VOXELS = 1 << 12  # a smaller piece is not tried
MEMORY_SHARE = 0.8  # of the free memory; the rest is for rounding and for other programs
RAW_BYTES = 8  # of an uploaded voxel, at most


@dataclass(eq=False)
class LoadedForest:
    """Classifier before it is loaded on a device.

    stored       the stored forests; packed: the same for tree traversal
    load_on_cpu  loads it in the CPU backend's form
    """

    stored: tuple[ForestArrays, ...]
    packed: PackedForest
    load_on_cpu: Callable[[Sequence[ForestArrays]], CpuForest]

    @cached_property
    def on_cpu(self) -> CpuForest:
        """The classifier in the CPU backend's form, loaded on first use, since its kernels may have to be compiled."""
        return self.load_on_cpu(self.stored)


@frozen
class ForestChoice:
    """Choice of the forest inference engine, see forest_choice.py.

    place  device of nvForest, for tests
    tunes  variants of the native kernels are timed on the first tile
    """

    name: str = "auto"
    place: Place = "gpu"
    tunes: bool = False

    def load(self, device: Device, loaded: LoadedForest, columns: int) -> CudaForest | NvForest:
        """Load a forest on a device for stacks with this number of columns, usable on every stream."""
        made: CudaForest | NvForest
        if self.name == "nvforest":
            made = nvforest.load_forest(device, loaded.stored, place=self.place)
        else:
            made = CudaForest(device, loaded.packed, tunes=self.tunes)
            made.launch(columns)
        device.synchronize()
        return made

    def kernels(self, device: Device, loaded: LoadedForest) -> Sequence[Compilation]:
        """List the kernels of a forest."""
        return ((nvforest.FILE, ()),) if self.name == "nvforest" else forest_kernels(loaded.packed, device)

    def working_bytes(self, columns: int, classes: int, voxels: int) -> int:
        """Device memory of nvForest in addition to features and probabilities."""
        return working_bytes(columns, classes, voxels) if self.name == "nvforest" else 0


CudaJob = TileJob[CudaPlan, LoadedForest]


class DeviceWorker:
    """A device with its threads, each of which processes a tile on a stream of its own.

    share    of the free memory that this worker may use
    warn     called with a message about memory
    waiting  number of tiles scheduled and not done; is_lost: the device failed and is retired
    """

    def __init__(self, device: Device, forests: ForestChoice, warn: Callable[[str], None], *, share: float) -> None:
        self.device, self.waiting, self.is_lost = device, 0, False
        self._forest_choice, self._warn, self._share = forests, warn, share
        self._pool = ThreadPoolExecutor(TILES_IN_FLIGHT, thread_name_prefix=f"{device.name} {device.index}")
        self._lock = threading.Lock()
        self._forests: WeakKeyDictionary[LoadedForest, dict[int, CudaForest | NvForest]] = WeakKeyDictionary()
        self._max_voxels: int | None = None

    def start(self, job: CudaJob) -> Future[tuple[HostResult, ...]]:
        """Start a tile. The future raises DeviceOutOfMemory if not even a small piece fits, or DeviceFailed.

        It has no results if they are written into targets.
        """
        return self._pool.submit(self._in_pieces, job)

    def begin(self, kernels: Sequence[Compilation]) -> None:
        """Compile and load kernels in the background; errors are raised on use."""
        if not self.is_lost:
            begin(self.device, kernels)

    def begin_forest(self, loaded: LoadedForest) -> None:
        """Compile and load the kernels of a forest in the background."""
        self.begin(self._forest_choice.kernels(self.device, loaded))

    def fits(self, stages: Sequence[tuple[CudaPlan, ResultPlan, Voxels, Voxels]]) -> bool:
        """Return True if TILES_IN_FLIGHT tiles fit the device's memory.

        stages  plan, results, sizes of the tile and of its source, one stage after the other
        """
        needed = max(
            device_bytes(plan, results, tile, source)
            + self._forest_choice.working_bytes(plan.packed.width, results.classes, int(np.prod(tile)))
            for plan, results, tile, source in stages
        )
        return TILES_IN_FLIGHT * needed <= self._share * self.device.free_bytes()

    def forest(self, loaded: LoadedForest, columns: int) -> CudaForest | NvForest:
        """Load a forest on this device once."""
        with self._lock:
            forests = self._forests.setdefault(loaded, {})
            if columns not in forests:
                forests[columns] = self._forest_choice.load(self.device, loaded, columns)
            return forests[columns]

    def _in_pieces(self, job: CudaJob) -> tuple[HostResult, ...]:
        if self._max_voxels is None or job.voxels <= self._max_voxels:
            try:
                return self._whole(job)
            except DeviceOutOfMemory as error:
                if job.voxels <= MIN_PIECE_VOXELS:
                    raise
                reason = str(error)
            self._max_voxels = max(MIN_PIECE_VOXELS, job.voxels // 2)
            self._warn(f"{reason}; tiles are split, which changes nothing but the time")
        # Outside of the handler, whose traceback would keep the arrays alive.
        axis, *halves = job.halves(job.plan.source_halo)
        return tuple(_joined(parts, axis) for parts in zip(*map(self._in_pieces, halves), strict=True))

    def _whole(self, job: CudaJob) -> tuple[HostResult, ...]:
        device = self.device
        forest = self.forest(job.forest, job.plan.packed.width) if job.wants_classes else None
        stack = self._features(job)
        predicted = None
        if forest is not None:
            probabilities, classes = forest.predict(stack), class_columns(job.results, forest.classes)
            active = None if job.active is None else self._active(job)
            predicted = probabilities, classes, active
        made = []
        for each in job.results.wanted:
            if each.result != "features" and predicted is not None:
                made.append(make_result(device, *predicted, each))
            else:
                made.append(select_features(device, stack.values, stack.shape, stack.column_stride, each))
        if not job.targets:
            return download_results(device, made)
        for result, target in zip(made, job.targets, strict=True):
            scatter_result(device, result.values, target)
        device.synchronize()
        return ()

    def _active(self, job: CudaJob) -> DeviceArray:
        if job.targets:
            return gather_mask(self.device, job.active)
        return self.device.upload(job.active.astype(np.uint8))

    def _features(self, job: CudaJob) -> CudaStack:
        """Compute the stack of a tile. The source on the device is freed."""
        bring = gather_source if job.targets else upload_source
        if isinstance(job.source, StagedSource):
            source = self._staged_source(job.source, bring)
        else:
            source = bring(self.device, job.source)
        return feature_stack(self.device, source, job.start, job.tile, job.image, job.plan)

    def _staged_source(self, staged: StagedSource, bring: Callable[[Device, Any], DeviceArray]) -> DeviceArray:
        """Compute the source of a second stage. Everything else of the first stage is freed."""
        device, job = self.device, staged.job
        forest, source = self.forest(job.forest, job.plan.packed.width), bring(device, job.source)
        probabilities = forest.predict(feature_stack(device, source, job.start, job.tile, job.image, job.plan))
        first = as_voxels(a - b for a, b in zip(job.tile[0], job.start, strict=True))
        classes = class_columns(job.results, forest.classes)
        return stack_stages(device, source, first, probabilities, classes, staged.dtype)


def device_bytes(plan: CudaPlan, results: ResultPlan, tile: Voxels, source: Voxels) -> int:
    """Device memory of a tile, including all intermediates."""
    voxels, read = int(np.prod(tile)), int(np.prod(source))
    probabilities_and_mask = 4 * results.classes + 1
    raw = RAW_BYTES * plan.packed.channels * read
    return stack_bytes(plan, tile, source) + raw + voxels * (probabilities_and_mask + result_bytes(results))


def finish_all(results: Sequence[HostResult]) -> tuple[TileResult, ...]:
    """Complete the conversion of all results on the host."""
    return tuple(result.finish() for result in results)


def _joined(parts: Sequence[HostResult], axis: int) -> HostResult:
    values = np.concatenate([part.values for part in parts], axis=axis)
    return replace(parts[0], values=values, overflow_count=sum(part.overflow_count for part in parts))

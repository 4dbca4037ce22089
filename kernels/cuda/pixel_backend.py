"""Features, forests and results on GPUs; rows of features are predicted on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from ..contract import (
    DeviceFailed,
    DeviceOutOfMemory,
    FeaturePlan,
    ForestArrays,
    ForestUse,
    ResultPlan,
    StagedSource,
    TileJob,
    TilePreference,
    TileResult,
    Voxels,
    as_voxels,
)
from ..cpu.host.workspace import CpuForest
from ..cpu.pixel_backend import CpuPixels
from ..shared.nodes import pack_forest
from ..shared.plan import PackedPlan
from ..shared.self_test import SELF_TESTS
from .device import Device, DeviceArray
from .features import CudaPlan, CudaStack, feature_stack, features, load_plan, plan_kernels
from .filters import ALL_SOURCES, upload_source
from .forest import all_forest_kernels
from .forest_choice import warn_of_rounding
from .launch import Compilation, prepare
from .pinned import rounded_bytes
from .pool import DevicePool
from .results import ALL_RESULTS, needed_kernels, zero_results
from .stages import COMMON_STAGES
from .strided import COMMON_STRIDED
from .tiles import READERS, TILES_IN_FLIGHT, CudaJob, LoadedForest, finish_all

# Voxels along z, y, x, from bench/gpu_pipeline.py; bench/cuda_pipeline.py tries others on a GPU. A tile takes
# 32 launches * 20 us + 0.5 ms of Python, which has to be less than voxels / rate of its kernels: 1.1 of 1.6 ms in 2-D
# on a B200. Larger flat tiles only let the device wait for the first and the last one, 6 to 20 % of 8192 x 8192 pixels.
# The source of a solid tile, with a halo of 38, is 3.4 times the tile: thicker ones gain up to 10 % of 1024^3 and lose
# as much of 512^3, and three of 256^3 do not fit a device with 16 GB.
FLAT_TILE, MIN_FLAT_TILE = (1, 1024, 2048), (1, 512, 512)
SOLID_TILE, MIN_SOLID_TILE = (128, 256, 256), (32, 128, 128)

FLOAT_BYTES = 4


class CudaPixels:
    """Pixel classification on devices. See ``contract.PixelBackend`` for the methods.

    cpu  takes over if devices fail, and predicts rows
    """

    def __init__(self, pool: DevicePool, cpu: CpuPixels) -> None:
        self._pool, self._cpu = pool, cpu

    def describe(self) -> str:
        return self._pool.describe()

    def warm(self) -> None:
        """Compile the CPU's kernels and those that most projects need of every device."""
        self._cpu.warm()
        for device in self._pool.devices:
            prepare(device, pixel_kernels())

    def load_plan(self, plan: FeaturePlan) -> CudaPlan:
        """Begin to compile the kernels of every tile while the forest and the first tile are read."""
        loaded = load_plan(plan)
        for worker in self._pool.alive():
            worker.begin(plan_kernels(loaded))
        return loaded

    def load_forest(self, forests: Sequence[ForestArrays], *, use: ForestUse) -> LoadedForest:
        loaded = LoadedForest(tuple(forests), pack_forest(forests), partial(self._cpu.load_forest, use=use))
        warn_of_rounding(loaded.packed, self._pool.forests.name)
        if use == "rows":
            assert loaded.on_cpu
        else:
            for worker in self._pool.alive():
                worker.begin_forest(loaded)
        return loaded

    def source_halo(self, plan: CudaPlan) -> Voxels:
        return plan.source_halo

    def tile_bytes(self, plan: CudaPlan, classes: int, tile: Voxels, source: Voxels) -> int:
        # The pinned copy of the source. Results are downloaded into the arrays that the engine counts itself.
        return rounded_bytes(FLOAT_BYTES * plan.packed.channels * int(np.prod(source)))

    def preferred_tiles(
        self, plan: CudaPlan, results: ResultPlan, image: Voxels, threads: int, *, first: CudaPlan | None = None
    ) -> TilePreference:
        alive = self._pool.alive()
        for worker in alive:
            worker.begin(needed_kernels(results))
        flat = image[0] == 1
        smallest = MIN_FLAT_TILE if flat else MIN_SOLID_TILE
        tile = [min(a, b) for a, b in zip(FLAT_TILE if flat else SOLID_TILE, image, strict=True)]
        while not all(worker.fits(_stages(plan, results, tile, image, first)) for worker in alive):
            axis = max(range(3), key=lambda i: tile[i] / smallest[i])
            if tile[axis] <= 1:
                break  # the tile is tried anyway, and split
            tile[axis] = (tile[axis] + 1) // 2
        count = len(self._pool.workers)
        readers = max(1, min(threads // 2, READERS * count))
        return TilePreference(as_voxels(tile), smallest, min(threads, TILES_IN_FLIGHT * count), readers)

    def tile_results(self, job: CudaJob) -> tuple[TileResult, ...]:
        if job.is_masked_out and not job.wants_features:
            return zero_results(job.results, job.extent)
        while (worker := self._pool.take()) is not None:
            try:
                return finish_all(worker.start(job).result())
            except DeviceFailed as error:
                self._pool.lose(worker, error)
            except DeviceOutOfMemory as error:
                if not self._pool.falls_back:
                    raise
                self._pool.warn_once("small", f"{error}, not even for a small tile; the CPU goes on")
                break
            finally:
                self._pool.give_back(worker)
        return self._cpu.tile_results(_loaded_on_cpu(job))

    def predict_rows(self, rows: np.ndarray, forest: LoadedForest) -> np.ndarray:
        return self._cpu.predict_rows(rows, forest.on_cpu)

    # ------------------------------------------------------------- single steps, on the first device's stream of the
    # calling thread, for tests and benchmarks

    def to_device(self, source: np.ndarray) -> DeviceArray:
        """Convert a tile's source (c, z, y, x) to float32 on the device."""
        return upload_source(self._first, source)

    def to_host(self, array: DeviceArray) -> np.ndarray:
        """Copy a result of ``features`` or ``predict`` to the host. Waits for the device."""
        return self._first.download(array)

    def feature_stack(
        self, source: DeviceArray, start: Voxels, tile: tuple[Voxels, Voxels], image: Voxels, plan: CudaPlan
    ) -> CudaStack:
        """Compute the features of a source from ``to_device``; start, tile, image as in ``contract.TileJob``."""
        return feature_stack(self._first, source, start, tile, image, plan)

    def features(self, stack: CudaStack) -> DeviceArray:
        """Transpose the stack to (z, y, x, f) float32."""
        return features(stack)

    def predict(self, stack: CudaStack, forest: LoadedForest) -> DeviceArray:
        """Predict class probabilities (z, y, x, k) float32 of a tile."""
        return self._pool.workers[0].forest(forest, stack.shape[3]).predict(stack)

    @property
    def devices(self) -> tuple[Device, ...]:
        """Devices in the order in which they were given."""
        return self._pool.devices

    @property
    def _first(self) -> Device:
        return self._pool.workers[0].device


def pixel_kernels() -> list[Compilation]:
    """Kernels that most projects need: all features at the scales of ilastik's dialog, forests, inputs and results."""
    plans = (plan_kernels(load_plan(test.plan)) for test in SELF_TESTS)
    found = [
        *(kernel for plan in plans for kernel in plan),
        *ALL_SOURCES,
        *COMMON_STRIDED,
        *COMMON_STAGES,
        *all_forest_kernels(),
        *ALL_RESULTS,
    ]
    return list(dict.fromkeys(found))


def _stages(
    plan: CudaPlan, results: ResultPlan, tile: Sequence[int], image: Voxels, first: CudaPlan | None
) -> list[tuple[CudaPlan, ResultPlan, Voxels, Voxels]]:
    """List the stages of a tile, see ``DeviceWorker.fits``."""
    source = _grown(tile, plan.source_halo, image)
    stages = [(plan, results, as_voxels(tile), source)]
    if first is not None:  # the further channels of its source are the first stage's classes
        classes = ResultPlan((), plan.packed.channels - first.packed.channels, ())
        stages.append((first, classes, source, _grown(source, first.source_halo, image)))
    return stages


def _loaded_on_cpu(job: CudaJob) -> TileJob[PackedPlan, CpuForest]:
    loaded = job.loaded_as(job.plan.packed, job.forest.on_cpu)
    source = loaded.source
    return (
        replace(loaded, source=replace(source, job=_loaded_on_cpu(source.job)))
        if isinstance(source, StagedSource)
        else loaded
    )


def _grown(tile: Sequence[int], halo: Voxels, image: Voxels) -> Voxels:
    return as_voxels([min(n + 2 * m, size) for n, m, size in zip(tile, halo, image, strict=True)])

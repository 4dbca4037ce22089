"""The backend of NVIDIA GPUs: features, forests and results on devices, everything else on the CPU.

Tiles are dealt to the devices as they have room. A device that fails in the middle of its work gets no more; the tiles
it had go to the next one and, if that is allowed, to the CPU in the end. The bytes are the same wherever they go.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from ..contract import (
    DeviceFailed,
    DeviceOutOfMemory,
    FeaturePlan,
    ForestArrays,
    MapPlan,
    ResultPlan,
    Storage,
    TileResult,
    TileWish,
    Voxels,
)
from ..cpu.backend import CpuBackend
from ..cpu.host.labels import SlabRuns
from ..shared.nodes import pack_forest
from ..shared.self_test import SELF_TESTS
from . import labels, threshold
from .device import Device, DeviceArray
from .features import CudaPlan, CudaStack, feature_stack, features, load_plan, plan_kernels
from .filters import ALL_SOURCES, upload_source
from .forest import all_forest_kernels
from .forest_choice import check_choice, warn_of_rounding
from .launch import Compilation, compile_files, prepare
from .objects import DeviceObjects
from .results import ALL_RESULTS, needed_kernels, zero_results
from .tiles import AT_ONCE, MEMORY_SHARE, DeviceWorker, ForestChoice, LoadedForest, TileJob, finish_all

logger = logging.getLogger("pixelforest.kernels")

Answer = TypeVar("Answer")

# Voxels along z, y, x: large enough that halos and launches are a small part, small enough that reading and writing
# overlap with computing on any image that is worth a GPU. Not measured; bench/cuda_pipeline.py tries others.
FLAT_TILE, FLAT_SMALLEST = (1, 2048, 2048), (1, 512, 512)
SOLID_TILE, SOLID_SMALLEST = (128, 256, 256), (32, 128, 128)


class CudaBackend(DeviceObjects):
    """Pixel classification, labels and smoothing on devices. See ``contract.Backend`` for the methods.

    devices      one after the other gets tiles; one that is given twice works with twice as many threads
    falls_back   the CPU goes on where the devices fail
    forests      what walks forests
    """

    name = "cuda"

    def __init__(
        self, devices: Sequence[Device], *, falls_back: bool = False, forests: ForestChoice | None = None
    ) -> None:
        super().__init__(self._next_device)
        assert devices
        self._falls_back, self._cpu = falls_back, CpuBackend()
        self._choosing, self._warned = threading.Lock(), set[str]()
        self._own = threading.local()
        self._classifies_pixels = False
        choice = self._forests = forests or ForestChoice()
        places = Counter((device.name, device.index) for device in devices)
        shares = [MEMORY_SHARE / places[device.name, device.index] for device in devices]
        self._workers = [
            DeviceWorker(device, choice, self._warn_of_memory, share=share)
            for device, share in zip(devices, shares, strict=True)
        ]

    def describe(self) -> str:
        devices = [worker.device for worker in self._workers]
        numbers = ",".join(str(device.index) for device in devices)
        return f"cuda:{numbers} ({', '.join(dict.fromkeys(device.name for device in devices))})"

    def warm(self) -> None:
        """The CPU's, and the common ones."""
        self._cpu.warm()
        for worker in self._workers:
            prepare(worker.device, common_kernels())

    def load_plan(self, plan: FeaturePlan) -> CudaPlan:  # type: ignore[override]
        """Also begins to compile what every tile will need, while the forest and the first tile are read."""
        loaded, self._classifies_pixels = load_plan(plan), True
        for worker in self._alive():
            worker.begin(plan_kernels(loaded))
        return loaded

    def source_margin(self, plan: CudaPlan) -> Voxels:  # type: ignore[override]
        return plan.source_margin

    def load_forest(self, forests: Sequence[ForestArrays]) -> LoadedForest:  # type: ignore[override]
        loaded = LoadedForest(tuple(forests), pack_forest(forests), self._cpu.load_forest)
        warn_of_rounding(loaded.packed, self._forests.name)
        # The first forest after a plan is the pixels'; objects' forests are walked by the CPU.
        is_of_pixels, self._classifies_pixels = self._classifies_pixels, False
        if not is_of_pixels:
            assert loaded.on_cpu
        for worker in self._alive() if is_of_pixels else ():
            worker.begin_forest(loaded)
        return loaded

    def tile_bytes(self, plan: CudaPlan, classes: int, tile: Voxels, source: Voxels) -> int:  # type: ignore[override]
        pinned_copy = 4
        return int(pinned_copy * plan.packed.channels * np.prod(source))

    def tile_wish(  # type: ignore[override]
        self, plan: CudaPlan, results: ResultPlan, image: Voxels, threads: int
    ) -> TileWish:
        for worker in self._alive():
            worker.begin(needed_kernels(results))
        flat = image[0] == 1
        smallest = FLAT_SMALLEST if flat else SOLID_SMALLEST
        tile = [min(a, b) for a, b in zip(FLAT_TILE if flat else SOLID_TILE, image, strict=True)]
        margin = plan.source_margin
        while not all(
            worker.fits(plan, results, _voxels(tile), _grown(tile, margin, image)) for worker in self._alive()
        ):
            axis = max(range(3), key=lambda i: tile[i] / smallest[i])
            if tile[axis] <= 1:
                break  # then it is tried, and split
            tile[axis] = (tile[axis] + 1) // 2
        return TileWish(_voxels(tile), smallest, min(threads, AT_ONCE * len(self._workers)))

    def tile_results(
        self,
        source: np.ndarray,
        start: Voxels,
        tile: tuple[Voxels, Voxels],
        image: Voxels,
        active: np.ndarray | None,
        plan: CudaPlan,  # type: ignore[override]
        forest: LoadedForest,  # type: ignore[override]
        results: ResultPlan,
    ) -> tuple[TileResult, ...]:
        job = TileJob(source, start, tile, image, active, plan, forest, results)
        if active is not None and not active.any() and all(w.result != "features" for w in results.wanted):
            return zero_results(results, job.extent)
        while (worker := self._take_worker()) is not None:
            try:
                return finish_all(worker.start(job).result())
            except DeviceFailed as error:
                self._lose(worker, error)
            except DeviceOutOfMemory as error:
                if not self._falls_back:
                    raise
                self._warn_once("small", f"{error}, not even for a small tile; the CPU goes on")
                break
            finally:
                self._give_back(worker)
        return self._cpu.tile_results(source, start, tile, image, active, plan.packed, forest.on_cpu, results)

    def label_slab(self, values: np.ndarray, storage: Storage) -> SlabRuns:
        return self._or_on_the_cpu(
            lambda: super(CudaBackend, self).label_slab(values, storage), lambda: self._cpu.label_slab(values, storage)
        )

    def smooth_maps(
        self, source: np.ndarray, start: Voxels, tile: tuple[Voxels, Voxels], image: Voxels, plan: MapPlan
    ) -> tuple[np.ndarray, ...]:
        return self._or_on_the_cpu(
            lambda: super(CudaBackend, self).smooth_maps(source, start, tile, image, plan),
            lambda: self._cpu.smooth_maps(source, start, tile, image, plan),
        )

    # ------------------------------------------------------------- single steps, on the first device's stream of the
    # calling thread, for tests and benchmarks

    def to_device(self, source: np.ndarray) -> DeviceArray:  # type: ignore[override]
        return upload_source(self._first, source)

    def to_host(self, array: DeviceArray) -> np.ndarray:  # type: ignore[override]
        return self._first.download(array)

    def feature_stack(  # type: ignore[override]
        self, source: DeviceArray, start: Voxels, tile: tuple[Voxels, Voxels], image: Voxels, plan: CudaPlan
    ) -> CudaStack:
        return feature_stack(self._first, source, start, tile, image, plan)

    def features(self, stack: CudaStack) -> DeviceArray:  # type: ignore[override]
        return features(stack)

    def predict(self, stack: CudaStack, forest: LoadedForest) -> DeviceArray:  # type: ignore[override]
        return self._workers[0].forest(forest, stack.shape[3]).predict(stack)

    def predict_rows(self, rows: np.ndarray, forest: LoadedForest) -> np.ndarray:  # type: ignore[override]
        return self._cpu.predict_rows(rows, forest.on_cpu)

    @property
    def devices(self) -> tuple[Device, ...]:
        """In the order in which they were given."""
        return tuple(worker.device for worker in self._workers)

    @property
    def _first(self) -> Device:
        return self._workers[0].device

    # ----------------------------------------------------------------------------------------------------- the devices

    def _alive(self) -> list[DeviceWorker]:
        return [worker for worker in self._workers if not worker.is_lost]

    def _next_device(self) -> Device:
        """The device for an operation of the calling thread, which stays with it. Raises DeviceFailed if all failed."""
        worker: DeviceWorker | None = getattr(self._own, "worker", None)
        if worker is None or worker.is_lost:
            alive = self._alive()
            if not alive:
                raise DeviceFailed("no device is left")
            worker = self._own.worker = alive[threading.get_ident() % len(alive)]
        return worker.device

    def _or_on_the_cpu(self, on_device: Callable[[], Answer], on_cpu: Callable[[], Answer]) -> Answer:
        """The answer of the calling thread's device, of another one, or of the CPU where devices have failed."""
        while self._alive():
            try:
                return on_device()
            except DeviceFailed as error:
                self._lose(self._own.worker, error)
        return on_cpu()

    def _take_worker(self) -> DeviceWorker | None:
        """The device with the fewest tiles; None if all have failed."""
        with self._choosing:
            alive = self._alive()
            if not alive:
                return None
            worker = min(alive, key=lambda each: each.waiting)
            worker.waiting += 1
            return worker

    def _give_back(self, worker: DeviceWorker) -> None:
        with self._choosing:
            worker.waiting -= 1

    def _lose(self, worker: DeviceWorker, error: DeviceFailed) -> None:
        """Give the device no more tiles. Raises the error if nobody else may go on."""
        if not self._falls_back:
            raise error
        with self._choosing:
            is_first, worker.is_lost = not worker.is_lost, True
            heir = "another device" if self._alive() else "the CPU"
        if is_first:
            name = f"{worker.device.name} (cuda:{worker.device.index})"
            logger.warning("%s failed (%s); %s goes on with what is left, with the same result", name, error, heir)

    def _warn_of_memory(self, text: str) -> None:
        self._warn_once("memory", text)

    def _warn_once(self, kind: str, text: str) -> None:
        with self._choosing:
            is_first = kind not in self._warned
            self._warned.add(kind)
        if is_first:
            logger.warning("%s", text)


def open_backend(
    indices: Sequence[int] | None = None, *, falls_back: bool = False, forest: str = "auto"
) -> CudaBackend:
    """The backend for the devices with these numbers, None: all. Raises DeviceUnavailable with the reason."""
    check_choice(forest)
    from .cupy_device import open_devices

    return CudaBackend(open_devices(indices), falls_back=falls_back, forests=ForestChoice(forest))


def common_kernels() -> list[Compilation]:
    """What most projects need: all features at the scales of ilastik's dialog, forests, inputs and results of every
    type, components and smoothed maps of the types that segmentations and prediction maps mostly have.
    """
    plans = (plan_kernels(load_plan(test.plan)) for test in SELF_TESTS)
    values = [f"VALUE={labels.TYPES[name]}" for name in ("uint8", "uint32")]
    found = [
        *(kernel for plan in plans for kernel in plan),
        *ALL_SOURCES,
        *all_forest_kernels(),
        *ALL_RESULTS,
        *((labels.FILE, (value,)) for value in values),
        *((threshold.FILE, (f"VALUE={threshold.TYPES[name]}",)) for name in ("uint8", "float32")),
        (threshold.FILE, ()),
    ]
    return list(dict.fromkeys(found))


def warm(architectures: Sequence[str] = ()) -> int:
    """Compile and keep the common kernels; how many there are. Raises KernelError.

    architectures  for such devices as sm_90, which need not be here; none: for those that are
    """
    from .cupy_device import Architecture

    compilations = common_kernels()
    if not architectures:
        open_backend().warm()
    targets = [
        Architecture(name) for name in architectures
    ]  # all of them are known before the first one is compiled for
    for target in targets:
        compile_files(target, compilations)
    return len(compilations)


def _grown(tile: Sequence[int], margin: Voxels, image: Voxels) -> Voxels:
    return _voxels([min(n + 2 * m, size) for n, m, size in zip(tile, margin, image, strict=True)])


def _voxels(sizes: Any) -> Voxels:
    z, y, x = (int(n) for n in sizes)
    return z, y, x

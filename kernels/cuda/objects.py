"""Object operations of a backend with devices: labels and the smoothing before a threshold, the others are the CPU's.

What is left to the CPU, and why (CPU ns a voxel are of one busy core, for objects of 49 and of a million voxels):
- Statistics. Sums are added in scan order, in double, for each object; the second pass needs the C library's ``pow``,
  which no device has to the last bit, and takes 79 and 35 ns for the moments of values and positions. The first pass
  takes 18 and 8, so 1.1 and 0.5 with the 16 cores that come with a GPU; labels and image are on the host, and their 8
  bytes a voxel take 0.8 ns to the device at 10 GB/s. Counts, bounds, extremes and histograms alone would be exact on a
  device, but come from the same sweep as the sums; so cuCIM, which adds in another order, is only compared with.
- Faces between slabs, sizes, overlaps, ids: they go through runs, not voxels.
- Writing ids: 4 bytes a voxel from the device, and then copied, are more than the runs they are written from.
- Comparing, counting and dropping labels: one operation a voxel of host memory. The growing of cores is a priority
  queue, which is serial.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import numpy as np

from ..contract import DeviceOutOfMemory, MapPlan, Storage, Voxels
from ..cpu.backend import CpuBackend
from ..cpu.host.labels import SlabRuns
from . import labels, threshold
from .device import Device

logger = logging.getLogger("pixelforest.kernels")


class DeviceObjects(CpuBackend):
    """The CPU's operations, with labels and smoothing on devices. Where a device has no room, it is the CPU's turn.

    device  the device of the calling thread
    """

    name = "cuda"

    def __init__(self, device: Callable[[], Device]) -> None:
        super().__init__()
        self._device = device
        self._lock = threading.Lock()
        self._is_short_of_memory = False

    def describe(self) -> str:
        return self._device().name

    def label_slab(self, values: np.ndarray, storage: Storage) -> SlabRuns:
        if 0 < values.size <= labels.MOST_VOXELS:
            try:
                return labels.label_slab(self._device(), values, storage)
            except DeviceOutOfMemory as error:
                self._warn(error)
        return super().label_slab(values, storage)

    def smooth_maps(
        self, source: np.ndarray, start: Voxels, tile: tuple[Voxels, Voxels], image: Voxels, plan: MapPlan
    ) -> tuple[np.ndarray, ...]:
        if 0 < source.size <= threshold.MOST_VALUES and any(taps is not None for taps in plan.taps):
            try:
                return threshold.smooth_maps(self._device(), source, start, tile, image, plan)
            except DeviceOutOfMemory as error:
                self._warn(error)
        return super().smooth_maps(source, start, tile, image, plan)

    def _warn(self, error: DeviceOutOfMemory) -> None:
        """Say once that the CPU helps out."""
        with self._lock:
            is_first, self._is_short_of_memory = not self._is_short_of_memory, True
        if is_first:
            logger.warning(
                "%s; what does not fit is labelled and smoothed by the CPU, with the same result", str(error)
            )

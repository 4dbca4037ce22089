"""Labels on GPUs: components and the smoothing before a threshold; the CPU does the rest and all object features.

Operations left to the CPU, with reasons:
- Statistics. Sums are added in scan order, in double, for each object. What is exact in any order is a part of the same
  two passes; without it a frame takes at most 15 % less, from a file nothing to 8 % (bench/gpu_pipeline.py). cuCIM,
  which adds in another order, only serves as a comparison.
- Faces between slabs, sizes, overlaps, ids: they process runs, not voxels.
- Writing ids: downloading and copying 4 bytes a voxel is more than the runs from which ids are written.
- Comparing, counting and dropping labels: one operation a voxel of host memory. The growing of cores is a priority
  queue, which is serial.
"""

from __future__ import annotations

import numpy as np

from ..contract import DeviceOutOfMemory, MapPlan, Storage, Voxels
from ..cpu.host.labels import SlabRuns
from ..cpu.label_backend import CpuLabels
from . import labels, threshold
from .device import Device
from .launch import Compilation, prepare
from .pool import DevicePool


class CudaLabels:
    """Components and smoothing on devices. See ``contract.LabelBackend`` for the methods.

    cpu  takes over if a device has no memory or all have failed, and does all operations on runs
    """

    def __init__(self, pool: DevicePool, cpu: CpuLabels) -> None:
        self._pool, self._cpu = pool, cpu
        self.join_slabs, self.unite, self.number_components = cpu.join_slabs, cpu.unite, cpu.number_components
        self.add_sizes, self.drop_ids, self.mark_overlaps = cpu.add_sizes, cpu.drop_ids, cpu.mark_overlaps
        self.write_labels, self.new_value_table = cpu.write_labels, cpu.new_value_table
        self.seed_minima, self.grow_regions = cpu.seed_minima, cpu.grow_regions
        self.add_label_sizes, self.drop_labels = cpu.add_label_sizes, cpu.drop_labels

    def warm(self) -> None:
        """Compile the CPU's kernels and those that most projects need of every device."""
        self._cpu.warm()
        for device in self._pool.devices:
            prepare(device, label_kernels())

    def label_slab(self, values: np.ndarray, storage: Storage) -> SlabRuns:
        def on_cpu() -> SlabRuns:
            return self._cpu.label_slab(values, storage)

        def on_device(device: Device) -> SlabRuns:
            try:
                return labels.label_slab(device, values, storage)
            except DeviceOutOfMemory as error:
                self._warn(error)
            return on_cpu()

        return self._pool.run(on_device, on_cpu) if 0 < values.size <= labels.MAX_VOXELS else on_cpu()

    def smooth_maps(
        self, source: np.ndarray, start: Voxels, tile: tuple[Voxels, Voxels], image: Voxels, plan: MapPlan
    ) -> tuple[np.ndarray, ...]:
        def on_cpu() -> tuple[np.ndarray, ...]:
            return self._cpu.smooth_maps(source, start, tile, image, plan)

        def on_device(device: Device) -> tuple[np.ndarray, ...]:
            try:
                return threshold.smooth_maps(device, source, start, tile, image, plan)
            except DeviceOutOfMemory as error:
                self._warn(error)
            return on_cpu()

        gains = 0 < source.size <= threshold.MAX_VALUES and any(taps is not None for taps in plan.taps)
        return self._pool.run(on_device, on_cpu) if gains else on_cpu()

    def _warn(self, error: DeviceOutOfMemory) -> None:
        text = f"{error}; what does not fit is labelled and smoothed by the CPU, with the same result"
        self._pool.warn_once("labels", text)


def label_kernels() -> list[Compilation]:
    """Kernels for components and smoothed maps of the usual types of segmentations and prediction maps."""
    return [
        *((labels.FILE, (f"VALUE={labels.TYPES[name]}",)) for name in ("uint8", "uint32")),
        *((threshold.FILE, (f"VALUE={threshold.TYPES[name]}",)) for name in ("uint8", "float32")),
        (threshold.FILE, ()),
    ]

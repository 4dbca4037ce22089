"""Smoothing of prediction maps on the device, bit-identical to ``cpu.host.threshold``.

The source is uploaded in its own type, the smoothed maps are downloaded as float32. Later steps run on the host, which
has the labels: comparing a map with a threshold, counting and dropping labels take one operation for each voxel, less
than a transfer. The growing of cores is a priority queue and therefore serial.
"""

from __future__ import annotations

import numpy as np

from ..contract import MapPlan, Voxels
from .device import Device, DeviceArray
from .launch import TYPE_NAMES, KernelFile

MAX_VALUES = (1 << 31) - 1  # of a source: positions are 32-bit numbers
_THREADS = 256

FILE = KernelFile("threshold.cu")
TYPES = TYPE_NAMES
"""Types uploaded without conversion, with their CUDA names; others are uploaded as float32."""


def smooth_maps(
    device: Device, source: np.ndarray, start: Voxels, tile: tuple[Voxels, Voxels], image: Voxels, plan: MapPlan
) -> tuple[np.ndarray, ...]:
    """See ``contract.LabelBackend.smooth_maps``, for sources of up to MAX_VALUES, with taps along at least one axis.

    Raises DeviceOutOfMemory: 8 bytes a voxel are needed in addition to the source.
    """
    if source.dtype.name not in TYPES or not source.dtype.isnative:
        with np.errstate(all="ignore"):
            source = source.astype(np.float32)
    maps = device.upload(np.ascontiguousarray(source))
    found = [smooth_on_device(device, maps, channel, start, tile, image, plan) for channel in plan.channels]
    return tuple(device.download(values) for values in found)


def smooth_on_device(
    device: Device,
    maps: DeviceArray,
    channel: int,
    start: Voxels,
    tile: tuple[Voxels, Voxels],
    image: Voxels,
    plan: MapPlan,
) -> DeviceArray:
    """Smooth one channel of maps on the device, of one of TYPES; other arguments as for ``smooth_maps``."""
    passes = []
    for axis, taps in enumerate(plan.taps):
        is_cut = axis < 2 and (start[axis], maps.shape[axis]) != (tile[0][axis], tile[1][axis] - tile[0][axis])
        if taps is not None or is_cut:
            passes.append((axis, np.ones(1) if taps is None else np.ascontiguousarray(taps, np.float64)))
    values, shape = _pick(device, maps, channel, plan), maps.shape[:3]
    for axis, taps in reversed(passes):  # x first
        is_settled = axis == passes[0][0] and axis != 0  # the CPU's passes continue along z, with the single tap 1
        first, stop = (tile[0][axis], tile[1][axis]) if axis < 2 else (0, image[2])
        place = (start[axis], first, stop, image[axis])
        values, shape = _smooth(device, values, shape, axis, taps, place, is_settled=is_settled)
    return values


def _pick(device: Device, maps: DeviceArray, channel: int, plan: MapPlan) -> DeviceArray:
    """Extract one channel as float32 (z, y, x), its range scaled to 0..1."""
    depth, height, width, channels = maps.shape
    low, high = plan.value_range or (0.0, 1.0)
    with np.errstate(all="ignore"):
        scale = np.int32(plan.value_range is not None), np.float32(low), np.float32(high - low)
    out = device.empty((depth, height, width), np.float32)
    voxels = depth * height * width
    kernel = FILE.kernel(device, "pick_channel", (f"VALUE={TYPES[maps.dtype.name]}",))
    sizes = np.uint32(voxels), np.int32(channels), np.int32(channel)
    kernel((-(-voxels // _THREADS), 1, 1), (_THREADS, 1, 1), (maps, out, *sizes, *scale))
    return out


def _smooth(
    device: Device,
    values: DeviceArray,
    shape: tuple[int, ...],
    axis: int,
    taps: np.ndarray,
    place: tuple[int, int, int, int],
    *,
    is_settled: bool,
) -> tuple[DeviceArray, tuple[int, ...]]:
    """Run a pass along an axis; place: start of the values, first and last + 1 position wanted, length of the image."""
    start, first, stop, n = place
    wanted = (*shape[:axis], stop - first, *shape[axis + 1 :])
    out, voxels = device.empty(wanted, np.float32), int(np.prod(wanted))
    if voxels:
        inner = int(np.prod(shape[axis + 1 :]))
        sizes = (np.uint32(voxels), np.uint32(inner), np.uint32(shape[axis]), np.uint32(stop - first))
        where = (np.int32(start), np.int32(first), np.int32(n), np.int32(is_settled))
        kernel = FILE.kernel(device, "smooth_axis")
        weights = (device.upload(taps), np.int32(len(taps) - 1))
        kernel((-(-voxels // _THREADS), 1, 1), (_THREADS, 1, 1), (values, out, *weights, *sizes, *where))
    return out, wanted

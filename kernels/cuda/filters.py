"""Pre-smoothing on the device, the source's conversion to float32, and the stack's transposition; see filters.cu."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...frozen import frozen
from ..contract import KernelError, Voxels
from .device import Device, DeviceArray, Kernel
from .launch import Compilation, KernelFile

Box = tuple[int, int, int, int, int, int]
"""First and last + 1 voxel along z, y, x, as positions in the image: (z0, y0, x0, z1, y1, x1)."""

FILTERS = KernelFile("filters.cu")
SOURCES = KernelFile("sources.cu")

_THREADS = 256
_COLUMNS = 128  # voxels of a row per block of gaussian_1d_x
_RUN = 8  # voxels along the line per thread of gaussian_1d_line
_FREE_SHARED_BYTES = 48 << 10  # of a block, with little effect on the number of blocks on a multiprocessor
_FLOAT = 4


@frozen
class Volume:
    """One channel on the device: C-contiguous float32, and the box of the image it holds."""

    values: DeviceArray
    box: Box

    @property
    def shape(self) -> Voxels:
        return box_shape(self.box)


def box_shape(box: Box) -> Voxels:
    """Size of a box along z, y, x in voxels."""
    return box[3] - box[0], box[4] - box[1], box[5] - box[2]


def grow_box(box: Box, halo: Sequence[int], image: Voxels) -> Box:
    """Enlarge a box by a halo (z, y, x) on both sides, clipped to the image."""
    low = [max(box[a] - int(halo[a]), 0) for a in range(3)]
    high = [min(box[3 + a] + int(halo[a]), image[a]) for a in range(3)]
    return low[0], low[1], low[2], high[0], high[1], high[2]


def fused_range(n: int, radius: int) -> tuple[int, int]:
    """Range of a line of n voxels in which the x pass rounds once, see kernels/cpu/loops/filters.py."""
    stop = (n - radius) // 32 * 32
    first = (radius + 7) // 8 * 8
    return (first, stop) if stop > (first + 31) // 32 * 32 else (0, 0)


def upload_source(device: Device, source: np.ndarray) -> DeviceArray:
    """Copy a source of any real dtype to the device and convert it to float32 there. Does not wait.

    Raises KernelError for a type that is no number.
    """
    native = source.astype(source.dtype.newbyteorder("="), order="C", copy=False)
    if native.dtype == np.float32:
        return device.upload(native)
    converter = source_kernels(native.dtype)
    if not converter:
        raise KernelError(f"an image of type {source.dtype} cannot be brought to the device; convert it to float32")
    carried: Any = CARRIED.get(native.dtype.name, native.dtype)
    raw = device.upload(native.view(carried))
    out = device.empty(native.shape, np.float32)
    if native.size:
        blocks = min(-(-native.size // _THREADS), 32 * device.multiprocessors)
        ((file, defines),) = converter
        kernel = file.kernel(device, "to_float", defines)
        kernel((blocks, 1, 1), (_THREADS, 1, 1), [raw, out, np.int64(native.size)])
    return out


def source_kernels(dtype: np.dtype[Any]) -> tuple[Compilation, ...]:
    """List the kernels to compile for sources of a dtype."""
    return ((SOURCES, (f"SOURCE={dtype.name}",)),) if dtype.name in _CONVERTED else ()


_CONVERTED = {
    "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float64",
}  # fmt: skip
ALL_SOURCES = tuple(kernel for name in sorted(_CONVERTED) for kernel in source_kernels(np.dtype(name)))
"""Kernels to compile for sources of any dtype."""
CARRIED = {"bool": np.dtype(np.uint8), "float16": np.dtype(np.uint16)}
"""Types that CUDA C lacks, and those that carry their bits."""


def smooth(
    device: Device,
    source: Volume,
    box: Box,
    image: Voxels,
    taps: DeviceArray,
    radius: int,
    *,
    flat: bool,
    out: DeviceArray | None = None,
) -> Volume:
    """Apply a Gaussian over ``box``: along x, y and, unless flat, z. Does not wait.

    taps  (radius + 1,) float32; ``source`` holds the box with radius more voxels on every side inside the image
    out   array for the result, of the box's shape; None: a new array
    """
    above = 0 if flat else radius
    rows = grow_box(box, (above, radius, 0), image)
    columns = grow_box(box, (above, 0, 0), image)
    after_x = filter_along(device, source, rows, image, taps, radius, axis=2)
    after_y = filter_along(device, after_x, columns, image, taps, radius, axis=1, values=out if flat else None)
    return after_y if flat else filter_along(device, after_y, box, image, taps, radius, axis=0, values=out)


def filter_along(
    device: Device,
    source: Volume,
    box: Box,
    image: Voxels,
    taps: DeviceArray,
    radius: int,
    *,
    axis: int,
    values: DeviceArray | None = None,
) -> Volume:
    """Apply one pass over ``box`` along an axis: 0 is z, 1 is y, 2 is x; writes to ``values`` if given."""
    out = Volume(device.empty(box_shape(box), np.float32) if values is None else values, box)
    if min(out.shape) == 0:
        return out
    fits = _launch_x if axis == 2 else _launch_line
    if not fits(device, source, out, image, taps, radius, axis):
        _launch_wide(device, source, out, image, taps, radius, axis)
    return out


def transpose_stack(device: Device, stack: DeviceArray, shape: tuple[int, int, int, int], stride: int) -> DeviceArray:
    """Transpose columns ``stack[column * stride + voxel]`` to (z, y, x, f)."""
    out = device.empty(shape, np.float32)
    voxels, width = shape[0] * shape[1] * shape[2], shape[3]
    if voxels and width:
        grid = (-(-voxels // 32) * -(-width // 32), 1, 1)
        arguments: list[Any] = [stack, out, np.int64(stride), np.int64(voxels), np.int32(width)]
        FILTERS.kernel(device, "transpose_stack")(grid, (32, 8, 1), arguments)
    return out


def _launch_x(
    device: Device, source: Volume, out: Volume, image: Voxels, taps: DeviceArray, radius: int, axis: int
) -> bool:
    """Launch the x pass through shared memory. Returns False if a row does not fit into it."""
    line_bytes = (_COLUMNS + 2 * radius) * _FLOAT
    rows_at_once = min(8, max(1, _FREE_SHARED_BYTES // line_bytes))
    if rows_at_once * line_bytes > device.shared_bytes_per_block:
        return False
    planes, rows, width = out.shape
    first = _place(source, out.box[0], out.box[1], 0)
    fused = fused_range(image[2], radius)
    grid = (-(-width // _COLUMNS) * -(-(rows * planes) // rows_at_once), 1, 1)
    kernel = FILTERS.kernel(device, "gaussian_1d_x")
    _start(
        kernel, grid, (32, rows_at_once, 1), rows_at_once * line_bytes,
        source.values, out.values, np.int64(first), source.shape[2], np.int64(source.shape[1] * source.shape[2]),
        rows, planes, width, out.box[2], image[2], *fused, taps, radius,
    )  # fmt: skip
    return True


def _launch_line(
    device: Device, source: Volume, out: Volume, image: Voxels, taps: DeviceArray, radius: int, axis: int
) -> bool:
    """Launch the y or z pass through shared memory. Returns False if a piece of a line does not fit into it."""
    count = out.shape[axis]
    warps = min(8, -(-count // _RUN))
    bytes_wanted = (warps * _RUN + 2 * radius) * 32 * _FLOAT
    if bytes_wanted > device.shared_bytes_per_block:
        return False
    z, y, x = out.shape
    steps, out_steps = _strides(source.shape), _strides(out.shape)
    other = 1 - axis  # the unfiltered one of y and z
    corner = [out.box[0], out.box[1], out.box[2]]
    start = list(corner)
    start[axis] = 0
    lines = (z, y)[other]
    grid = (-(-x // 32) * -(-count // (warps * _RUN)) * lines, 1, 1)
    kernel = FILTERS.kernel(device, "gaussian_1d_line")
    _start(
        kernel, grid, (32, warps, 1), bytes_wanted,
        source.values, out.values, np.int64(_place(source, start[0], start[1], start[2])), np.int64(steps[axis]),
        np.int64(steps[other]), np.int64(out_steps[axis]), np.int64(out_steps[other]), x, lines, corner[axis], count,
        image[axis], taps, radius,
    )  # fmt: skip
    return True


def _launch_wide(
    device: Device, source: Volume, out: Volume, image: Voxels, taps: DeviceArray, radius: int, axis: int
) -> None:
    """Launch any pass from global memory."""
    z, y, x = out.shape
    steps = _strides(source.shape)
    start = [out.box[0], out.box[1], out.box[2]]
    start[axis] = 0
    across = [0 if a == axis else steps[a] for a in range(3)]
    fused = fused_range(image[2], radius) if axis == 2 else (0, image[axis])
    kernel = FILTERS.kernel(device, "gaussian_1d_wide")
    _start(
        kernel, (-(-(z * y * x) // _THREADS), 1, 1), (_THREADS, 1, 1), 0,
        source.values, out.values, np.int64(_place(source, start[0], start[1], start[2])), np.int64(steps[axis]),
        np.int64(across[2]), np.int64(across[1]), np.int64(across[0]), x, y, z, 2 - axis, out.box[axis],
        image[axis], *fused, taps, radius,
    )  # fmt: skip


def _start(
    kernel: Kernel, grid: tuple[int, int, int], block: tuple[int, int, int], shared_bytes: int, *arguments: Any
) -> None:
    """Launch a kernel; Python integers are passed as C ints."""
    ready: list[Any] = [np.int32(a) if isinstance(a, int) else a for a in arguments]
    kernel(grid, block, ready, shared_bytes=shared_bytes)


def _strides(shape: Voxels) -> Voxels:
    return shape[1] * shape[2], shape[2], 1


def _place(volume: Volume, z: int, y: int, x: int) -> int:
    """Offset in the volume of the image's voxel (z, y, x), which may be outside of it."""
    plane, row, _ = _strides(volume.shape)
    return (z - volume.box[0]) * plane + (y - volume.box[1]) * row + x - volume.box[2]

"""Arrays of other libraries on the device, with any strides: sources, masks and targets of tiles; see strided.cu."""

from __future__ import annotations

from typing import Any

import numpy as np

from .device import Device, DeviceArray, Strided
from .filters import CARRIED
from .launch import KernelFile

STRIDED = KernelFile("strided.cu")
COMMON_STRIDED = tuple((STRIDED, (f"SOURCE={name}",)) for name in ("uint8", "uint16", "float32"))
"""Kernels for the types that most images and all results have."""
_THREADS = 256


def gather_source(device: Device, source: Any) -> DeviceArray:
    """Copy a tile's source (c, z, y, x) to a contiguous float32 array. Does not wait."""
    given = device.strided(source)
    out = device.empty(given.shape, np.float32)
    gather(device, given, out)
    return out


def gather(device: Device, given: Strided, out: DeviceArray) -> None:
    """Copy an array (c, z, y, x) to a contiguous float32 array of the same shape. Does not wait."""
    _, z, y, x = given.shape
    _launch(device, "gather", given, [_memory(given), *_steps(given), np.int32(z), np.int32(y), np.int32(x)], [out])


def gather_mask(device: Device, mask: Any) -> DeviceArray:
    """Return (z, y, x) uint8: 1 where any channel of a mask (z, y, x, c) is above 0. Does not wait."""
    given = device.strided(mask)
    z, y, x, c = given.shape
    out = device.empty((z, y, x), np.uint8)
    arguments = [_memory(given), *_steps(given), np.int32(y), np.int32(x), np.int32(c)]
    _launch(device, "any_above_zero", given, arguments, [out], count=z * y * x)
    return out


def scatter_result(device: Device, values: DeviceArray, target: Any) -> None:
    """Copy values (z, y, x, c) into an array of the same shape and type. Does not wait."""
    into = device.strided(target)
    if (into.shape, into.dtype) != (values.shape, values.dtype):
        raise ValueError(f"{values.shape} {values.dtype} do not fit into {into.shape} {into.dtype}")
    _, y, x, c = into.shape
    arguments = [values, _memory(into), *_steps(into), np.int32(y), np.int32(x), np.int32(c)]
    _launch(device, "scatter", into, arguments, [])


def _launch(
    device: Device, name: str, array: Strided, before: list[Any], after: list[Any], *, count: int | None = None
) -> None:
    """Launch a kernel for ``count`` elements (None: all of the array), a number that is passed in the middle."""
    count = int(np.prod(array.shape)) if count is None else count
    if count:
        blocks = min(-(-count // _THREADS), 32 * device.multiprocessors)
        kernel = STRIDED.kernel(device, name, (f"SOURCE={array.dtype.name}",))
        kernel((blocks, 1, 1), (_THREADS, 1, 1), [*before, np.int64(count), *after])


def _memory(array: Strided) -> DeviceArray:
    carried = CARRIED.get(array.dtype.name)
    memory = array.memory
    return memory if carried is None else memory.view(0, memory.shape, carried)


def _steps(array: Strided) -> list[np.int64]:
    """Position of the first element, and the steps along the axes."""
    return [np.int64(array.first), *map(np.int64, array.steps)]

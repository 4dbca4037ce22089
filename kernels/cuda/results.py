"""Results of a tile on the device, as shared/results.py defines them, before anything is downloaded.

A conversion runs here if its arithmetic is float32 and its result no wider; other conversions run on the host. The
choice affects the size of transfers, never the results.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...frozen import frozen
from ..contract import Conversion, ResultPlan, TileResult, Voxels, Wanted
from ..shared.conversion import float32_steps
from ..shared.results import finish_result
from .device import Device, DeviceArray
from .launch import Compilation, KernelFile

RESULTS = KernelFile("results.cu")
TARGETS = ("float32", "int8", "uint8", "int16", "uint16", "int32", "uint32")  # numbered as in results.cu
ALL_RESULTS = tuple((RESULTS, (f"TARGET={number}",)) for number in range(len(TARGETS)))
"""All variants of the kernels."""
THREADS = 256  # of a block


@frozen
class DeviceResult:
    """One wanted result before it is downloaded.

    values   (z, y, x, c); overflow_count (1,) uint64, None if nothing can overflow
    wanted   the part left to the host; its channels count from the first of ``values``
    """

    values: DeviceArray
    overflow_count: DeviceArray | None
    wanted: Wanted


@frozen
class HostResult:
    """A result after its download."""

    values: np.ndarray
    overflow_count: int
    wanted: Wanted

    def finish(self) -> TileResult:
        """Complete the conversion on the host."""
        finished = finish_result(self.values, self.wanted)
        return TileResult(finished.values, finished.overflow_count + self.overflow_count)


@frozen
class ClassColumns:
    """Column of each of the project's classes in a prediction; -1: the forest does not know the class."""

    columns: tuple[int, ...]
    known: int

    @property
    def is_plain(self) -> bool:
        return self.columns == tuple(range(self.known))


def class_columns(plan: ResultPlan, known: int) -> ClassColumns:
    """Map classes to columns as shared.results.spread_classes does; ``known``: number of classes of the forest."""
    if known == plan.classes:
        return ClassColumns(tuple(range(known)), known)
    columns = np.full(plan.classes, -1)
    columns[[label - 1 for label in plan.known_labels]] = np.arange(known)
    return ClassColumns(tuple(columns.tolist()), known)


def zero_results(plan: ResultPlan, extent: Voxels) -> tuple[TileResult, ...]:
    """Results of a tile that is masked out as a whole; none of them may be features."""
    probabilities = np.zeros((*extent, plan.classes), np.float32)
    made: dict[str, np.ndarray] = {
        "probabilities": probabilities,
        "segmentation": np.ones((*extent, 1), np.uint8),
        "uncertainty": np.full((*extent, 1), plan.classes > 1, np.float32),
    }
    return tuple(finish_result(made[wanted.result], wanted) for wanted in plan.wanted)


def select_features(
    device: Device, values: DeviceArray, shape: tuple[int, int, int, int], column_stride: int, wanted: Wanted
) -> DeviceResult:
    """Select the wanted columns of a stack, whose column c begins at element c * column_stride."""
    return _select(device, values, shape[:3], (1, column_stride), range(*wanted.channels), None, wanted)


def make_result(
    device: Device,
    probabilities: DeviceArray,
    classes: ClassColumns,
    active: DeviceArray | None,
    wanted: Wanted,
) -> DeviceResult:
    """Compute a result from a prediction (z, y, x, k). ``active``: (z, y, x) uint8, None: all."""
    z, y, x, _ = probabilities.shape
    extent = (z, y, x)
    if wanted.result == "probabilities":
        first, stop = wanted.channels
        columns = classes.columns[first:stop]
        is_whole = classes.is_plain and (first, stop) == (0, classes.known)
        if is_whole and active is None and wanted.conversion.is_identity:
            return DeviceResult(probabilities, None, _rest(wanted, 0, stop, wanted.conversion))
        return _select(device, probabilities, extent, (classes.known, 1), columns, active, wanted)
    voxels = z * y * x
    columns_there = device.upload(np.array(classes.columns, np.int32))
    inputs = (
        probabilities,
        np.int64(voxels),
        np.int32(classes.known),
        columns_there,
        np.int32(len(classes.columns)),
        *_mask(active, columns_there),
    )
    if wanted.result == "segmentation":
        out = device.empty((*extent, 1), np.uint8)
        RESULTS.kernel(device, "most_probable", _cast(wanted).defines)(
            count_blocks(voxels), (THREADS, 1, 1), (*inputs, out)
        )
        return DeviceResult(out, None, _rest(wanted, 0, 1, wanted.conversion))
    cast = _cast(wanted)
    out, overflow_count = device.empty((*extent, 1), cast.dtype), device.zeros((1,), np.uint64)
    kernel = RESULTS.kernel(device, "uncertainty", cast.defines)
    kernel(count_blocks(voxels), (THREADS, 1, 1), (*inputs, *cast.arguments, out, overflow_count))
    return DeviceResult(out, overflow_count if cast.can_overflow else None, _rest(wanted, 0, 1, cast.rest))


def download_results(device: Device, results: Sequence[DeviceResult]) -> tuple[HostResult, ...]:
    """Copy all results to the host. Waits for the thread's stream."""
    values = [device.download(result.values) for result in results]
    overflow_count = [0 if r.overflow_count is None else int(device.download(r.overflow_count)[0]) for r in results]
    return tuple(HostResult(v, n, r.wanted) for v, n, r in zip(values, overflow_count, results, strict=True))


def needed_kernels(plan: ResultPlan) -> tuple[Compilation, ...]:
    """List the kernel files, with their defines, for these results."""
    return tuple((RESULTS, each) for each in dict.fromkeys(_cast(wanted).defines for wanted in plan.wanted))


def result_bytes(plan: ResultPlan) -> int:
    """Device memory of the results of a voxel."""
    total = 0
    for wanted in plan.wanted:
        first, stop = wanted.channels
        total += (stop - first) * (1 if wanted.result == "segmentation" else _cast(wanted).dtype.itemsize)
    return total


def _select(
    device: Device,
    values: DeviceArray,
    extent: Voxels,
    strides: tuple[int, int],
    columns: Sequence[int],
    active: DeviceArray | None,
    wanted: Wanted,
) -> DeviceResult:
    cast, voxels, count = _cast(wanted), int(np.prod(extent)), len(columns)
    columns_there = device.upload(np.array(columns, np.int32))
    out, overflow_count = device.empty((*extent, count), cast.dtype), device.zeros((1,), np.uint64)
    kernel = RESULTS.kernel(device, "select_channels", cast.defines)
    kernel(
        count_blocks(voxels),
        (THREADS, 1, 1),
        (
            values,
            np.int64(voxels),
            np.int64(strides[0]),
            np.int64(strides[1]),
            columns_there,
            np.int32(count),
            *_mask(active, columns_there),
            *cast.arguments,
            out,
            overflow_count,
        ),
    )
    return DeviceResult(out, overflow_count if cast.can_overflow else None, _rest(wanted, 0, count, cast.rest))


@frozen
class _Cast:
    """The part of a conversion that the device does, and the rest."""

    target: int
    scaled: bool
    steps: tuple[np.float32, np.float32, np.float32]
    clip: bool
    rest: Conversion

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(TARGETS[self.target])

    @property
    def defines(self) -> tuple[str, ...]:
        return (f"TARGET={self.target}",)

    @property
    def can_overflow(self) -> bool:
        return self.target != 0

    @property
    def arguments(self) -> tuple[np.generic, ...]:
        return (np.int32(self.scaled), *self.steps, np.int32(self.clip))


def _cast(wanted: Wanted) -> _Cast:
    """Plan the conversion of a result's float32 values; NaNs of features keep their bits except in integers."""
    conversion = wanted.conversion
    zero = np.float32(0)
    nothing = _Cast(0, False, (zero, zero, zero), False, conversion)
    target = conversion.target.name
    if conversion.is_identity or target not in TARGETS or (wanted.result == "features" and target == "float32"):
        return nothing
    steps = float32_steps(conversion)
    if steps is None:
        return nothing
    done = Conversion(conversion.target, conversion.target)
    return _Cast(TARGETS.index(target), conversion.input_range is not None, steps, conversion.clip, done)


def _rest(wanted: Wanted, first: int, stop: int, conversion: Conversion) -> Wanted:
    return Wanted(wanted.result, (first, stop), conversion)


def _mask(active: DeviceArray | None, unused: DeviceArray) -> tuple[DeviceArray, np.generic]:
    """Kernel arguments for a mask; without a mask, an array that is not read."""
    if active is None:
        return unused.view(0, (unused.nbytes,), np.uint8), np.int32(0)
    return active, np.int32(1)


def count_blocks(voxels: int) -> tuple[int, int, int]:
    """Size of a grid with one thread per voxel."""
    return max(1, -(-voxels // THREADS)), 1, 1

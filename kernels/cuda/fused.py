"""Features and forest in one kernel, so that features never leave the chip; see fused.cu. Not what runs take by itself.

What it may gain was reckoned, not timed, for an H100 (3 TB/s, 9e11 instructions a second for a warp), all 37 features
and the benchmark's forest of 100 trees; times are of a pixel or voxel, in ns.

- Two kernels, 2-D: features 153 instructions of a warp a pixel, 0.17, and 336 bytes, 0.11; forest 147, 0.16, and 204
  bytes, 0.07. Both wait for instructions rather than for memory, so taking away the stack's 392 bytes (0.13 of memory's
  time) gains nothing where the two overlap well, and a quarter at most where they do not overlap at all. What is left
  to move are the smoothed images and the answer, 14 % of all bytes; and a tile needs a quarter of the device memory.
- One kernel, 2-D: a block of 32 x 8 pixels has 49 KB of features and 22 KB of intermediates: three blocks a
  multiprocessor, 24 warps of 64, where features have 48 and the forest 32. Borders of blocks 8 pixels high instead of
  16 make features a fifth dearer (0.03). Nodes are read through what is left of the nearest cache, not from shared
  memory: about three times the wait a step, for the forest's half of the time. Expected: 0.3 to 0.5 against 0.33, so
  between a tie and a loss of a third.
- 3-D: 61 columns leave room for 32 x 8 x 2 voxels. Two planes take nine steps instead of two: features cost four times
  as much (1.7 against 0.4), for 0.16 that memory would have been busy. A clear loss, unless few features are selected.
- With few columns (a project of 10 features: 40 bytes a voxel) both losses shrink, and so does the gain.

So it stays off until bench/cuda_forest.py has timed it on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..contract import Voxels
from .device import Device, DeviceArray
from .features import POLYNOMIALS, CudaPlan, Filters, channels_of, count_voxels, float_literal
from .filters import Box, grow_box, smooth
from .forest import CudaForest
from .launch import KernelFile

FILE = KernelFile("fused.cu")
_X = 32  # voxels of a block along x
_SIZES = {True: ((1, 8), (1, 4)), False: ((8, 8), (4, 8), (2, 8), (1, 8), (4, 4), (2, 4), (1, 4))}  # planes, rows
_REGISTERS = {True: 80, False: 128}  # of a thread, for which blocks shall find room; flat or not
_ALL_REGISTERS = 1 << 16  # of a multiprocessor
_FLOAT = 4


@dataclass(frozen=True)
class FusedLaunch:
    """How a plan and a forest are computed in one kernel.

    planes, rows   voxels of a block along z and y; 32 along x
    kinds          number of each scale's filters and taps among those the kernel is made for
    shared_bytes   of a block
    """

    planes: int
    rows: int
    kinds: tuple[int, ...]
    shared_bytes: int
    defines: tuple[str, ...]

    @property
    def threads(self) -> int:
        return 32 * min(8, self.rows)


def plan_fused(plan: CudaPlan, forest: CudaForest) -> FusedLaunch | None:
    """How the two are computed in one kernel; None where a block's features do not fit into shared memory."""
    packed, limit = forest.packed, forest.device.shared_bytes_per_block
    if not plan.scales:
        return None
    every = [(scale.filters, tuple(scale.taps)) for scale in plan.scales]
    kinds = list(dict.fromkeys(every))
    is_flat = all(scale.flat for scale in plan.scales)
    fitting = []
    for planes, rows in _SIZES[is_flat]:
        scratch = _scratch_bytes(plan, packed.classes, rows)
        shared = scratch + planes * rows * _X * plan.packed.width * _FLOAT
        if shared <= limit:
            fitting.append((_work(plan, planes, rows), planes, rows, scratch, shared))
    if not fitting:
        return None
    _, planes, rows, scratch, shared = min(fitting)
    threads = 32 * min(8, rows)
    resident = max(1, min(limit // shared, _ALL_REGISTERS // (threads * _REGISTERS[is_flat])))
    defines = (
        f"BLOCK_Z={planes}",
        f"BLOCK_Y={rows}",
        f"KINDS={','.join(f'Scale<{filters.parameters},{rows}>' for filters, _ in kinds)}",
        f"TAPS={','.join(_taps_literal(taps) for _, taps in kinds)}",
        f"SCRATCH={scratch}",
        f"RESIDENT={resident}",
        f"LEAVES={1 if packed.is_pure else 2}",
        *POLYNOMIALS,
    )
    return FusedLaunch(planes, rows, tuple(kinds.index(each) for each in every), shared, defines)


def fused_kernels(launch: FusedLaunch) -> tuple[KernelFile, tuple[str, ...]]:
    """What has to be compiled for it beside the filters."""
    return FILE, launch.defines


def smoothed_bytes(plan: CudaPlan, tile: Voxels) -> int:
    """Device memory for the smoothed images of a tile, which all are there at once."""
    grown = sum(count_voxels(tile, scale.margin) for scale in plan.scales)
    return _FLOAT * plan.packed.channels * grown


def predict_fused(
    source: DeviceArray,
    start: Voxels,
    tile: tuple[Voxels, Voxels],
    image: Voxels,
    plan: CudaPlan,
    forest: CudaForest,
    launch: FusedLaunch,
) -> DeviceArray:
    """Class probabilities (z, y, x, k) float32 of a tile; the other arguments are those of ``feature_stack``.

    Does not wait. Raises DeviceOutOfMemory.
    """
    device, packed = forest.device, forest.packed
    first, stop = tile
    box = (*first, *stop)
    z, y, x = (b - a for a, b in zip(first, stop, strict=True))
    out = device.empty((z, y, x, packed.classes), np.float32)
    if 0 in (z, y, x):
        return out
    smoothed, rows = _smooth_all(device, source, start, box, image, plan, launch)
    blocks = -(-x // _X) * -(-y // launch.rows) * -(-z // launch.planes)
    tables = forest.tables
    integers = (len(rows), plan.packed.width, *first, z, y, x, *image)
    FILE.kernel(device, "predict_fused", launch.defines)(
        (blocks, 1, 1),
        (launch.threads, 1, 1),
        (
            smoothed, device.upload(rows), *_ints(*integers), tables.records, tables.roots, *_ints(packed.offset_bits),
            tables.segments, *_ints(tables.segments.shape[0]), tables.vote_value, *_ints(packed.vote_value.shape[1]),
            tables.probabilities, tables.weights, *_ints(packed.averages), np.float32(packed.divisor),
            *_ints(packed.classes), out,
        ),
        shared_bytes=launch.shared_bytes,
    )  # fmt: skip
    return out


def _smooth_all(
    device: Device,
    source: DeviceArray,
    start: Voxels,
    box: Box,
    image: Voxels,
    plan: CudaPlan,
    launch: FusedLaunch,
) -> tuple[DeviceArray, np.ndarray]:
    """The smoothed images one after the other, and the rows of fused.cu's ``scales`` (n, 13) int64."""
    boxes = [grow_box(box, scale.margin, image) for scale in plan.scales]
    sizes = [int(np.prod([b[3 + axis] - b[axis] for axis in range(3)])) for b in boxes]
    smoothed = device.empty((plan.packed.channels * sum(sizes),), np.float32)
    pre_taps = device.upload(plan.packed.pre_taps)
    row_length, offset, rows = plan.packed.pre_taps.shape[1], 0, []
    for channel, volume in enumerate(channels_of(source, start)):
        for scale, kind, around, size in zip(plan.scales, launch.kinds, boxes, sizes, strict=True):
            taps = pre_taps.view(scale.pre_row * row_length, (scale.pre_radius + 1,))
            shape = (around[3] - around[0], around[4] - around[1], around[5] - around[2])
            place = smoothed.view(offset, shape)
            smooth(device, volume, around, image, taps, scale.pre_radius, flat=scale.flat, out=place)
            rows.append([kind, offset, *around[:3], *shape[1:], *scale.first_columns(channel)])
            offset += size
    return smoothed, np.array(rows, np.int64)


def _scratch_bytes(plan: CudaPlan, classes: int, rows: int) -> int:
    """Shared memory in front of the features: a scale's intermediates, then sums, bounds and common votes of warps."""
    warp_words = classes * 32 + -(-(2 * plan.packed.width + classes) // 32) * 32
    needed = [min(8, rows) * warp_words * _FLOAT, *(_intermediate_bytes(scale.filters, rows) for scale in plan.scales)]
    return -(-max(needed) // 128) * 128


def _intermediate_bytes(filters: Filters, rows: int) -> int:
    """Size of Scale::Shared in features.cuh; what is not needed has one element there."""
    operations, solid = filters.operations, not filters.flat
    around = filters.reach
    image = (_X + 2 * around) * (rows + 2 * around)
    lines = (rows + 2 * filters.radius) * _X
    products = (_X + 2 * filters.radius) * (rows + 2 * filters.radius)
    has_tensor = "structure_tensor" in operations
    passes = (
        bool(operations - {"structure_tensor"}),
        bool(operations & {"gradient_magnitude", "hessian"}),
        bool(operations & {"laplacian", "hessian"}),
        "difference_of_gaussians" in operations,
    )
    count = 6 if solid else 3
    floats = (
        *((2 * image, image) if solid else (image, 1)),
        *(lines if needed else 1 for needed in passes),
        *(2 * [(rows + 2 * around) * (_X + 2 * filters.radius) if has_tensor else 1]),
        6 * products if solid and has_tensor else 1,
        count * products if has_tensor else 1,
        count * lines if has_tensor else 1,
    )
    return _FLOAT * sum(floats)


def _work(plan: CudaPlan, planes: int, rows: int) -> float:
    """What features cost in blocks of this size, as times of what they would in an endless block with eight warps."""
    total = 0.0
    for scale in plan.scales:
        reach = scale.filters.reach
        steps = 1.0 if scale.flat else (planes + 2 * reach + 1) / planes
        total += steps * (rows + 2 * reach) / rows
    return total * 8 / min(8, rows)  # fewer warps hide less of each other's waiting


def _taps_literal(taps: tuple[np.float32, ...]) -> str:
    """A Taps in C."""
    numbers = [float_literal(tap) for tap in taps]
    parts = (numbers[0:3], numbers[3:6], numbers[6:9], numbers[9:11], numbers[11:13], numbers[13:15])
    return "{" + ",".join("{" + ",".join(part) + "}" for part in parts) + "}"


def _ints(*numbers: int) -> tuple[np.int32, ...]:
    return tuple(np.int32(n) for n in numbers)

"""Feature stack of a tile on the device: for every scale and channel a Gaussian, then one or two fused kernels.

The stack holds ``values[column * column_stride + voxel]``, voxels in the tile's (z, y, x) order, so that neighbouring
threads read and write neighbouring floats. See features.cuh for the algorithm of the kernel.

Cost of a voxel with all features at one scale >= 1, a block's borders included, estimated from the machine code for
sm_90: in 2-d 700 instructions, among them about 150 float operations and 90 accesses of shared memory; in 3-d 1700, 700
and 160. Each voxel reads 4 bytes of the smoothed image, in 3-d twice (6.5 and 9.3 through the L2 cache), and writes 4
for each column. The Gaussian before it reads and writes 4 bytes a pass. With all 37 boxes of ilastik's dialog ticked
that is 336 bytes a pixel in 2-d (49 columns) and 464 in 3-d (61).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ...frozen import frozen
from ..contract import OPERATIONS, FeaturePlan, ScalePlan, Voxels, as_voxels
from ..shared import polynomials
from ..shared.plan import PackedPlan, pack_plan
from ..shared.program import GRADIENT_OF_TENSOR, NARROW_GAUSSIAN
from ..shared.taps import FEATURE_WINDOW, gaussian_taps
from .device import Device, DeviceArray
from .filters import FILTERS, Volume, box_shape, grow_box, smooth, transpose_stack
from .launch import Compilation, KernelFile

FEATURES = KernelFile("features.cu")

# In the order of Scale's and of the kernels' parameters.
_COLUMNS = (
    "gaussian", "difference_of_gaussians", "gradient_magnitude", "laplacian", "hessian", "structure_tensor",
)  # fmt: skip
_TENSOR = "structure_tensor"
_EIGENVALUES = ("hessian", _TENSOR)
_THREADS = 256
_BLOCK = {True: (32, 16), False: (32, 8)}  # voxels of a block along x and y; flat or not
# Blocks of features_3d that a multiprocessor must have registers for: with one kernel, with two.
_RESIDENT = {1: 2, 2: 4}
_ALIGNED = 32  # voxels; columns begin on cache lines


@frozen
class CudaStack:
    """Features of a tile: ``values[column * column_stride + voxel]`` float32. shape is (z, y, x, f)."""

    device: Device
    values: DeviceArray
    shape: tuple[int, int, int, int]
    column_stride: int


@frozen
class Filters:
    """Parameters of the template Scale in features.cuh.

    flat  2-d filters, else 3-d ones
    radius, narrow_radius, gradient_radius  in voxels: of the feature sigma, the narrow Gaussian, the gradient
    """

    flat: bool
    radius: int
    narrow_radius: int
    gradient_radius: int
    operations: frozenset[str]

    @property
    def parameters(self) -> str:
        """Template parameters except the last one."""
        flags = (not self.flat, *(operation in self.operations for operation in _COLUMNS))
        solid, *chosen = (str(flag).lower() for flag in flags)
        return ",".join((solid, *map(str, (self.radius, self.narrow_radius, self.gradient_radius)), *chosen))

    @property
    def reach(self) -> int:
        """Number of voxels read on each side of a voxel."""
        return self.radius + self.gradient_radius * (_TENSOR in self.operations)


@frozen
class FusedKernel:
    """One compiled form of features.cu.

    defines   its preprocessor definitions
    reach     number of voxels read on each side of a voxel
    resident  blocks that a multiprocessor must be able to hold at once
    """

    defines: tuple[str, ...]
    reach: int
    resident: int


@frozen
class ScaleLaunch:
    """Launch parameters of one scale.

    pre_radius, pre_row  the pre-smoothing: its radius, and its row in the plan's pre_taps
    halo   voxels of the pre-smoothed image that a voxel's features read, along z, y, x
    taps     scalars for the kernels: orders 0, 1, 2 of the feature sigma, the narrow Gaussian, the gradient's 0 and 1
    filters  of the whole scale
    columns  operation -> first column for channel 0
    kernels  that together write all columns
    """

    filters: Filters
    pre_radius: int
    pre_row: int
    halo: Voxels
    taps: tuple[np.float32, ...]
    columns: Mapping[str, int]
    kernels: tuple[FusedKernel, ...]

    @property
    def flat(self) -> bool:
        return self.filters.flat

    def first_columns(self, channel: int) -> list[int]:
        """First column of each operation for a channel, in the order of the kernels' parameters."""
        count = 2 if self.flat else 3
        return [
            self.columns.get(operation, 0) + channel * (count if operation in _EIGENVALUES else 1)
            for operation in _COLUMNS
        ]


@frozen
class CudaPlan:
    """Feature plan prepared for any device."""

    packed: PackedPlan
    scales: tuple[ScaleLaunch, ...]

    @property
    def source_halo(self) -> Voxels:
        """Number of voxels of the image read on each side of a voxel, along z, y, x."""
        return self.packed.source_halo


def load_plan(plan: FeaturePlan, *, split_solid: bool = True) -> CudaPlan:
    """Choose the kernels of every scale. Raises ValueError for a feature sigma above 1, which no project has.

    split_solid  in 3-d the structure tensor has a kernel of its own: both then need 64 registers instead of 117, so
                 twice as many warps hide latency, at the price of reading the smoothed image once more
    """
    packed = pack_plan(plan)
    scales = (_scale_launch(packed, i, scale, split_solid=split_solid) for i, scale in enumerate(plan.scales))
    return CudaPlan(packed, tuple(scales))


def plan_kernels(plan: CudaPlan) -> list[Compilation]:
    """List the kernels to compile for the features of a plan."""
    variants = dict.fromkeys(kernel.defines for scale in plan.scales for kernel in scale.kernels)
    return [(FILTERS, ()), *((FEATURES, defines) for defines in variants)]


def stack_bytes(plan: CudaPlan, tile: Voxels, source: Voxels) -> int:
    """Device memory of ``feature_stack`` for a tile, including source and result; sizes along z, y, x.

    The pool rounds every array up, by less than 2 MiB.
    """
    float_bytes, passes = 4, 3
    stack = plan.packed.width * _column_stride(count_voxels(tile))
    grown = max((count_voxels(tile, scale.halo) for scale in plan.scales), default=0)
    return float_bytes * (
        stack + plan.packed.channels * count_voxels(source) + (passes - 1) * count_voxels(source) + grown
    )


def feature_stack(
    device: Device, source: DeviceArray, start: Voxels, tile: tuple[Voxels, Voxels], image: Voxels, plan: CudaPlan
) -> CudaStack:
    """Compute the features of a tile. Does not wait.

    source  (c, z, y, x) float32 whose first voxel lies at ``start`` in the image
    tile    first and last + 1 voxel along (z, y, x); image: the size of the whole image
    Raises DeviceOutOfMemory.
    """
    first, stop = tile
    box = (*first, *stop)
    extent = box_shape(box)
    stride = _column_stride(count_voxels(extent))
    values = device.empty((plan.packed.width * stride,), np.float32)
    stack = CudaStack(device, values, (*extent, plan.packed.width), stride)
    if count_voxels(extent) == 0:
        return stack
    pre_taps = device.upload(plan.packed.pre_taps)
    for channel, volume in enumerate(channels_of(source, start)):
        for scale in plan.scales:
            row_length = plan.packed.pre_taps.shape[1]
            taps = pre_taps.view(scale.pre_row * row_length, (scale.pre_radius + 1,))
            pre_box = grow_box(box, scale.halo, image)
            pre = smooth(device, volume, pre_box, image, taps, scale.pre_radius, flat=scale.flat)
            derive_scale(device, pre, stack, first, image, scale, channel)
    return stack


def features(stack: CudaStack) -> DeviceArray:
    """Transpose the stack to (z, y, x, f) float32 on the device. Does not wait."""
    return transpose_stack(stack.device, stack.values, stack.shape, stack.column_stride)


def _polynomial_defines() -> Iterator[str]:
    """Coefficients as hexadecimal floats, which represent a float32 exactly."""
    for name in ("ARCTAN", "COSINE", "SINE"):
        for i, coefficient in enumerate(getattr(polynomials, name)):
            yield f"{name}_{i}={float_literal(coefficient)}"
    for i, part in enumerate(polynomials.QUARTER_PI_PARTS):
        yield f"QUARTER_PI_{i}={float_literal(part)}"
    for name in ("FOUR_OVER_PI", "HALF_PI", "PI", "THIRD", "SQRT_3"):
        yield f"{name}={float_literal(getattr(polynomials, name))}"
    yield f"BELOW_ONE={float_literal(np.nextafter(np.float32(1), np.float32(0)))}"  # so that > means >= 1


def float_literal(number: Any) -> str:
    """Format a float32 as an exact C literal."""
    return f"({float(np.float32(number)).hex()}f)"


POLYNOMIALS = tuple(_polynomial_defines())


def _scale_launch(packed: PackedPlan, index: int, scale: ScalePlan, *, split_solid: bool) -> ScaleLaunch:
    sigma = scale.feature_sigma
    wide = [gaussian_taps(sigma, order, FEATURE_WINDOW) for order in range(3)]
    narrow = gaussian_taps(NARROW_GAUSSIAN * sigma, 0, FEATURE_WINDOW)
    gradient = [gaussian_taps(GRADIENT_OF_TENSOR * sigma, order, FEATURE_WINDOW) for order in range(2)]
    radius, narrow_radius, gradient_radius = len(wide[0]) - 1, len(narrow) - 1, len(gradient[0]) - 1
    assert max(narrow_radius, gradient_radius) <= min(radius, 1)
    padded = [*(np.pad(t, (0, 2 - radius)) for t in wide)]
    padded += [np.pad(t, (0, 2 - len(t))) for t in (narrow, *gradient)]
    assert set(scale.columns) <= set(OPERATIONS)
    split = split_solid and not scale.slicewise
    filters = Filters(scale.slicewise, radius, narrow_radius, gradient_radius, frozenset(scale.columns))
    resident = _RESIDENT[2 if split else 1]
    more = (f"FLAT={int(scale.slicewise)}", f"RESIDENT={resident}", *POLYNOMIALS)
    parts = (replace(filters, operations=group) for group in _groups(filters.operations, split=split))
    return ScaleLaunch(
        filters=filters,
        pre_radius=int(packed.pre_radius[index]),
        pre_row=index,
        halo=as_voxels(packed.halo[index]),
        taps=tuple(np.concatenate(padded).astype(np.float32)),
        columns=scale.columns,
        kernels=tuple(FusedKernel((f"SCALE={part.parameters}", *more), part.reach, resident) for part in parts),
    )


def _groups(operations: frozenset[str], *, split: bool) -> list[frozenset[str]]:
    """Operations of each kernel of a scale."""
    tensor = operations & {_TENSOR}
    return [group for group in ((tensor, operations - tensor) if split else (operations,)) if group]


def derive_scale(
    device: Device, pre: Volume, stack: CudaStack, first: Voxels, image: Voxels, scale: ScaleLaunch, channel: int
) -> None:
    """Write a scale's columns of one channel. Does not wait.

    pre    the smoothed channel over the tile, which begins at ``first`` in the image, and the scale's halo
    """
    depth, height, width, _ = stack.shape
    block_x, block_y = _BLOCK[scale.flat]
    across = -(-width // block_x) * -(-height // block_y)
    for kernel in scale.kernels:
        chunk = 1
        if not scale.flat:
            chunk = chunk_planes(depth, across, kernel.resident * device.multiprocessors, 2 * kernel.reach + 1)
        integers = (*pre.box[:3], *pre.shape[1:], *first, *stack.shape[:3], *image, chunk)
        start = FEATURES.kernel(device, "features_2d" if scale.flat else "features_3d", kernel.defines)
        start(
            (across * -(-depth // chunk), 1, 1),
            (_THREADS, 1, 1),
            [
                pre.values,
                stack.values,
                np.int64(stack.column_stride),
                *(np.int32(i) for i in integers),
                *(np.int64(c) for c in scale.first_columns(channel)),
                *scale.taps,
            ],
        )


def chunk_planes(depth: int, across: int, resident: int, extra: int) -> int:
    """Number of planes per block of features_3d that minimises the steps of all blocks.

    across    number of blocks that cover a plane; resident: blocks the device runs at once
    extra     steps of a block in addition to its planes
    """

    def steps(chunk: int) -> int:
        return -(-(across * -(-depth // chunk)) // resident) * (chunk + extra)

    chunks = sorted({-(-depth // pieces) for pieces in range(1, depth + 1)}, reverse=True)
    return min(chunks, key=steps)


def channels_of(source: DeviceArray, start: Voxels) -> Iterator[Volume]:
    """Channels of a source (c, z, y, x) as views, one after the other."""
    channels, z, y, x = source.shape
    box = (*start, start[0] + z, start[1] + y, start[2] + x)
    for channel in range(channels):
        yield Volume(source.view(channel * z * y * x, (z, y, x)), box)


def _column_stride(voxels: int) -> int:
    return -(-voxels // _ALIGNED) * _ALIGNED


def count_voxels(shape: Voxels, halo: Voxels = (0, 0, 0)) -> int:
    """Number of voxels of a box that is larger than ``shape`` by a halo on every side."""
    return math.prod(n + 2 * m for n, m in zip(shape, halo, strict=True))

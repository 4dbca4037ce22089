"""Smaller copies of an image: their sizes, and their voxels computed piece by piece from the next larger copy.

Intensities are smoothed and then interpolated, with the arithmetic of scikit-image's ``resize`` (order 1, mirrored
borders) and a sigma of a quarter of the factor, as in ilastik. Labels are sampled, never mixed. Results do not depend
on the cutting into pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from ....box import Box
from ....kernels.shared.exponential import exponential

__all__ = ["halved_shapes", "shrink", "shrunk_size"]

SIGMA_OF_FACTOR = 0.25
WINDOW = 4.0  # sigmas
MAX_LEVELS = 42
PIECE_VOXELS = 2**16
_NOISE = 1e-6  # next to a whole number; truncation to integers must ignore it


def shrunk_size(size: int, factor: float) -> int:
    """Length of an axis after downscaling."""
    return max(int(size / factor), 1)


def halved_shapes(shape: Sequence[int], axes: str, limit: Sequence[int]) -> list[tuple[int, ...]]:
    """List the shape, then with z, y and x at a half, a quarter, … until they are all within ``limit``."""
    shapes: list[tuple[int, ...]] = []
    for level in range(MAX_LEVELS):
        shapes.append(tuple(shrunk_size(n, 2**level) if a in "zyx" else n for a, n in zip(axes, shape, strict=True)))
        if all(n <= m for a, n, m in zip(axes, shapes[-1], limit, strict=True) if a in "zyx"):
            break
    return shapes


def shrink(
    read: Callable[[Box], np.ndarray],
    source: Sequence[int],
    target: Sequence[int],
    box: Box,
    dtype: np.dtype,
    *,
    is_labels: bool,
) -> np.ndarray:
    """Compute the voxels of ``box`` in an image of shape ``target``, downscaled from one of shape ``source``.

    read   box of the source -> its voxels
    dtype  of the result; integers are truncated, not rounded
    """
    window = _source_window(source, target, box, is_labels=is_labels)
    voxels = read(window)
    result = np.empty(box.shape, dtype)
    for piece in box.split(_piece_shape(box.shape)):
        part = _source_window(source, target, piece, is_labels=is_labels)
        values = voxels[part.relative_to(window.start).slices()]
        # The axis that shrinks most goes first, since it leaves the least work; the order is the same for every box.
        for axis in sorted(range(box.ndim), key=lambda i: target[i] / source[i]):
            places = np.arange(piece.start[axis], piece.stop[axis])
            if is_labels:
                indices = _nearest(source[axis], target[axis], places) - part.start[axis]
                values = np.take(values, indices, axis=axis)
            elif source[axis] != target[axis]:
                indices, weights = _taps(source[axis], target[axis], places)
                values = _combine(values, axis, indices - part.start[axis], weights)
        result[piece.relative_to(box.start).slices()] = _cast(values, dtype)
    return result


def _piece_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Choose the shape computed at a time: small enough that intermediate values stay in the cache."""
    sides = list(shape)
    while prod(sides) > PIECE_VOXELS:
        longest = max(range(len(sides)), key=sides.__getitem__)
        sides[longest] = (sides[longest] + 1) // 2
    return tuple(sides)


def _source_window(source: Sequence[int], target: Sequence[int], box: Box, *, is_labels: bool) -> Box:
    """Find the part of the source that a box of the target is computed from."""
    start, stop = [], []
    for n, m, a, b in zip(source, target, box.start, box.stop, strict=True):
        ends = np.array([a, b - 1])
        radius = 0 if is_labels or n == m else _radius(n / m)
        if is_labels:
            low, high = _nearest(n, m, ends)
        else:
            low, high = np.floor(_positions(n, m, ends)).astype(np.int64)
        # Mirroring at a border extends no further into the image than the taps extend out of it.
        spill = max(0, radius - int(low), int(high) + radius + 2 - n)
        start.append(max(0, min(int(low) - radius, n - 1 - spill) if radius else int(low)))
        stop.append(min(n, max(int(high) + radius + 2, spill + 1) if radius else int(high) + 1))
    return Box(tuple(start), tuple(stop))


def _radius(factor: float) -> int:
    return int(WINDOW * SIGMA_OF_FACTOR * factor + 0.5)


def _positions(size: int, shrunk: int, places: np.ndarray) -> np.ndarray:
    """Positions of the centres of the shrunk axis' voxels on the original one."""
    positions: np.ndarray = (places + 0.5) * (size / shrunk) - 0.5
    return positions


def _nearest(size: int, shrunk: int, places: np.ndarray) -> np.ndarray:
    """Index of the source voxel of each position."""
    indices = np.floor(_positions(size, shrunk, places) + 0.5).astype(np.int64)
    return np.minimum(indices, size - 1)


def _taps(size: int, shrunk: int, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Source voxels of each position of an axis that shrinks, and their weights, both (positions, taps)."""
    factor = size / shrunk
    sigma, radius = SIGMA_OF_FACTOR * factor, _radius(factor)
    # Not by NumPy, whose exponential has other last bits on processors with AVX-512.
    gaussian = np.array([exponential(-0.5 / sigma**2 * x**2) for x in range(-radius, radius + 1)])
    gaussian /= gaussian.sum()
    positions = _positions(size, shrunk, places)
    left = np.floor(positions).astype(np.int64)
    part = (positions - left)[:, np.newaxis]
    # Interpolating between two smoothed voxels: their windows overlap except for one tap at either end.
    weights = np.zeros((len(places), 2 * radius + 2))
    weights[:, :-1] += (1 - part) * gaussian
    weights[:, 1:] += part * gaussian
    indices = _mirrored(left[:, np.newaxis] + np.arange(-radius, radius + 2), size)
    return indices, weights


def _mirrored(indices: np.ndarray, size: int) -> np.ndarray:
    """Reflect indices outside of an axis into it; the voxel at the border is not repeated."""
    if size == 1:
        return np.zeros_like(indices)
    folded = np.abs(indices) % (2 * (size - 1))
    mirrored: np.ndarray = np.minimum(folded, 2 * (size - 1) - folded)
    return mirrored


def _combine(voxels: np.ndarray, axis: int, indices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute weighted sums along an axis, float64, tap by tap: voxels without a tap (a NaN, say) have no effect."""
    places, taps = indices.shape
    before, after = (slice(None),) * axis, (1,) * (voxels.ndim - axis - 1)
    step = _even_step(indices, voxels.shape[axis])
    if step:  # then slices suffice instead of copies
        voxels = voxels.astype(np.float64, copy=False)
    total: np.ndarray | None = None
    for tap in range(taps):
        weight = weights[:, tap]
        if not weight.any():
            continue
        if step:
            first = int(indices[0, tap])
            part = voxels[(*before, slice(first, first + step * (places - 1) + 1, step))]
        else:
            part = np.take(voxels, indices[:, tap], axis=axis)
        even = bool((weight == weight[0]).all())
        part = np.multiply(part, weight[0] if even else weight.reshape(-1, *after), dtype=np.float64)
        total = part if total is None else np.add(total, part, out=total)
    assert total is not None  # the weights add up to 1
    return total


def _even_step(indices: np.ndarray, size: int) -> int:
    """Step from each position's taps to the next one's, if it is constant; else 0."""
    steps = np.unique(np.diff(indices, axis=0))
    return int(steps[0]) if len(steps) == 1 and steps[0] > 0 and indices.max() < size else 0


def _cast(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if values.dtype == dtype:
        return np.ascontiguousarray(values)
    if dtype.kind in "iu" and values.dtype.kind == "f":
        info = np.iinfo(dtype)
        cut = np.trunc(values + np.copysign(_NOISE, values))
        # Weights only average, so values beyond the type are noise; 64-bit limits are not exact as floats.
        low, high = float(info.min), float(info.max)
        result = np.where(cut >= high, 0, cut).astype(dtype)
        return np.where(cut >= high, dtype.type(info.max), np.where(cut < low, dtype.type(info.min), result))
    return values.astype(dtype)

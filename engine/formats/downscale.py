"""Smaller copies of an image: their sizes, and their voxels computed piece by piece from the next larger copy.

Intensities are smoothed and then interpolated, with the arithmetic of scikit-image's ``resize`` (order 1, mirrored
borders) and a sigma of a quarter of the factor, as ilastik does. Labels are picked, never mixed. A piece never depends
on how the image is cut into pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..box import Box

__all__ = ["halved_shapes", "shrink", "shrunk_size"]

SIGMA_OF_FACTOR = 0.25
WINDOW = 4.0  # sigmas
MAX_LEVELS = 42
_NOISE = 1e-6  # beside a whole number; truncating to integers must not see it


def shrunk_size(size: int, factor: float) -> int:
    """How long an axis is after it was scaled down."""
    return max(int(size / factor), 1)


def halved_shapes(shape: Sequence[int], axes: str, limit: Sequence[int]) -> list[tuple[int, ...]]:
    """The shape, then with z, y and x at a half, a quarter, … until they are all within ``limit``."""
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
    """The voxels of ``box`` in an image of shape ``target``, made from one of shape ``source``.

    read   box of the source -> its voxels
    dtype  of the result; integers are cut off, not rounded
    """
    taps = [
        (_nearest if is_labels else _taps)(n, m, np.arange(a, b))
        for n, m, a, b in zip(source, target, box.start, box.stop, strict=True)
    ]
    window = Box(tuple(int(i.min()) for i, _ in taps), tuple(int(i.max()) + 1 for i, _ in taps))
    voxels = read(window)
    # The axis that shrinks most goes first, since it leaves the others the least to do; the same one for every box.
    for axis in sorted(range(box.ndim), key=lambda i: target[i] / source[i]):
        indices, weights = taps[axis]
        indices = indices - window.start[axis]
        if weights is not None:
            voxels = _combine(voxels, axis, indices, weights)
        elif indices.shape[0] != window.shape[axis] or is_labels:
            voxels = np.take(voxels, indices[:, 0], axis=axis)
    return _cast(voxels, dtype)


def _radius(factor: float) -> int:
    return int(WINDOW * SIGMA_OF_FACTOR * factor + 0.5)


def _positions(size: int, shrunk: int, places: np.ndarray) -> np.ndarray:
    """Where the centres of the shrunk axis' voxels lie on the original one."""
    positions: np.ndarray = (places + 0.5) * (size / shrunk) - 0.5
    return positions


def _nearest(size: int, shrunk: int, places: np.ndarray) -> tuple[np.ndarray, None]:
    """The one voxel each place is made of, (places, 1)."""
    indices = np.floor(_positions(size, shrunk, places) + 0.5).astype(np.int64)
    return np.minimum(indices, size - 1)[:, np.newaxis], None


def _taps(size: int, shrunk: int, places: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The voxels each place is made of, (places, taps), and their weights; None if the axis keeps its length."""
    if size == shrunk:
        return places.astype(np.int64)[:, np.newaxis], None
    factor = size / shrunk
    sigma, radius = SIGMA_OF_FACTOR * factor, _radius(factor)
    gaussian = np.exp(-0.5 / sigma**2 * np.arange(-radius, radius + 1) ** 2)
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
    """Indices outside of an axis reflected into it; the voxel at the border is not repeated."""
    if size == 1:
        return np.zeros_like(indices)
    folded = np.abs(indices) % (2 * (size - 1))
    mirrored: np.ndarray = np.minimum(folded, 2 * (size - 1) - folded)
    return mirrored


def _combine(voxels: np.ndarray, axis: int, indices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted sums along an axis, float64, tap by tap: voxels no tap touches (a NaN, say) have no effect."""
    after = (1,) * (voxels.ndim - axis - 1)
    total: np.ndarray | None = None
    for tap in range(indices.shape[1]):
        weight = weights[:, tap]
        if not weight.any():
            continue
        part = np.take(voxels, indices[:, tap], axis=axis).astype(np.float64, copy=False)
        part *= weight.reshape(-1, *after)
        if total is None:
            total = part
        else:
            total += part
    assert total is not None  # the weights add up to 1
    return total


def _cast(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if values.dtype == dtype:
        return np.ascontiguousarray(values)
    if dtype.kind in "iu" and values.dtype.kind == "f":
        info = np.iinfo(dtype)
        cut = np.trunc(values + np.copysign(_NOISE, values))
        # Weights only ever average, so what lies beyond the type is noise; 64-bit limits are not exact as floats.
        low, high = float(info.min), float(info.max)
        result = np.where(cut >= high, 0, cut).astype(dtype)
        return np.where(cut >= high, dtype.type(info.max), np.where(cut < low, dtype.type(info.min), result))
    return values.astype(dtype)

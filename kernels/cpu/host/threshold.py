"""Smoothing of prediction maps, and the growing of cores by a priority flood, exact to ilastik's last bit.

This filter differs from that of ``filters``: it sums in double, from left to right, and rounds once per pass.
"""

from __future__ import annotations

import numpy as np

from ...contract import MapPlan, Storage, Voxels
from ..loader import kernel

_NO_TAPS = np.ones(1)
_FIRST_HEAP = 1 << 16

_smooth_x, _smooth_y, _smooth_z = kernel("smooth_x"), kernel("smooth_y"), kernel("smooth_z")
_flood, _mark_minima = kernel("flood"), kernel("mark_minima")


def smooth_maps(
    source: np.ndarray, start: Voxels, tile: tuple[Voxels, Voxels], image: Voxels, plan: MapPlan
) -> tuple[np.ndarray, ...]:
    """See ``contract.LabelBackend.smooth_maps``."""
    return tuple(_smooth(_as_map(source, channel, plan), start, tile, image, plan) for channel in plan.channels)


def _as_map(source: np.ndarray, channel: int, plan: MapPlan) -> np.ndarray:
    """Extract one channel in float32, its range scaled to 0..1."""
    with np.errstate(all="ignore"):
        values = np.array(source[..., channel], np.float32, order="C")
        if plan.value_range is not None:
            low, high = plan.value_range
            values -= np.float32(low)
            values /= np.float32(high - low)
    return values


def _smooth(values: np.ndarray, start: Voxels, tile: tuple[Voxels, Voxels], image: Voxels, plan: MapPlan) -> np.ndarray:
    (z0, y0, _), (z1, y1, _) = tile
    if all(taps is None for taps in plan.taps):
        return np.ascontiguousarray(values[z0 - start[0] : z1 - start[0], y0 - start[1] : y1 - start[1]])
    taps_z, taps_y, taps_x = (_NO_TAPS if taps is None else taps for taps in plan.taps)
    depth, width = values.shape[0], values.shape[2]
    total = np.empty(width)
    line = np.empty(width + 2 * (len(taps_x) - 1))
    along_x = np.empty_like(values)
    _smooth_x(values, taps_x, line, total, along_x)
    along_y = np.empty((depth, y1 - y0, width), np.float32)
    _smooth_y(along_x, start[1], y0, image[1], taps_y, total, along_y)
    along_z = np.empty((z1 - z0, y1 - y0, width), np.float32)
    _smooth_z(along_y, start[0], z0, image[0], taps_z, total, along_z)
    return along_z


def grow_regions(cost: np.ndarray, labels: np.ndarray, limit: float, storage: Storage) -> None:
    """See ``contract.LabelBackend.grow_regions``."""
    depth, height, width = cost.shape
    flat_cost, flat_labels = cost.reshape(-1), labels.reshape(-1)
    state = np.zeros(2, np.int64)
    keys, places = storage.array((_FIRST_HEAP,), np.float32), storage.array((_FIRST_HEAP,), np.int64)
    while not _flood(flat_cost, flat_labels, depth, height, width, np.float32(limit), keys, places, state):
        keys, places = _twice_as_long(keys, storage), _twice_as_long(places, storage)
    storage.free(keys)
    storage.free(places)


def seed_minima(cost: np.ndarray, labels: np.ndarray) -> int:
    """See ``contract.LabelBackend.seed_minima``."""
    return int(_mark_minima(cost.reshape(-1), *cost.shape, labels.reshape(-1)))


def _twice_as_long(values: np.ndarray, storage: Storage) -> np.ndarray:
    longer = storage.array((2 * len(values),), values.dtype)
    longer[: len(values)] = values
    storage.free(values)
    return longer

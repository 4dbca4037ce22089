"""Values of an atlas at the centres of objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...box import Box
from ..tiling.layers import Read
from .label import plan_slabs

SLAB_VOXELS = 1 << 22


def map_to_atlas(read: Read, shape: Sequence[int], channels: int, dtype: np.dtype, centres: np.ndarray) -> np.ndarray:
    """Look up the atlas at the objects' centres, (objects, channels).

    read     reads the atlas (z, y, x, channels) of a box
    centres  (objects, 2 or 3) along x, y and maybe z; each is rounded to the nearest voxel, halves to the even one
    """
    places = np.rint(centres).astype(np.intp)
    z = places[:, 2] if places.shape[1] == 3 else np.zeros(len(places), np.intp)
    position = np.stack([z, places[:, 1], places[:, 0]], axis=1)
    found = np.zeros((len(places), channels), dtype)
    order = np.lexsort((position[:, 2], position[:, 1], position[:, 0]))
    flat = (position[:, 0] * shape[1] + position[:, 1])[order]
    for slab in plan_slabs(shape, max(1, SLAB_VOXELS // max(1, channels))):
        first, stop = np.searchsorted(flat, _rows(slab, shape[1]))
        rows = order[first:stop]
        if rows.size:
            inside = position[rows] - slab.start
            found[rows] = read(slab)[inside[:, 0], inside[:, 1], inside[:, 2]]
    return found


def _rows(slab: Box, height: int) -> tuple[int, int]:
    """First and last + 1 row of a slab in a frame of planes of that height; slabs are whole planes or rows of one."""
    return slab.start[0] * height + slab.start[1], (slab.stop[0] - 1) * height + slab.stop[1]

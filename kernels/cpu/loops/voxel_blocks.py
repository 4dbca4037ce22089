"""Blocks of 64 voxels or rows for forests: masks of the valid ones, loading of rows and writing of results."""

from __future__ import annotations

import numpy as np

from ..build.jit import njit
from ..simd.lanes import noinline
from .features import BLOCK

_NONE = np.uint64(0)
_BIT = np.uint64(1)


@njit(nogil=True, cache=True)
def valid_mask(cell_shape, block, bz, by, bx):
    """Mask of the voxels of block (bz, by, bx) inside a cell of this shape."""
    noinline()
    z0, y0, x0 = bz * block[0], by * block[1], bx * block[2]
    if z0 + block[0] <= cell_shape[0] and y0 + block[1] <= cell_shape[1] and x0 + block[2] <= cell_shape[2]:
        return ~_NONE
    mask = _NONE
    position = 0
    for z in range(z0, z0 + block[0]):
        for y in range(y0, y0 + block[1]):
            for x in range(x0, x0 + block[2]):
                if z < cell_shape[0] and y < cell_shape[1] and x < cell_shape[2]:
                    mask |= _BIT << np.uint64(position)
                position += 1
    return mask


@njit(nogil=True, cache=True)
def place_block(values, mask, cell_shape, block, bz, by, bx, out, z0, y0, x0):
    """Write values (64, k) of a block to out (z, y, x, k), 0 outside of the mask; the cell begins at (z0, y0, x0)."""
    noinline()
    position = 0
    for z in range(bz * block[0], (bz + 1) * block[0]):
        for y in range(by * block[1], (by + 1) * block[1]):
            for x in range(bx * block[2], (bx + 1) * block[2]):
                if z < cell_shape[0] and y < cell_shape[1] and x < cell_shape[2]:
                    counts = mask >> np.uint64(position) & _BIT != _NONE
                    for k in range(values.shape[1]):
                        out[z0 + z, y0 + y, x0 + x, k] = values[position, k] if counts else np.float32(0)
                position += 1


@njit(nogil=True, cache=True)
def load_rows(rows, first, count, stack, stride):
    """Load rows first … first + count - 1 of (n, f) as columns stack[f * stride + i], padded with zeros."""
    noinline()
    for column in range(rows.shape[1]):
        for i in range(count):
            stack[column * stride + i] = rows[first + i, column]
        for i in range(count, stride):
            stack[column * stride + i] = np.float32(0)


@njit(nogil=True, cache=True)
def rows_mask(count):
    """Mask of the voxels of a block that hold a row."""
    return ~_NONE if count >= BLOCK else (_BIT << np.uint64(count)) - _BIT


@njit(nogil=True, cache=True)
def place_rows(values, mask, first, count, out):
    """Write values (64, k) of a block to out (n, k) from row ``first`` on, 0 outside of the mask."""
    for i in range(count):
        counts = mask >> np.uint64(i) & _BIT != _NONE
        for k in range(values.shape[1]):
            out[first + i, k] = values[i, k] if counts else np.float32(0)

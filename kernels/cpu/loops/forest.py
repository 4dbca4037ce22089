"""Forest prediction for any leaves: each tree is traversed once for all 64 neighbouring voxels of a block.

At a node one comparison of 64 values gives a mask of the voxels that go left; a subtree is entered only with a
non-empty mask. Neighbours mostly agree, so a tree costs a few visits per block instead of a path per voxel. Forests of
pure leaves have a faster kernel, see pure_forest.py.
"""

from __future__ import annotations

import numpy as np

from ..build.jit import njit
from ..simd.bits import bounds_64, float_of_bits, less_than_64, lowest_bit, nan_mask_64
from ..simd.lanes import clear, noinline
from .features import BLOCK, cell_at, column_stride, derive_cell, grid_of
from .voxel_blocks import load_rows, place_block, place_rows, rows_mask, valid_mask

_NONE = np.uint64(0)
_BIT = np.uint64(1)


@njit(nogil=True, cache=True)
def enter_tree(records, root, bounds, leaf_column, offset_bits):
    """Find the first node that ``bounds`` does not decide; every voxel with columns within them reaches it."""
    node = root
    offset_mask = (_BIT << np.uint64(offset_bits)) - _BIT
    while True:
        record = records[node]
        column = np.int64(record >> np.uint64(32 + offset_bits))
        if column == leaf_column:
            return node
        limit = float_of_bits(record)
        goes_left = bounds[2 * column + 1] < limit
        if not goes_left and bounds[2 * column] < limit:
            return node
        if goes_left:
            node += 1
        elif bounds[2 * column] >= limit:
            node += np.int64(record >> np.uint64(32) & offset_mask)
        else:  # the threshold is NaN
            return node


@njit(nogil=True, cache=True, error_model="numpy")
def predict_mixed(stack, base, stride, mask, entries, nodes, shares_of, memory, values):
    """Predict probabilities of one block into values (64, K), for any leaves.

    Sums run in tree order, in float32 for a class and in double for their total. shares_of is (probabilities, weights,
    forests, averages, divisor), see PackedForest. entries (t,) are the nodes where this block enters each
    tree; nodes is (records, leaf_column, offset_bits).
    """
    noinline()
    records, leaf_column, offset_bits = nodes
    probabilities, weights, forests, averages, divisor = shares_of
    share, total, pending = memory
    classes = values.shape[1]
    shift = np.uint64(32 + offset_bits)
    offset_mask = (_BIT << np.uint64(offset_bits)) - _BIT
    clear(values)
    for f in range(len(forests)):
        clear(share)
        clear(total)
        for tree in range(forests[f, 0], forests[f, 1]):
            pending[0] = np.uint64(entries[tree])
            pending[1] = mask
            depth = 2
            while depth > 0:
                depth -= 2
                node = np.int64(pending[depth])
                here = pending[depth + 1]
                record = records[node]
                column = np.int64(record >> shift)
                while column != leaf_column:
                    smaller = less_than_64(stack, base + column * stride, float_of_bits(record))
                    goes_left, goes_right = here & smaller, here & ~smaller
                    right = node + np.int64(record >> np.uint64(32) & offset_mask)
                    if goes_left == _NONE:
                        node = right
                    elif goes_right == _NONE:
                        node += 1
                    else:
                        pending[depth] = np.uint64(right)
                        pending[depth + 1] = goes_right
                        depth += 2
                        node += 1
                        here = goes_left
                    record = records[node]
                    column = np.int64(record >> shift)
                leaf = record & np.uint64(0xFFFFFFFF)
                while here != _NONE:
                    i = lowest_bit(here)
                    here &= here - _BIT
                    for k in range(classes):
                        share[i, k] += probabilities[leaf, k]
                        total[i] += weights[leaf, k]
        trees = np.float32(forests[f, 1] - forests[f, 0])
        for i in range(BLOCK):
            if (mask >> np.uint64(i)) & _BIT:
                for k in range(classes):
                    value = share[i, k] / np.float32(total[i])
                    values[i, k] += value * trees if averages else value
    for i in range(BLOCK):
        for k in range(classes):
            values[i, k] /= divisor


@njit(nogil=True, cache=True)
def enter_bundle(stack, stride, grid, bundle, bz, by, bx, roots, nodes, bounds, around, entries):
    """Find the bounds of every block of a bundle, and descend into each tree by their common bounds.

    bundle is the maximum number of blocks along z, y, x; the first one is (bz, by, bx). bounds (blocks of a bundle,
    2 * columns) and entries (t,) are filled; around is scratch for 2 * columns.
    """
    noinline()
    records, leaf_column, offset_bits = nodes
    columns = len(around) // 2
    for column in range(columns):
        around[2 * column], around[2 * column + 1] = np.float32(np.inf), np.float32(-np.inf)
    member = 0
    for z in range(bz, min(bz + bundle[0], grid[0])):
        for y in range(by, min(by + bundle[1], grid[1])):
            for x in range(bx, min(bx + bundle[2], grid[2])):
                base = ((z * grid[1] + y) * grid[2] + x) * BLOCK
                here = bounds[member]
                for column in range(columns):
                    bounds_64(stack, base + column * stride, here, 2 * column, 2 * column + 1)
                    around[2 * column] = min(around[2 * column], here[2 * column])
                    around[2 * column + 1] = max(around[2 * column + 1], here[2 * column + 1])
                member += 1
    for tree in range(len(roots)):
        entries[tree] = enter_tree(records, roots[tree], around, leaf_column, offset_bits)


@njit(nogil=True, cache=True)
def mixed_memory(classes, depth):
    """Allocate scratch of predict_mixed: sums of every class and of all, pending subtrees."""
    share, total = np.empty((BLOCK, classes), np.float32), np.empty(BLOCK, np.float64)
    return share, total, np.empty(2 * depth + 2, np.uint64)


@njit(nogil=True, cache=True)
def predict_tile_mixed(
    smoothed, plan, image, first, extent, shapes, stack, scratch, columns, roots, nodes, shares_of, depth, out
):
    """Predict class probabilities of a tile at ``first`` into out (z, y, x, K), cell by cell, for any leaves.

    shapes is (cell, block, bundle): voxels, voxels, blocks along z, y, x.
    """
    cell_shape, block, bundle = shapes
    classes = out.shape[3]
    memory = mixed_memory(classes, depth)
    values = np.empty((BLOCK, classes), np.float32)
    entries = np.empty(len(roots), np.int64)
    around = np.empty(2 * columns, np.float32)
    bounds = np.empty((bundle[0] * bundle[1] * bundle[2], 2 * columns), np.float32)
    for z in range(0, extent[0], cell_shape[0]):
        for y in range(0, extent[1], cell_shape[1]):
            for x in range(0, extent[2], cell_shape[2]):
                cell = cell_at(first, extent, cell_shape, z, y, x)
                derive_cell(smoothed, plan, image, cell, block, stack, scratch)
                shape = (cell[3] - cell[0], cell[4] - cell[1], cell[5] - cell[2])
                stride, grid = column_stride(shape, block), grid_of(shape, block)
                for bundle_z in range(0, grid[0], bundle[0]):
                    for bundle_y in range(0, grid[1], bundle[1]):
                        for bundle_x in range(0, grid[2], bundle[2]):
                            enter_bundle(
                                stack,
                                stride,
                                grid,
                                bundle,
                                bundle_z,
                                bundle_y,
                                bundle_x,
                                roots,
                                nodes,
                                bounds,
                                around,
                                entries,
                            )
                            member = 0
                            for bz in range(bundle_z, min(bundle_z + bundle[0], grid[0])):
                                for by in range(bundle_y, min(bundle_y + bundle[1], grid[1])):
                                    for bx in range(bundle_x, min(bundle_x + bundle[2], grid[2])):
                                        base = ((bz * grid[1] + by) * grid[2] + bx) * BLOCK
                                        mask = valid_mask(shape, block, bz, by, bx) & ~nan_mask_64(
                                            stack, base, stride, columns
                                        )
                                        if mask != _NONE:
                                            predict_mixed(
                                                stack, base, stride, mask, entries, nodes, shares_of, memory, values
                                            )
                                        place_block(values, mask, shape, block, bz, by, bx, out, z, y, x)
                                        member += 1


@njit(nogil=True, cache=True)
def enter_rows(rows, first, count, stack, roots, nodes, bounds, entries):
    """Load a block of rows, find the bounds of its columns and the nodes where it enters the trees."""
    noinline()
    records, leaf_column, offset_bits = nodes
    load_rows(rows, first, count, stack, np.int64(BLOCK))
    for column in range(rows.shape[1]):
        bounds_64(stack, column * BLOCK, bounds, 2 * column, 2 * column + 1)
    for tree in range(len(roots)):
        entries[tree] = enter_tree(records, roots[tree], bounds, leaf_column, offset_bits)


@njit(nogil=True, cache=True)
def predict_rows_mixed(rows, roots, nodes, shares_of, depth, out):
    """Predict class probabilities of rows (n, f) into out (n, K), 64 rows a block, for any leaves."""
    classes = out.shape[1]
    memory = mixed_memory(classes, depth)
    values = np.empty((BLOCK, classes), np.float32)
    stack = np.empty(rows.shape[1] * BLOCK, np.float32)
    bounds = np.empty(2 * rows.shape[1], np.float32)
    entries = np.empty(len(roots), np.int64)
    zero, stride = np.int64(0), np.int64(BLOCK)
    for first in range(0, rows.shape[0], BLOCK):
        count = min(BLOCK, rows.shape[0] - first)
        enter_rows(rows, first, count, stack, roots, nodes, bounds, entries)
        mask = rows_mask(count) & ~nan_mask_64(stack, zero, stride, np.int64(rows.shape[1]))
        predict_mixed(stack, zero, stride, mask, entries, nodes, shares_of, memory, values)
        place_rows(values, mask, first, count, out)

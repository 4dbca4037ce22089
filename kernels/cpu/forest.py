"""Forest prediction for blocks of 64 neighbouring voxels: each tree is walked once for all of them.

At a node one comparison of 64 values gives a mask of the voxels that go left; a subtree is entered only by a mask that
is not empty. Neighbours mostly agree, so a tree costs a few visits a block instead of a path a voxel. With pure leaves
the votes are bit masks too, summed in bit-sliced counters.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .features import BLOCK, cell_at, column_stride, derive_cell, grid_of
from .intrinsics import keep_apart, less_than_64, lowest_bit, not_a_number_64

_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_NONE = np.uint64(0)
_BIT = np.uint64(1)


@njit(nogil=True, cache=True)
def walk_pure(stack, base, stride, root, mask, nodes, leaf_class, votes, pending_node, pending_mask):
    """Add to votes[class] the mask of the voxels for which this tree votes for it.

    The block's column f begins at stack[base + f * stride]; nodes is (feature, threshold, left, right).
    """
    feature, threshold, left, right = nodes
    depth = 0
    node = root
    while True:
        column = feature[node]
        while column >= 0:
            smaller = less_than_64(stack, base + column * stride, threshold[node])
            goes_left, goes_right = mask & smaller, mask & ~smaller
            if goes_left == _NONE:
                node = right[node]
            elif goes_right == _NONE:
                node = left[node]
            else:
                pending_node[depth] = right[node]
                pending_mask[depth] = goes_right
                depth += 1
                node = left[node]
                mask = goes_left
            column = feature[node]
        votes[leaf_class[node]] |= mask
        if depth == 0:
            return
        depth -= 1
        node = pending_node[depth]
        mask = pending_mask[depth]


@njit(nogil=True, cache=True)
def count_votes(
    stack, base, stride, mask, first, stop, nodes, roots, leaf_class, planes, votes, pending_node, pending_mask
):
    """Count the votes of trees [first, stop) into bit planes: bit i of planes[class, p] is bit p of voxel i's count."""
    classes, digits = planes.shape
    planes.fill(_NONE)
    for tree in range(first, stop):
        votes.fill(_NONE)
        walk_pure(stack, base, stride, roots[tree], mask, nodes, leaf_class, votes, pending_node, pending_mask)
        for k in range(classes):
            carry = votes[k]
            for p in range(digits):
                if carry == _NONE:
                    break
                both = planes[k, p] & carry
                planes[k, p] ^= carry
                carry = both


@njit(nogil=True, cache=True)
def nan_mask(stack, base, stride, width):
    """The voxels of a block that have a NaN in any column."""
    keep_apart()
    found = _NONE
    for column in range(width):
        found |= not_a_number_64(stack, base + column * stride)
    return found


@njit(nogil=True, cache=True)
def valid_mask(cell_shape, block, bz, by, bx):
    """The voxels of block (bz, by, bx) that lie inside a cell of this shape."""
    keep_apart()
    mask = _NONE
    position = 0
    for z in range(bz * block[0], (bz + 1) * block[0]):
        for y in range(by * block[1], (by + 1) * block[1]):
            for x in range(bx * block[2], (bx + 1) * block[2]):
                if z < cell_shape[0] and y < cell_shape[1] and x < cell_shape[2]:
                    mask |= _BIT << np.uint64(position)
                position += 1
    return mask


@njit(nogil=True, cache=True)
def place_block(values, cell_shape, block, bz, by, bx, out, z0, y0, x0):
    """The values (64, k) of a block into out (z, y, x, k); the cell begins at (z0, y0, x0)."""
    keep_apart()
    position = 0
    for z in range(bz * block[0], (bz + 1) * block[0]):
        for y in range(by * block[1], (by + 1) * block[1]):
            for x in range(bx * block[2], (bx + 1) * block[2]):
                if z < cell_shape[0] and y < cell_shape[1] and x < cell_shape[2]:
                    for k in range(values.shape[1]):
                        out[z0 + z, y0 + y, x0 + x, k] = values[position, k]
                position += 1


@njit(nogil=True, cache=True, error_model="numpy")
def predict_pure(stack, base, stride, mask, nodes, votes_of, memory, values):
    """Probabilities of one block into values (64, K), for forests of pure leaves.

    votes_of is (roots, leaf_class, groups, vote_value, divisor), see PackedForest.
    """
    keep_apart()
    roots, leaf_class, groups, vote_value, divisor = votes_of
    planes, votes, counts, pending_node, pending_mask = memory
    classes, digits = planes.shape
    for g in range(len(groups)):
        count_votes(
            stack,
            base,
            stride,
            mask,
            groups[g, 0],
            groups[g, 1],
            nodes,
            roots,
            leaf_class,
            planes,
            votes,
            pending_node,
            pending_mask,
        )
        for k in range(classes):
            counts.fill(0)
            for p in range(digits):
                plane = planes[k, p]
                if plane != _NONE:
                    for i in range(BLOCK):
                        counts[i] += np.int32((plane >> np.uint64(i)) & _BIT) << p
            for i in range(BLOCK):
                values[i, k] += vote_value[g, counts[i]]
    for i in range(BLOCK):
        for k in range(classes):
            values[i, k] /= divisor


@njit(nogil=True, cache=True, error_model="numpy")
def predict_mixed(stack, base, stride, valid, nodes, shares_of, memory, values):
    """Probabilities of one block into values (64, K), for any leaves.

    Sums run in tree order, in float32 for a class and in double for their total. shares_of is (roots, probabilities,
    weights, forests, averages, divisor), see PackedForest.
    """
    keep_apart()
    feature, threshold, left, right = nodes
    roots, probabilities, weights, forests, averages, divisor = shares_of
    share, total, pending_node, pending_mask = memory
    classes = values.shape[1]
    for f in range(len(forests)):
        share.fill(0)
        total.fill(0)
        for tree in range(forests[f, 0], forests[f, 1]):
            pending_node[0] = roots[tree]
            pending_mask[0] = valid
            waiting = 1
            while waiting > 0:
                waiting -= 1
                node, mask = pending_node[waiting], pending_mask[waiting]
                while feature[node] >= 0:
                    smaller = less_than_64(stack, base + feature[node] * stride, threshold[node])
                    goes_left, goes_right = mask & smaller, mask & ~smaller
                    if goes_left == _NONE:
                        node = right[node]
                    elif goes_right == _NONE:
                        node = left[node]
                    else:
                        pending_node[waiting] = right[node]
                        pending_mask[waiting] = goes_right
                        waiting += 1
                        node = left[node]
                        mask = goes_left
                while mask != _NONE:
                    i = lowest_bit(mask)
                    mask &= mask - _BIT
                    for k in range(classes):
                        share[i, k] += probabilities[node, k]
                        total[i] += weights[node, k]
        trees = np.float32(forests[f, 1] - forests[f, 0])
        for i in range(BLOCK):
            if (valid >> np.uint64(i)) & _BIT:
                for k in range(classes):
                    value = share[i, k] / np.float32(total[i])
                    values[i, k] += value * trees if averages else value
    for i in range(BLOCK):
        for k in range(classes):
            values[i, k] /= divisor


@njit(nogil=True, cache=True)
def predict_tile_pure(
    smoothed, plan, image, first, extent, cell_shape, block, stack, scratch, width, nodes, votes_of, depth, out
):
    """Class probabilities of a tile at ``first`` into out (z, y, x, K), cell by cell, for forests of pure leaves."""
    classes = out.shape[3]
    digits = 1
    while votes_of[3].shape[1] - 1 >> digits:
        digits += 1
    memory = (
        np.empty((classes, digits), np.uint64),
        np.empty(classes, np.uint64),
        np.empty(BLOCK, np.int32),
        np.empty(depth + 1, np.int32),
        np.empty(depth + 1, np.uint64),
    )
    values = np.empty((BLOCK, classes), np.float32)
    for z in range(0, extent[0], cell_shape[0]):
        for y in range(0, extent[1], cell_shape[1]):
            for x in range(0, extent[2], cell_shape[2]):
                cell = cell_at(first, extent, cell_shape, z, y, x)
                derive_cell(smoothed, plan, image, cell, block, stack, scratch)
                shape = (cell[3] - cell[0], cell[4] - cell[1], cell[5] - cell[2])
                stride = column_stride(shape, block)
                grid = grid_of(shape, block)
                for bz in range(grid[0]):
                    for by in range(grid[1]):
                        for bx in range(grid[2]):
                            base = ((bz * grid[1] + by) * grid[2] + bx) * BLOCK
                            values.fill(0)
                            mask = valid_mask(shape, block, bz, by, bx) & ~nan_mask(stack, base, stride, width)
                            if mask != _NONE:
                                predict_pure(stack, base, stride, mask, nodes, votes_of, memory, values)
                            place_block(values, shape, block, bz, by, bx, out, z, y, x)


@njit(nogil=True, cache=True)
def predict_tile_mixed(
    smoothed, plan, image, first, extent, cell_shape, block, stack, scratch, width, nodes, shares_of, depth, out
):
    """Class probabilities of a tile at ``first`` into out (z, y, x, K), cell by cell, for any leaves."""
    classes = out.shape[3]
    memory = (
        np.empty((BLOCK, classes), np.float32),
        np.empty(BLOCK, np.float64),
        np.empty(depth + 1, np.int32),
        np.empty(depth + 1, np.uint64),
    )
    values = np.empty((BLOCK, classes), np.float32)
    for z in range(0, extent[0], cell_shape[0]):
        for y in range(0, extent[1], cell_shape[1]):
            for x in range(0, extent[2], cell_shape[2]):
                cell = cell_at(first, extent, cell_shape, z, y, x)
                derive_cell(smoothed, plan, image, cell, block, stack, scratch)
                shape = (cell[3] - cell[0], cell[4] - cell[1], cell[5] - cell[2])
                stride = column_stride(shape, block)
                grid = grid_of(shape, block)
                for bz in range(grid[0]):
                    for by in range(grid[1]):
                        for bx in range(grid[2]):
                            base = ((bz * grid[1] + by) * grid[2] + bx) * BLOCK
                            values.fill(0)
                            mask = valid_mask(shape, block, bz, by, bx) & ~nan_mask(stack, base, stride, width)
                            if mask != _NONE:
                                predict_mixed(stack, base, stride, mask, nodes, shares_of, memory, values)
                            place_block(values, shape, block, bz, by, bx, out, z, y, x)


@njit(nogil=True, cache=True)
def load_rows(rows, first, count, stack):
    """The rows first … first + count - 1 of rows (n, f) as one block: stack[f * 64 + i]."""
    keep_apart()
    for column in range(rows.shape[1]):
        for i in range(count):
            stack[column * BLOCK + i] = rows[first + i, column]
        for i in range(count, BLOCK):
            stack[column * BLOCK + i] = np.float32(0)


@njit(nogil=True, cache=True)
def rows_mask(count):
    """The voxels of a block that hold a row."""
    return _ALL if count >= BLOCK else (_BIT << np.uint64(count)) - _BIT


@njit(nogil=True, cache=True)
def predict_rows_pure(rows, nodes, votes_of, depth, out):
    """Class probabilities of rows (n, f) into out (n, K), 64 rows a block, for forests of pure leaves."""
    classes = out.shape[1]
    digits = 1
    while votes_of[3].shape[1] - 1 >> digits:
        digits += 1
    memory = (
        np.empty((classes, digits), np.uint64),
        np.empty(classes, np.uint64),
        np.empty(BLOCK, np.int32),
        np.empty(depth + 1, np.int32),
        np.empty(depth + 1, np.uint64),
    )
    values = np.empty((BLOCK, classes), np.float32)
    stack = np.empty(rows.shape[1] * BLOCK, np.float32)
    for first in range(0, rows.shape[0], BLOCK):
        count = min(BLOCK, rows.shape[0] - first)
        load_rows(rows, first, count, stack)
        values.fill(0)
        predict_pure(stack, np.int64(0), np.int64(BLOCK), rows_mask(count), nodes, votes_of, memory, values)
        for i in range(count):
            for k in range(classes):
                out[first + i, k] = values[i, k]


@njit(nogil=True, cache=True)
def predict_rows_mixed(rows, nodes, shares_of, depth, out):
    """Class probabilities of rows (n, f) into out (n, K), 64 rows a block, for any leaves."""
    classes = out.shape[1]
    memory = (
        np.empty((BLOCK, classes), np.float32),
        np.empty(BLOCK, np.float64),
        np.empty(depth + 1, np.int32),
        np.empty(depth + 1, np.uint64),
    )
    values = np.empty((BLOCK, classes), np.float32)
    stack = np.empty(rows.shape[1] * BLOCK, np.float32)
    for first in range(0, rows.shape[0], BLOCK):
        count = min(BLOCK, rows.shape[0] - first)
        load_rows(rows, first, count, stack)
        values.fill(0)
        predict_mixed(stack, np.int64(0), np.int64(BLOCK), rows_mask(count), nodes, shares_of, memory, values)
        for i in range(count):
            for k in range(classes):
                out[first + i, k] = values[i, k]

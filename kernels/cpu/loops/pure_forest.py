"""Probabilities for forests of pure leaves, for a bundle of up to 32 blocks of 64 neighbouring voxels at once.

The bundle's bounds prune the forest to the nodes that some of its voxels may reach and that the bounds do not decide.
For four blocks at a time, one vector comparison per limit of a column then answers the comparisons that a block's own
bounds leave open, and every tree is resolved from its last node to its root with one bit per voxel: at a node, the
answer selects between the votes of the two children. No branch depends on a node, so there are no mispredictions.
"""

from __future__ import annotations

import numpy as np

from ..build.jit import njit
from ..host.pure_forest_buffers import BLOCKS_PER_VECTOR
from ..simd.bits import (
    add_bits_256,
    bounds_64,
    choose_rows,
    compare_rows,
    counters_64,
    decide_rows,
    fetch_64,
    nan_mask_64,
)
from ..simd.lanes import clear, noinline
from .features import BLOCK, cell_at, column_stride, derive_cell, grid_of
from .voxel_blocks import load_rows, place_block, place_rows, rows_mask, valid_mask

_NONE = np.uint64(0)
_LEFT, _RIGHT = np.uint8(1), np.uint8(2)  # directions that some voxel of a bundle takes
_BIT, _TWO_BITS = np.uint8(1), np.uint8(2)


@njit(nogil=True, cache=True)
def find_bounds(stack, bases, stride, columns, quads, bounds, around, has_nan):
    """Find the bounds of every column in every block at bases (quads, 4), and of all blocks together."""
    noinline()
    clear(has_nan)
    for column in range(columns):
        low, high = np.float32(np.inf), np.float32(-np.inf)
        for q in range(quads):
            here = bounds[q]
            for b in range(BLOCKS_PER_VECTOR):
                fetch_64(stack, bases[q, b] + min(column + 1, columns - 1) * stride)
                at = 8 * column + b
                has_nan[q, b] |= bounds_64(stack, bases[q, b] + column * stride, here, at, at + 4)
                low, high = min(low, here[at]), max(high, here[at + 4])
        around[2 * column], around[2 * column + 1] = low, high


@njit(nogil=True, cache=True)
def find_open(forest, batch, around, classes, reach, alive):
    """Find the part of a batch that a bundle's bounds leave open: in reach, the possible directions at every limit.

    The bits are _LEFT, _RIGHT and _OPEN; the last one if voxels may reach the node and go either way. alive tells for
    each node, encoded like a child, whether some voxel may reach it. No branch depends on data.
    """
    noinline()
    all_limits, all_first, nodes, roots, tree_nodes, batches = forest
    first_tree, stop_tree = batches[batch, 0], batches[batch, 1]
    start = all_first[batch, 0]
    for column in range(all_first.shape[1] - 1):
        low, high = around[2 * column], around[2 * column + 1]
        at, stop = all_first[batch, column], all_first[batch, column + 1]
        limits, states = all_limits[at:stop], reach[at - start : stop - start]
        for i in range(len(limits)):
            states[i] = np.uint8(low < limits[i]) | np.uint8(not high < limits[i]) << _BIT
    reach[all_first[batch, -1] - start] = _RIGHT  # of limits that are NaN
    for tree in range(first_tree, stop_tree):
        alive[roots[tree]] = 1
    # Unsigned indices: numba checks signed ones for being negative at every access.
    base, inner = np.uint64(tree_nodes[first_tree]), np.uint64(classes)
    for i in range(tree_nodes[stop_tree] - tree_nodes[first_tree]):
        node = base + np.uint64(i)
        place, here = nodes[node, 0], alive[np.uint64(i) + inner]
        where = reach[place]
        alive[nodes[node, 1]] = here & where
        alive[nodes[node, 2]] = here & (where >> _BIT)
        reach[place] = where | (here & where & (where >> _BIT)) << _TWO_BITS


@njit(nogil=True, cache=True)
def cut_forest(forest, batch, around, classes, size, cut):
    """Prune the trees of a batch to the nodes that a bundle's bounds leave open. Returns the number of open trees.

    Fills limits and first: the remaining comparisons, column by column; choices: for each open tree's nodes, children
    first, the index in these limits and the children's positions in words, ``size`` words a row; trees: begin and end
    of the choices of an open tree. sure counts the votes of the decided trees.
    """
    noinline()
    reach, alive, places, names, limits, first, choices, trees, sure = cut
    all_limits, all_first, nodes, roots, tree_nodes, batches = forest
    find_open(forest, batch, around, classes, reach, alive)
    first_tree, stop_tree = batches[batch, 0], batches[batch, 1]
    base, columns = np.uint64(tree_nodes[first_tree]), len(first) - 1
    count, start = np.uint32(0), all_first[batch, 0]
    for column in range(columns):
        first[column] = count
        for i in range(all_first[batch, column], all_first[batch, column + 1]):
            at = np.uint64(i - start)
            limits[count], places[at] = all_limits[np.uint64(i)], count
            count += np.uint32(reach[at] >> _TWO_BITS)
    first[columns] = count
    own_names = names[classes:]
    open_trees, stop = 0, np.uint32(0)
    top, step = np.uint32(classes * size), np.uint32(size)
    for tree in range(first_tree, stop_tree):
        begin, name = stop, top
        last = np.uint64(tree_nodes[tree + 1]) - np.uint64(1)
        for i in range(tree_nodes[tree + 1] - tree_nodes[tree]):
            node = last - np.uint64(i)
            place = nodes[node, 0]
            where, left, right = reach[place], names[nodes[node, 1]], names[nodes[node, 2]]
            choices[0, stop], choices[1, stop], choices[2, stop] = places[place], left, right
            is_open = np.uint32(where >> _TWO_BITS)
            own_names[node - base] = name if is_open else (left if where & _LEFT else right)
            stop += is_open
            name += is_open * step
        if stop > begin:
            trees[open_trees, 0], trees[open_trees, 1] = begin, stop
            open_trees += 1
        else:
            sure[names[roots[tree]] // max(size, 1)] += 1
    return open_trees


@njit(nogil=True, cache=True)
def answer_comparisons(stack, bases, stride, limits, first, bounds, ranges, answers):
    """Evaluate all remaining comparisons for four blocks, one row of answers each."""
    noinline()
    for column in range(len(first) - 1):
        at, n = first[column], first[column + 1] - first[column]
        if n > 0:
            decide_rows(limits, at, n, bounds, 8 * column, answers, ranges[0], ranges[1])
            for b in range(BLOCKS_PER_VECTOR):
                compare_rows(
                    stack, bases[b] + column * stride, limits, at + ranges[0, b], at + ranges[1, b], answers, b
                )


@njit(nogil=True, cache=True, error_model="numpy")
def vote_together(stack, bases, stride, columns, forest, votes_of, memory, values):
    """Predict probabilities of a bundle's blocks into values (quads, 4, 64, K); bases (quads, 4): offsets in the stack.

    forest: the arrays of a ColumnForest whose batches do not cross the groups; votes_of is (groups, vote_value,
    divisor), see PackedForest.
    """
    noinline()
    groups, vote_value, divisor = votes_of
    cut, answers, words, digits, length, bounds, around, has_nan, ranges, counters = memory
    limits, first, choices, trees, sure = cut[4:]
    batches = forest[5]
    quads, classes = len(bases), values.shape[3]
    rows = classes - 1
    size = 4 * rows
    find_bounds(stack, bases, stride, columns, quads, bounds, around, has_nan)
    clear(values)
    batch = 0
    for g in range(len(groups)):
        clear(digits)
        clear(sure)
        while batch < len(batches) and batches[batch, 1] <= groups[g, 1]:
            open_trees = cut_forest(forest, batch, around, classes, size, cut)
            for q in range(quads):
                answer_comparisons(stack, bases[q], stride, limits, first, bounds[q], ranges, answers)
                sums = digits[q]
                for tree in range(open_trees):
                    start, stop = trees[tree, 0], trees[tree, 1]
                    choose_rows(answers, words, choices, start, stop, classes * size, rows)
                    root = (classes + stop - start - 1) * size
                    for k in range(rows):
                        add_bits_256(sums, k * length * 4, length, words, root + k * 4)
            batch += 1
        count = groups[g, 1] - groups[g, 0]
        for q in range(quads):
            for b in range(BLOCKS_PER_VECTOR):
                place = values[q, b]
                for i in range(BLOCK):
                    counters[i] = count
                for k in range(rows):
                    counters_64(digits[q], k * length * 4 + b, length, counters, BLOCK)
                    for i in range(BLOCK):
                        votes = counters[BLOCK + i] + sure[k + 1]
                        counters[i] -= votes
                        place[i, k + 1] += vote_value[g, votes]
                for i in range(BLOCK):
                    place[i, 0] += vote_value[g, counters[i]]
    for q in range(quads):
        for b in range(BLOCKS_PER_VECTOR):
            for i in range(BLOCK):
                for k in range(classes):
                    values[q, b, i, k] /= divisor


@njit(nogil=True, cache=True)
def gather_quads(grid, bundle, z0, y0, x0, bases, blocks):
    """List the blocks of the bundle that begins at block (z0, y0, x0) of a cell, four a group. Returns the group count.

    bases (quads, 4) are their offsets in the stack, for a missing block that of the group's first; blocks
    (quads, 4, 3) their positions along z, y, x, z = -1 for a missing one.
    """
    noinline()
    quads = 0
    for z in range(z0, min(z0 + bundle[0], grid[0])):
        for y in range(y0, min(y0 + bundle[1], grid[1]), 2):
            for x in range(x0, min(x0 + bundle[2], grid[2]), 2):
                for b in range(BLOCKS_PER_VECTOR):
                    by, bx = y + b // 2, x + b % 2
                    if by < grid[1] and bx < grid[2]:
                        bases[quads, b] = ((z * grid[1] + by) * grid[2] + bx) * BLOCK
                        blocks[quads, b, 0], blocks[quads, b, 1], blocks[quads, b, 2] = z, by, bx
                    else:
                        bases[quads, b] = bases[quads, 0]
                        blocks[quads, b, 0] = -1
                quads += 1
    return quads


@njit(nogil=True, cache=True)
def predict_tile_pure(
    smoothed, plan, image, first, extent, shapes, stack, scratch, columns, forest, votes_of, memory, bundles, out
):
    """Predict class probabilities of a tile at ``first`` into out (z, y, x, K), cell by cell, for pure leaves.

    shapes is (cell, block, bundle): voxels, voxels, blocks along z, y, x. memory, bundles: see pure_forest_buffers.
    """
    cell_shape, block, bundle = shapes
    has_nan = memory[7]
    values, bases, blocks = bundles
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
                            count = gather_quads(grid, bundle, bundle_z, bundle_y, bundle_x, bases, blocks)
                            vote_together(stack, bases[:count], stride, columns, forest, votes_of, memory, values)
                            for q in range(count):
                                for b in range(BLOCKS_PER_VECTOR):
                                    bz, by, bx = blocks[q, b]
                                    if bz < 0:
                                        continue
                                    mask = valid_mask(shape, block, bz, by, bx)
                                    if has_nan[q, b]:
                                        mask &= ~nan_mask_64(stack, bases[q, b], stride, columns)
                                    place_block(values[q, b], mask, shape, block, bz, by, bx, out, z, y, x)


@njit(nogil=True, cache=True)
def predict_rows_pure(rows, forest, votes_of, memory, bundles, stack, out):
    """Predict class probabilities of rows (n, f) into out (n, K), 256 rows at once, for forests of pure leaves.

    memory and bundles are those of pure_forest_buffers for four blocks; stack holds 256 rows.
    """
    columns = rows.shape[1]
    has_nan = memory[7]
    values, bases, _ = bundles
    stride = np.int64(BLOCKS_PER_VECTOR * BLOCK)
    for b in range(BLOCKS_PER_VECTOR):
        bases[0, b] = b * BLOCK
    for start in range(0, rows.shape[0], stride):
        count = min(stride, rows.shape[0] - start)
        load_rows(rows, start, count, stack, stride)
        vote_together(stack, bases, stride, columns, forest, votes_of, memory, values)
        for b in range(BLOCKS_PER_VECTOR):
            left = count - b * BLOCK
            if left > 0:
                mask = rows_mask(left)
                if has_nan[0, b]:
                    mask &= ~nan_mask_64(stack, b * BLOCK, stride, columns)
                place_rows(values[0, b], mask, start + b * BLOCK, min(BLOCK, left), out)

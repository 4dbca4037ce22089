"""Forests over precomputed features: arranged blocks, the kernels over them, and a count of the work."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from pixelforest.kernels.cpu.host.pure_forest_buffers import BLOCKS_PER_VECTOR, bundle_memory, voting_memory
from pixelforest.kernels.cpu.loops.forest import enter_tree, mixed_memory, predict_mixed
from pixelforest.kernels.cpu.loops.pure_forest import vote_together
from pixelforest.kernels.cpu.simd.bits import bounds_64, float_of_bits, less_than_64
from pixelforest.kernels.shared.forest_by_feature import column_forest
from pixelforest.kernels.shared.nodes import PackedForest

Shape = tuple[int, int, int]
BLOCK = 64
BLOCKS_IN_CELL = 128  # as in the backend: 8192 voxels
QUADS = 8  # of a bundle
BATCH_NODES = 4096  # as the backend's


@dataclass(frozen=True)
class ArrangedStack:
    """Features in the layout of the forest kernels: cell by cell, column by column, block by block, 64 voxels each.

    values (cells, columns * stride) float32; stride: floats between columns; blocks: in a cell, without the spare one
    """

    values: np.ndarray
    stride: int
    blocks: int
    block: Shape

    @property
    def voxels(self) -> int:
        return len(self.values) * self.blocks * BLOCK

    def share(self, part: int, parts: int) -> ArrangedStack:
        """Take every n-th cell, for one of n threads."""
        return ArrangedStack(self.values[part::parts], self.stride, self.blocks, self.block)


def arrange(features: np.ndarray, block: Shape) -> ArrangedStack:
    """Lay out (z, y, x, f) features in blocks of this shape; voxels that fill no block, or no cell, are left out."""
    rows = rows_in_blocks(features, block)
    blocks = min(BLOCKS_IN_CELL, len(rows) // BLOCK)
    cells = len(rows) // BLOCK // blocks
    stack = rows[: cells * blocks * BLOCK].reshape(cells, blocks * BLOCK, -1).transpose(0, 2, 1)
    values = np.zeros((cells, stack.shape[1], (blocks + 1) * BLOCK), np.float32)
    values[:, :, : blocks * BLOCK] = stack
    return ArrangedStack(values.reshape(cells, -1), values.shape[2], blocks, block)


def rows_in_blocks(features: np.ndarray, block: Shape) -> np.ndarray:
    """Reorder features (z, y, x, f) to rows (n, f), block after block."""
    counts = [n // b for n, b in zip(features.shape, block, strict=False)]
    inside = features[tuple(slice(n * b) for n, b in zip(counts, block, strict=True))]
    split = inside.reshape(counts[0], block[0], counts[1], block[1], counts[2], block[2], -1)
    return np.ascontiguousarray(split.transpose(0, 2, 4, 1, 3, 5, 6)).reshape(-1, features.shape[3])


def visits_per_block(stack: ArrangedStack, forest: PackedForest) -> tuple[float, float]:
    """Average the inner nodes a block of 64 voxels passes in all trees, and those where voxels are compared."""
    found = count_visits(stack.values, stack.stride, stack.blocks, forest.roots, *_nodes(forest))
    blocks = stack.voxels / BLOCK
    return float(found[0]) / blocks, float(found[1]) / blocks


def _nodes(forest: PackedForest) -> tuple[np.ndarray, int, int]:
    return forest.records, forest.leaf_column, forest.offset_bits


def predict_stack(stack: ArrangedStack, forest: PackedForest) -> np.ndarray:
    """Predict probabilities (cells, blocks, 64, K) with the kernel for the forest's leaves."""
    out = np.empty((len(stack.values), stack.blocks, BLOCK, forest.classes), np.float32)
    if forest.is_pure:
        votes, columns = (
            (forest.groups, forest.vote_value, forest.divisor),
            column_forest(forest, batch_nodes=BATCH_NODES),
        )
        width, counts = columns.first.shape[1] - 1, forest.vote_value.shape[1]
        memory = voting_memory(
            forest.classes, stack.values.shape[1] // stack.stride, width, counts, columns.max_nodes, QUADS
        )
        bundles = bundle_memory(forest.classes, QUADS)
        vote_pure(stack.values, stack.stride, columns.arrays, votes, memory, bundles, out)
    else:
        predict_stack_mixed(stack, forest, out)
    return out


def predict_stack_mixed(stack: ArrangedStack, forest: PackedForest, out: np.ndarray) -> None:
    """Predict with the kernel for any leaves, into out (cells, blocks, 64, K)."""
    # The records of a pure forest hold a leaf's class, so there is one row per class.
    table = np.eye(forest.classes) if forest.is_pure else forest.weights
    shares = (table.astype(np.float32), table, forest.forests, forest.averages, forest.divisor)
    walk_mixed(stack.values, stack.stride, forest.roots, _nodes(forest), shares, forest.depth, out)


# Not cached: numba would keep them after a change of a kernel that they contain.
@njit(nogil=True)
def enter_block(values, base, stride, roots, nodes, bounds, entries):  # type: ignore[no-untyped-def]
    """Find the bounds of a block's columns, and the nodes where it enters the trees."""
    for column in range(len(bounds) // 2):
        bounds_64(values, base + column * stride, bounds, 2 * column, 2 * column + 1)
    for tree in range(len(roots)):
        entries[tree] = enter_tree(nodes[0], roots[tree], bounds, nodes[1], nodes[2])


@njit(nogil=True)
def count_visits(stack, stride, blocks, roots, records, leaf_column, offset_bits):  # type: ignore[no-untyped-def]
    """Count inner nodes passed, and those that a block's bounds do not decide, over all trees and blocks.

    stack (cells, columns * stride) float32: see ``ArrangedStack``
    """
    passed, compared = 0, 0
    bounds = np.empty(2 * (stack.shape[1] // stride), np.float32)
    pending = [(np.int64(0), np.uint64(0))]
    shift, mask_right = np.uint64(32 + offset_bits), (np.uint64(1) << np.uint64(offset_bits)) - np.uint64(1)
    for cell in range(stack.shape[0]):
        values = stack[cell]
        for base in range(0, blocks * 64, 64):
            for column in range(len(bounds) // 2):
                bounds_64(values, base + column * stride, bounds, 2 * column, 2 * column + 1)
            for root in roots:
                pending.append((root, np.uint64(0xFFFFFFFFFFFFFFFF)))
                while len(pending) > 1:
                    node, mask = pending.pop()
                    record = records[node]
                    column = np.int64(record >> shift)
                    while column != leaf_column:
                        passed += 1
                        limit = float_of_bits(record)
                        compared += bounds[2 * column + 1] >= limit and bounds[2 * column] < limit
                        smaller = less_than_64(values, base + column * stride, limit)
                        right = node + np.int64(record >> np.uint64(32) & mask_right)
                        goes_left, goes_right = mask & smaller, mask & ~smaller
                        if goes_left == 0:
                            node = right
                        elif goes_right == 0:
                            node += 1
                        else:
                            pending.append((right, goes_right))
                            node, mask = node + 1, goes_left
                        record = records[node]
                        column = np.int64(record >> shift)
    return passed, compared


@njit(nogil=True)
def vote_pure(stack, stride, forest, votes_of, memory, bundles, out):  # type: ignore[no-untyped-def]
    """Run the kernel for pure leaves over arranged cells, into out (cells, blocks, 64, K)."""
    columns, blocks = stack.shape[1] // stride, out.shape[1]
    values, bases, _ = bundles
    for cell in range(stack.shape[0]):
        for first in range(0, blocks, QUADS * BLOCKS_PER_VECTOR):
            count = min(QUADS, -(-(blocks - first) // BLOCKS_PER_VECTOR))
            for i in range(count * BLOCKS_PER_VECTOR):
                bases[i // BLOCKS_PER_VECTOR, i % BLOCKS_PER_VECTOR] = min(first + i, blocks - 1) * BLOCK
            vote_together(stack[cell], bases[:count], stride, columns, forest, votes_of, memory, values)
            for i in range(min(count * BLOCKS_PER_VECTOR, blocks - first)):
                out[cell, first + i] = values[i // BLOCKS_PER_VECTOR, i % BLOCKS_PER_VECTOR]


@njit(nogil=True)
def walk_mixed(stack, stride, roots, nodes, shares_of, depth, out):  # type: ignore[no-untyped-def]
    """Run the kernel for any leaves over arranged cells, into out (cells, blocks, 64, K)."""
    memory = mixed_memory(out.shape[3], depth)
    bounds, entries = np.empty(2 * (stack.shape[1] // stride), np.float32), np.empty(len(roots), np.int64)
    for cell in range(stack.shape[0]):
        values = stack[cell]
        for block in range(out.shape[1]):
            enter_block(values, block * 64, stride, roots, nodes, bounds, entries)
            mask = np.uint64(0xFFFFFFFFFFFFFFFF)
            predict_mixed(values, block * 64, stride, mask, entries, nodes, shares_of, memory, out[cell, block])

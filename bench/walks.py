"""Forests over features that are already there: arranged blocks, the kernels over them, and a count of the work."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from pixelforest.kernels.cpu.forest import predict_mixed, predict_pure
from pixelforest.kernels.cpu.intrinsics import less_than_64
from pixelforest.kernels.shared.nodes import PackedForest

Shape = tuple[int, int, int]
BLOCK = 64
BLOCKS_IN_CELL = 128  # as many as the backend puts into a cell: 8192 voxels


@dataclass(frozen=True)
class ArrangedStack:
    """Features as the forest reads them: cell by cell, column by column, block by block, 64 voxels each.

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
        """Every so many cells, for one of several threads."""
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
    """(z, y, x, f) features as rows (n, f), block after block."""
    counts = [n // b for n, b in zip(features.shape, block, strict=False)]
    inside = features[tuple(slice(n * b) for n, b in zip(counts, block, strict=True))]
    split = inside.reshape(counts[0], block[0], counts[1], block[1], counts[2], block[2], -1)
    return np.ascontiguousarray(split.transpose(0, 2, 4, 1, 3, 5, 6)).reshape(-1, features.shape[3])


def visits_per_block(stack: ArrangedStack, forest: PackedForest) -> float:
    """Inner nodes at which 64 voxels are compared, all trees together, averaged over blocks."""
    nodes = (forest.feature, forest.threshold, forest.left, forest.right)
    pending = np.empty(forest.depth + 1, np.int32), np.empty(forest.depth + 1, np.uint64)
    return float(count_visits(stack.values, stack.stride, *nodes, forest.roots, *pending)) / (stack.voxels / BLOCK)


def predict_stack(stack: ArrangedStack, forest: PackedForest) -> np.ndarray:
    """Probabilities (cells, blocks, 64, K) with the kernel that fits the forest's leaves."""
    nodes = (forest.feature, forest.threshold, forest.left, forest.right)
    out = np.empty((len(stack.values), stack.blocks, BLOCK, forest.classes), np.float32)
    pending = np.empty(forest.depth + 1, np.int32), np.empty(forest.depth + 1, np.uint64)
    k = forest.classes
    if forest.is_pure:
        digits = int(forest.vote_value.shape[1] - 1).bit_length()
        memory = (np.empty((k, digits), np.uint64), np.empty(k, np.uint64), np.empty(BLOCK, np.int32), *pending)
        votes = (forest.roots, forest.leaf_class, forest.groups, forest.vote_value, forest.divisor)
        walk_pure(stack.values, stack.stride, nodes, votes, memory, out)
    else:
        predict_stack_mixed(stack, forest, out)
    return out


def predict_stack_mixed(stack: ArrangedStack, forest: PackedForest, out: np.ndarray) -> None:
    """The same with the kernel for any leaves, into out (cells, blocks, 64, K)."""
    nodes = (forest.feature, forest.threshold, forest.left, forest.right)
    pending = np.empty(forest.depth + 1, np.int32), np.empty(forest.depth + 1, np.uint64)
    memory = (np.empty((BLOCK, forest.classes), np.float32), np.empty(BLOCK, np.float64), *pending)
    shares = (forest.roots, forest.probabilities, forest.weights, forest.forests, forest.averages, forest.divisor)
    walk_mixed(stack.values, stack.stride, nodes, shares, memory, out)


@njit(nogil=True, cache=True)
def count_visits(stack, stride, feature, threshold, left, right, roots, pending_node, pending_mask):  # type: ignore[no-untyped-def]
    """Inner nodes that the walk with masks compares at, summed over trees and blocks of 64 voxels.

    stack (cells, columns * stride) float32: see ``ArrangedStack``
    """
    visits = 0
    for cell in range(stack.shape[0]):
        values = stack[cell]
        for base in range(0, stride - 64, 64):
            for root in roots:
                pending_node[0], pending_mask[0] = root, np.uint64(0xFFFFFFFFFFFFFFFF)
                waiting = 1
                while waiting > 0:
                    waiting -= 1
                    node, mask = pending_node[waiting], pending_mask[waiting]
                    while feature[node] >= 0:
                        visits += 1
                        smaller = less_than_64(values, base + feature[node] * stride, threshold[node])
                        goes_left, goes_right = mask & smaller, mask & ~smaller
                        if goes_left == 0:
                            node = right[node]
                        elif goes_right == 0:
                            node = left[node]
                        else:
                            pending_node[waiting], pending_mask[waiting] = right[node], goes_right
                            waiting += 1
                            node, mask = left[node], goes_left
    return visits


# These two are compiled anew every time: numba would keep them after a kernel that they contain has changed.
@njit(nogil=True)
def walk_pure(stack, stride, nodes, votes_of, memory, out):  # type: ignore[no-untyped-def]
    """The kernel for pure leaves over arranged cells, into out (cells, blocks, 64, K)."""
    for cell in range(stack.shape[0]):
        values = stack[cell]
        for block in range(out.shape[1]):
            result = out[cell, block]
            result[:] = 0
            predict_pure(values, block * 64, stride, np.uint64(0xFFFFFFFFFFFFFFFF), nodes, votes_of, memory, result)


@njit(nogil=True)
def walk_mixed(stack, stride, nodes, shares_of, memory, out):  # type: ignore[no-untyped-def]
    """The kernel for any leaves over arranged cells, into out (cells, blocks, 64, K)."""
    for cell in range(stack.shape[0]):
        values = stack[cell]
        for block in range(out.shape[1]):
            result = out[cell, block]
            result[:] = 0
            predict_mixed(values, block * 64, stride, np.uint64(0xFFFFFFFFFFFFFFFF), nodes, shares_of, memory, result)

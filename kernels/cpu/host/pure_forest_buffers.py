"""Buffers of the vote-counting kernels, allocated outside: kernels that allocate no arrays compile much faster."""

from __future__ import annotations

from typing import Any

import numpy as np

BLOCKS_PER_VECTOR = 4  # blocks whose votes are words of one row
BLOCK = 64  # voxels of a block


def voting_memory(
    classes: int, columns: int, forest_columns: int, counts: int, max_nodes: int, quads: int
) -> tuple[Any, ...]:
    """Scratch of vote_together for bundles of ``quads`` times four blocks and votes below ``counts``.

    cut is the forest of a bundle, see cut_forest. answers has a row of four words for each limit, and one of zeros.
    words: rows of the classes, then of a tree's open nodes, each (classes - 1) times four words: a set bit is a voxel's
    vote for class 1, 2, …; class 0 has the remaining votes. digits: counters of these votes, see add_bits_256. bounds:
    for each quad and column four lows and four highs; around: low and high of the bundle.
    No buffer has to be cleared between bundles or tiles.
    """
    digits = max(1, (counts - 1).bit_length())
    rows = classes - 1
    answers, words = np.zeros(4 * (max_nodes + 1), np.uint64), np.zeros((classes + max_nodes) * rows * 4, np.uint64)
    of_classes = words[: classes * rows * 4].reshape(classes, rows, 4)
    for k in range(1, classes):
        of_classes[k, k - 1] = ~np.uint64(0)
    reach, alive = np.empty(max_nodes + 1, np.uint8), np.empty(classes + max_nodes, np.uint8)
    places, names = np.empty(max_nodes + 1, np.uint32), np.empty(classes + max_nodes, np.uint32)
    names[:classes] = np.arange(classes) * rows * 4
    limits, first = np.empty(max_nodes + 1, np.float32), np.empty(forest_columns + 1, np.int64)
    choices, trees = np.empty((3, max_nodes + 1), np.uint32), np.empty((counts, 2), np.int64)
    cut = (reach, alive, places, names, limits, first, choices, trees, np.empty(classes, np.int64))
    bounds, around = np.empty((quads, 8 * columns), np.float32), np.empty(2 * columns, np.float32)
    ranges, counters = np.empty((2, BLOCKS_PER_VECTOR), np.int32), np.empty(2 * BLOCK, np.uint16)
    has_nan, sums = np.empty((quads, BLOCKS_PER_VECTOR), np.bool_), np.empty((quads, rows * digits * 4), np.uint64)
    return cut, answers, words, sums, digits, bounds, around, has_nan, ranges, counters


def bundle_memory(classes: int, quads: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Results and positions of a bundle's blocks: values, bases, blocks, see vote_together and gather_quads."""
    values = np.empty((quads, BLOCKS_PER_VECTOR, BLOCK, classes), np.float32)
    return values, np.empty((quads, BLOCKS_PER_VECTOR), np.int64), np.empty((quads, BLOCKS_PER_VECTOR, 3), np.int64)

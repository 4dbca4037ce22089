"""Forests of pure leaves as two lists: comparisons column by column, and choices tree by tree.

Every inner node is one comparison ``x < limit`` and one choice between the votes of its two children. Neither list
depends on the voxels, so both are processed for many voxels at once without branches.
"""

from __future__ import annotations

import numpy as np

from ...frozen import frozen
from .nodes import PackedForest


@frozen
class ColumnForest:
    """The inner nodes of all trees, in batches of whole trees. Within a batch they are numbered in depth-first order.

    limits (n,) float32: batch after batch, column by column, ascending; NaN is left out, since nothing is less than it
    first (b, columns + 1) int64: start of the limits of each column of a batch, and the end of the last column's
    nodes (m, 3) uint32: index of a node's limit in the batch, one past the last for a NaN; left child, right
        child. A child below K is that class, else K plus a node of the batch
    roots (t,) uint32: root of every tree, encoded like a child
    tree_nodes (t + 1,) int64: start of the nodes of each tree, in all batches
    batches (b, 2) int64: range of trees of each batch, all of one group of votes
    max_nodes: largest number of nodes in a batch
    """

    limits: np.ndarray
    first: np.ndarray
    nodes: np.ndarray
    roots: np.ndarray
    tree_nodes: np.ndarray
    batches: np.ndarray
    max_nodes: int

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """Arguments of the kernels, in this order."""
        return (self.limits, self.first, self.nodes, self.roots, self.tree_nodes, self.batches)


def column_forest(forest: PackedForest, *, batch_nodes: int) -> ColumnForest:
    """Reorder the inner nodes of a forest in batches of about ``batch_nodes`` at most, or of one tree."""
    column, limit, distance = forest.fields()
    is_inner = column != forest.leaf_column
    inner = np.flatnonzero(is_inner)
    before = np.concatenate([[0], np.cumsum(is_inner)])
    tree_nodes = before[np.append(forest.roots, len(column))]
    counts = np.diff(tree_nodes)
    batches = [r for a, b in forest.groups.tolist() for r in _batches(counts, a, b, batch_nodes)]
    first_node = np.concatenate([np.full(stop - start, tree_nodes[start]) for start, stop in batches])
    meaning = forest.records & np.uint64(0xFFFFFFFF)
    of_tree = np.repeat(first_node, np.diff(np.append(forest.roots, len(column))))
    name = np.where(is_inner, forest.classes + before[:-1] - of_tree, meaning.astype(np.int64))
    column, limit = column[inner], limit[inner]
    children = name[inner + 1], name[inner + distance[inner]]
    columns = int(column.max(initial=-1)) + 1
    places = np.empty(len(column), np.int64)
    limits: list[np.ndarray] = []
    first: list[np.ndarray] = []
    for start, stop in batches:
        a, b = tree_nodes[start], tree_nodes[stop]
        order = np.lexsort((limit[a:b], column[a:b]))
        order = order[~np.isnan(limit[a:b][order])]
        before_batch = sum(len(found) for found in limits)
        first.append(before_batch + np.searchsorted(column[a:b][order], np.arange(columns + 1)))
        places[a:b] = len(order)
        places[a + order] = np.arange(len(order))
        limits.append(limit[a:b][order])
    return ColumnForest(
        limits=np.concatenate(limits).astype(np.float32),
        first=np.array(first, np.int64),
        nodes=np.stack([places, *children], axis=1).astype(np.uint32),
        roots=name[forest.roots].astype(np.uint32),
        tree_nodes=tree_nodes.astype(np.int64),
        batches=np.array(batches, np.int64),
        max_nodes=int(max(tree_nodes[stop] - tree_nodes[start] for start, stop in batches)),
    )


def _batches(nodes: np.ndarray, first: int, stop: int, most: int) -> list[tuple[int, int]]:
    """Split the trees [first, stop) into ranges that have at most ``most`` nodes in all, or are one tree."""
    found, begin, held = [], first, 0
    for tree in range(first, stop):
        if held and held + nodes[tree] > most:
            found.append((begin, tree))
            begin, held = tree, 0
        held += int(nodes[tree])
    return [*found, (begin, stop)]

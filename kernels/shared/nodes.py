"""Packed forests for tree traversal: exact float32 thresholds, vote tables, one contiguous array of nodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...frozen import frozen
from ..contract import ForestArrays, TreeArrays


@frozen
class PackedForest:
    """Nodes of all trees one after the other, each tree in depth-first order, the left child after its parent.

    records (n,) uint64: the low half holds a threshold's float32 bits, or a leaf's value: its class if is_pure, else
        its row in probabilities and weights. The high half holds the column, above ``offset_bits``, and below it the
        distance to the right child. A leaf's column is ``leaf_column``.
    roots (t,) int64
    probabilities (rows, K) float32 and weights (rows, K) float64: contribution of a voxel in a leaf to its classes and
        to their sum; both include the leaf's own weight where the forest asks for it
    groups (g, 2) int64: tree ranges counted together; vote_value[g][count] float32: contribution of count pure votes
    divisor float32: the sum over groups is divided by it at the end
    is_pure: every leaf belongs to one class alone, so votes can be counted in integers
    forests (f, 2) int64: tree ranges of the stored forests; averages: see ForestArrays
    """

    records: np.ndarray
    offset_bits: int
    roots: np.ndarray
    probabilities: np.ndarray
    weights: np.ndarray
    forests: np.ndarray
    groups: np.ndarray
    vote_value: np.ndarray
    divisor: np.float32
    is_pure: bool
    averages: bool
    classes: int
    depth: int

    @property
    def leaf_column(self) -> int:
        return (1 << (32 - self.offset_bits)) - 1

    def fields(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Decode all records: column (n,) int64, threshold (n,) float32, distance to the right child (n,) int64."""
        high = self.records >> np.uint64(32)
        distance = high & np.uint64((1 << self.offset_bits) - 1)
        threshold = self.records.astype(np.uint32).view(np.float32)
        return (high >> np.uint64(self.offset_bits)).astype(np.int64), threshold, distance.astype(np.int64)


def exact_float32_threshold(threshold: np.ndarray) -> np.ndarray:
    """Smallest float32 not below each double, so that ``x < t`` holds for the same float32 x. NaN stays NaN."""
    with np.errstate(over="ignore"):
        rounded = threshold.astype(np.float32)
        below = rounded.astype(np.float64) < threshold
        return np.where(below, np.nextafter(rounded, np.float32(np.inf)), rounded).astype(np.float32)


def pack_forest(forests: Sequence[ForestArrays]) -> PackedForest:
    """Pack stored forests, in the order given. All have the same classes (ValueError otherwise)."""
    if not forests or not all(f.trees for f in forests):
        raise ValueError("a classifier needs at least one forest, and a forest at least one tree")
    classes = forests[0].classes
    if any(f.classes != classes for f in forests):
        raise ValueError("the stored forests have different numbers of classes")
    trees = [(_left_first(tree), forest.is_weighted) for forest in forests for tree in forest.trees]
    starts = np.cumsum([0] + [len(t.feature) for t, _ in trees])
    feature = np.concatenate([t.feature for t, _ in trees])
    votes = np.concatenate([t.probabilities * (t.weight[:, None] if weighted else 1.0) for t, weighted in trees])
    votes = votes[feature < 0]
    pure = bool(np.all((votes == 0) | (votes == 1)) and np.all(votes.sum(axis=1) == 1))
    counts = np.cumsum([0] + [len(f.trees) for f in forests])
    ranges = np.stack([counts[:-1], counts[1:]], axis=1)
    averages = all(f.averages for f in forests)
    groups, values = _vote_groups(ranges, averages)
    threshold = exact_float32_threshold(np.concatenate([t.threshold for t, _ in trees]))
    distance = np.concatenate([t.right - np.arange(len(t.right)) for t, _ in trees])
    meaning = votes.argmax(axis=1) if pure else np.arange(len(votes))
    records, offset_bits = _pack_records(feature, threshold, distance, meaning)
    return PackedForest(
        records=records,
        offset_bits=offset_bits,
        roots=starts[:-1].astype(np.int64),
        probabilities=votes.astype(np.float32),
        weights=votes,
        forests=ranges.astype(np.int64),
        groups=groups,
        vote_value=values,
        divisor=np.float32(counts[-1]) if averages else np.float32(1),
        is_pure=pure,
        averages=averages,
        classes=classes,
        depth=_depth(starts[:-1], feature, distance),
    )


def _pack_records(
    feature: np.ndarray, threshold: np.ndarray, distance: np.ndarray, meaning: np.ndarray
) -> tuple[np.ndarray, int]:
    """Build the records of all nodes. Returns them with the bits of the distance. meaning: of the leaves, in order."""
    is_leaf = feature < 0
    offset_bits = max(1, int(distance[~is_leaf].max(initial=1)).bit_length())
    if int(feature.max(initial=0)) >= (1 << max(0, 32 - offset_bits)) - 1:
        raise ValueError(
            f"a tree with {int(distance.max())} nodes in one branch over {int(feature.max()) + 1} feature columns is "
            "larger than the packed layout holds"
        )
    low = np.ascontiguousarray(threshold).view(np.uint32).astype(np.uint64)
    low[is_leaf] = meaning
    column = np.where(is_leaf, (1 << (32 - offset_bits)) - 1, feature).astype(np.uint64)
    right = np.where(is_leaf, 0, distance).astype(np.uint64)
    return low | right << np.uint64(32) | column << np.uint64(32 + offset_bits), offset_bits


def _left_first(tree: TreeArrays) -> TreeArrays:
    """Reorder the nodes of a tree depth-first, every left child directly after its parent."""
    inner = np.flatnonzero(tree.feature >= 0)
    if np.array_equal(tree.left[inner], inner + 1):
        return tree
    order, waiting = [], [0]
    while waiting:
        node = waiting.pop()
        order.append(node)
        if tree.feature[node] >= 0:
            waiting += [int(tree.right[node]), int(tree.left[node])]
    place = np.full(len(tree.feature), -1, np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    left, right = (np.where(child >= 0, place[child], -1)[order] for child in (tree.left, tree.right))
    parts = (tree.probabilities[order], tree.weight[order])
    return TreeArrays(tree.feature[order], tree.threshold[order], left, right, *parts)


def forest_value(votes: np.ndarray, trees: int, averages: bool) -> np.ndarray:
    """Contribution of 0..trees pure votes of one stored forest to the sum over forests, rounded as ilastik does."""
    share = votes.astype(np.float32) / np.float32(trees)
    return share * np.float32(trees) if averages else share


def _vote_groups(ranges: np.ndarray, averages: bool) -> tuple[np.ndarray, np.ndarray]:
    """Group stored forests whose votes may be counted together, with the value of each count.

    ilastik adds the forests one after the other in float32. As long as every forest's value equals its count, the sum
    so far is an exact integer, so the leading forests of that kind form one group. From the first inexact one on, the
    last bit depends on the order of the additions, and every forest is a group of its own.
    """
    groups: list[tuple[int, int]] = []
    leading = True
    for first, stop in ranges:
        votes = np.arange(stop - first + 1)
        exact = averages and bool(np.all(forest_value(votes, stop - first, averages) == votes))
        if leading and exact and groups:
            groups[-1] = (groups[-1][0], int(stop))
        else:
            groups.append((int(first), int(stop)))
            leading = leading and exact
    longest = max(stop - first for first, stop in groups)
    values = np.zeros((len(groups), longest + 1), np.float32)
    whole = {tuple(r) for r in ranges.tolist()}
    for row, (first, stop) in zip(values, groups, strict=True):
        votes = np.arange(stop - first + 1)
        row[: len(votes)] = forest_value(votes, stop - first, averages) if (first, stop) in whole else votes
    return np.array(groups, np.int64), values


def _depth(roots: np.ndarray, feature: np.ndarray, distance: np.ndarray) -> int:
    """Longest path from a root to a leaf in nodes, over all trees; left children directly follow their parents.

    distance  from a node to its right child
    """
    level, depth = roots, 0
    while len(level):
        depth += 1
        inner = level[feature[level] >= 0]
        level = np.concatenate([inner + 1, inner + distance[inner]])
    return depth

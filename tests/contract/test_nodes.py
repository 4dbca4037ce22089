"""Packed forest: thresholds as float32, and the stored forests whose votes may be counted together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pixelforest.kernels.contract import ForestArrays, TreeArrays
from pixelforest.kernels.shared.nodes import exact_float32_threshold, forest_value, pack_forest
from pixelforest.testing.kernel_inputs import leaf_tree, random_forest, random_tree

FLOAT32 = st.floats(width=32, allow_nan=True)


@settings(max_examples=200, deadline=None)
@given(threshold=st.floats(), value=FLOAT32, near=st.integers(-2, 2))
@example(threshold=1e39, value=np.inf, near=0)
@example(threshold=-1e39, value=-np.inf, near=0)
@example(threshold=-1e39, value=float(-np.finfo(np.float32).max), near=0)
@example(threshold=5e-324, value=0.0, near=0)
@example(threshold=-5e-324, value=-0.0, near=0)
@example(threshold=np.nan, value=1.0, near=0)
def test_threshold_decides_as_in_double(threshold: float, value: float, near: int) -> None:
    packed = exact_float32_threshold(np.array([threshold]))[0]
    assert packed.dtype == np.float32
    with np.errstate(over="ignore"):
        beside = np.float32(threshold)
        for _ in range(abs(near)):
            beside = np.nextafter(beside, np.float32(np.copysign(np.inf, near)))
    for x in (np.float32(value), beside):
        assert bool(x < packed) == (float(x) < threshold)


def forest_of(trees: int, *, averages: bool = True) -> ForestArrays:
    return ForestArrays((leaf_tree([1, 0]),) * trees, 2, False, averages)


INEXACT = 41  # n / 41 * 41 is not n in float32 for some n


def test_the_inexact_number_is_inexact() -> None:
    votes = np.arange(INEXACT + 1)
    assert (forest_value(votes, INEXACT, averages=True) != votes).any()
    votes = np.arange(11)
    assert (forest_value(votes, 10, averages=True) == votes).all()


@pytest.mark.parametrize(
    ("counts", "groups"),
    [
        ((10,) * 10, [(0, 100)]),
        ((INEXACT,), [(0, INEXACT)]),
        ((10, 10, INEXACT, 10, 10), [(0, 20), (20, 61), (61, 71), (71, 81)]),
        ((INEXACT, 10, 10), [(0, 41), (41, 51), (51, 61)]),
    ],
    ids=str,
)
def test_vote_groups(counts: tuple[int, ...], groups: list[tuple[int, int]]) -> None:
    packed = pack_forest([forest_of(t) for t in counts])
    assert [tuple(g) for g in packed.groups.tolist()] == groups
    assert packed.divisor == sum(counts)
    starts = np.cumsum((0, *counts))
    assert packed.forests.tolist() == np.stack([starts[:-1], starts[1:]], axis=1).tolist()


def test_without_averaging_the_share_is_the_value() -> None:
    packed = pack_forest([forest_of(3, averages=False)])
    np.testing.assert_array_equal(packed.vote_value[0], np.arange(4, dtype=np.float32) / np.float32(3))
    assert packed.divisor == 1


def shuffled(tree: TreeArrays, rng: np.random.Generator) -> TreeArrays:
    """Reorder the nodes of a tree after the root."""
    order = np.concatenate([[0], 1 + rng.permutation(len(tree.feature) - 1)])
    place = np.argsort(order)
    left, right = (np.where(c >= 0, place[c], -1)[order].astype(np.int32) for c in (tree.left, tree.right))
    parts = (tree.probabilities[order], tree.weight[order])
    return TreeArrays(tree.feature[order], tree.threshold[order], left, right, *parts)


@pytest.mark.parametrize("in_order", [True, False])
def test_records_hold_the_trees(in_order: bool) -> None:
    """Traversed together, a tree and its records agree at every node."""
    rng = np.random.default_rng(0)
    trees = tuple(random_tree(rng, 3, 2, depth=6, pure=True) for _ in range(4))
    trees = trees if in_order else tuple(shuffled(t, rng) for t in trees)
    packed = pack_forest([ForestArrays(trees[:3], 2, False), ForestArrays(trees[3:], 2, False)])
    assert packed.leaf_column == (1 << (32 - packed.offset_bits)) - 1
    for root, tree in zip(packed.roots.tolist(), trees, strict=True):
        pairs = [(root, 0)]
        while pairs:
            at, node = pairs.pop()
            record = int(packed.records[at])
            column, low = record >> (32 + packed.offset_bits), record & 0xFFFFFFFF
            if tree.feature[node] < 0:
                assert column == packed.leaf_column
                assert low == tree.probabilities[node].argmax()
                continue
            assert column == tree.feature[node]
            assert np.uint32(low).view(np.float32) == exact_float32_threshold(tree.threshold[node : node + 1])[0]
            distance = record >> 32 & ((1 << packed.offset_bits) - 1)
            pairs += [(at + 1, int(tree.left[node])), (at + distance, int(tree.right[node]))]


def test_a_forest_beyond_the_layout_is_refused() -> None:
    leaf, many = leaf_tree([0, 1]), 1 << 17
    inner = np.arange(many)  # a chain down the left side, so that the first right child is far away
    feature = np.concatenate([np.full(many, 1 << 16), np.full(many + 1, -1)]).astype(np.int32)
    left = np.concatenate([inner + 1, np.full(many + 1, -1)]).astype(np.int32)
    right = np.concatenate([2 * many - inner, np.full(many + 1, -1)]).astype(np.int32)
    n = len(feature)
    tree = TreeArrays(feature, np.zeros(n), left, right, np.repeat(leaf.probabilities, n, axis=0), np.ones(n))
    with pytest.raises(ValueError, match="larger than the packed layout holds"):
        pack_forest([ForestArrays((tree,), 2, False)])


@pytest.mark.parametrize(
    ("tree", "is_weighted", "expected"),
    [
        (leaf_tree([0, 1]), False, True),
        (leaf_tree([0, 1], weight=3.0), False, True),
        (leaf_tree([0, 1], weight=3.0), True, False),
        (leaf_tree([0, 1], weight=1.0), True, True),
        (leaf_tree([0.5, 0.5]), False, False),
        (leaf_tree([1, 1]), False, False),
        (leaf_tree([0, 0]), False, False),
        (leaf_tree([0, 2]), False, False),
    ],
    ids=["pure", "weight-unused", "weighted", "weight-one", "impure", "both", "neither", "twice"],
)
def test_a_forest_is_pure_if_its_leaves_are(tree: object, is_weighted: bool, expected: bool) -> None:
    assert pack_forest([ForestArrays((tree,), 2, is_weighted)]).is_pure is expected  # type: ignore[arg-type]


def test_depth_counts_nodes_of_the_longest_path() -> None:
    assert pack_forest([forest_of(2)]).depth == 1
    rng = np.random.default_rng(1)

    def depth_below(tree: TreeArrays, node: int) -> int:
        if tree.feature[node] < 0:
            return 1
        return 1 + max(depth_below(tree, int(tree.left[node])), depth_below(tree, int(tree.right[node])))

    for trees in (1, 5):
        forests = [random_forest(rng, trees=trees, columns=2, classes=2, pure=True, depth=d) for d in (3, 6, 2)]
        expected = max(depth_below(tree, 0) for forest in forests for tree in forest.trees)
        assert pack_forest(forests).depth == expected > 1

"""vigra's tree arrays, checked and turned into plain node tables.

vigra stores a tree as a list of integers (the topology: node records with addresses of other records) and a list of
numbers (thresholds and leaf contents). The addresses are not trusted: each is checked before it is followed, and all
trees are traversed together level by level, without recursion.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ...frozen import frozen

# Node types; interior nodes of other types (hyperplanes, spheres) exist in vigra, but ilastik never makes them.
THRESHOLD_NODE = 0
LEAF_NODE = 0x40000000
# A node record: type, address of its parameters, and for interior nodes two children and a column.
INTERIOR_INTS, LEAF_INTS = 5, 2
ROOT = 2
# Far deeper than any tree trained on pixels; a longer chain can only be malicious.
MAX_LEVELS = 10_000
# vigra divides the counts of a leaf's classes by their sum.
MAX_SUM_ERROR = 1e-6


@frozen(eq=False)
class StoredTree:
    """A tree with n nodes and K classes; node 0 is the root, nodes in depth-first order, left child first.

    feature        (n,) int32, column compared; -1 at leaves
    threshold      (n,) float64; a value below it goes left, any other right; 0 at leaves
    left, right    (n,) int32, child nodes; -1 at leaves
    probabilities  (n, K) float64, class fractions of leaves; zeros elsewhere
    weight         (n,) float64, training samples in a leaf; 0 elsewhere
    All arrays are read-only.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    probabilities: np.ndarray
    weight: np.ndarray

    @property
    def node_count(self) -> int:
        return len(self.feature)

    @property
    def leaf_count(self) -> int:
        return int((self.feature < 0).sum())


class TreeError(Exception):
    """An invalid tree. ``tree``: its index."""

    def __init__(self, tree: int, what: str) -> None:
        super().__init__(what)
        self.tree = tree


@frozen
class _Nodes:
    """All nodes of all trees in breadth-first order: the roots, then level by level, siblings next to each other.

    Hence the i-th interior node's children are nodes T + 2i and T + 2i + 1, where T is the number of trees.
    """

    tree: np.ndarray
    parameters: np.ndarray
    column: np.ndarray
    is_leaf: np.ndarray
    level_starts: list[int]


def unpack_trees(
    topologies: Sequence[np.ndarray], parameters: Sequence[np.ndarray], *, class_count: int, column_count: int
) -> tuple[StoredTree, ...]:
    """Convert trees given as vigra's (topology, parameters) pairs to node tables. Raises TreeError."""
    for tree, topology in enumerate(topologies):
        header = topology[:ROOT].tolist()
        if len(topology) < ROOT + LEAF_INTS:
            raise TreeError(tree, f"its topology has only {len(topology)} numbers")
        if header != [column_count, class_count]:
            raise TreeError(tree, f"declares {header} columns and classes instead of {[column_count, class_count]}")
    pool = np.concatenate([np.asarray(p, np.float64) for p in parameters])
    nodes = _walk(topologies, [len(p) for p in parameters], class_count=class_count, column_count=column_count)
    return _lay_out(nodes, pool, len(topologies), class_count)


def _walk(
    topologies: Sequence[np.ndarray], parameter_counts: Sequence[int], *, class_count: int, column_count: int
) -> _Nodes:
    """Follow every address once, checking it first."""
    ints = np.concatenate([np.asarray(t, np.int64) for t in topologies])
    starts, lengths = _starts_and_lengths([len(t) for t in topologies])
    parameter_starts, parameter_lengths = _starts_and_lengths(parameter_counts)
    reached_as = np.full(len(ints), -1, np.int64)

    tree = np.arange(len(topologies))
    at = starts + ROOT
    reached_as[at] = tree
    trees, addresses, columns, leaves = [], [], [], []
    level_starts, count = [0], 0
    while len(at):
        if len(level_starts) > MAX_LEVELS:
            raise TreeError(int(tree[0]), f"it is deeper than {MAX_LEVELS} levels")
        room = starts[tree] + lengths[tree] - at
        _require(room >= LEAF_INTS, tree, "a node lies outside its topology")
        kind, address = ints[at], ints[at + 1]
        is_leaf = kind == LEAF_NODE
        _require(is_leaf | (kind == THRESHOLD_NODE), tree, "a node is of a type ilastik does not make", kind)
        _require(is_leaf | (room >= INTERIOR_INTS), tree, "a node lies outside its topology")
        needed = np.where(is_leaf, class_count + 1, 2)
        _require(
            (address >= 0) & (address <= parameter_lengths[tree] - needed),
            tree,
            "a node's numbers lie outside its parameters, at",
            address,
        )
        inner, inner_tree = at[~is_leaf], tree[~is_leaf]
        column = ints[inner + 4]
        _require(
            (column >= 0) & (column < column_count), inner_tree, f"of {column_count} columns a node asks for", column
        )
        trees.append(tree)
        addresses.append(address + parameter_starts[tree])
        columns.append(column)
        leaves.append(is_leaf)
        count += len(at)
        level_starts.append(count)

        tree = np.repeat(inner_tree, 2)
        child = ints[inner[:, None] + (2, 3)].reshape(-1)
        _require((child >= ROOT) & (child < lengths[tree]), tree, "a child lies outside its topology, at", child)
        at = child + starts[tree]
        _require(reached_as[at] < 0, tree, "a node is reached twice (a circle, or a shared branch), at", child)
        numbers = np.arange(count, count + len(at))
        reached_as[at] = numbers
        _require(reached_as[at] == numbers, tree, "a node is the child of two nodes, at", child)
    nodes = _Nodes(
        np.concatenate(trees), np.concatenate(addresses), np.concatenate(columns), np.concatenate(leaves), level_starts
    )
    _require_own_parameters(nodes, parameter_lengths, class_count)
    return nodes


def _require_own_parameters(nodes: _Nodes, parameter_lengths: np.ndarray, class_count: int) -> None:
    """Check that every node has its own numbers, so that a small file cannot cause a large table."""
    needed = np.where(nodes.is_leaf, class_count + 1, 2)
    total = np.bincount(nodes.tree, weights=needed, minlength=len(parameter_lengths))
    _require(total <= parameter_lengths, np.arange(len(parameter_lengths)), "nodes share their parameters")


def _lay_out(nodes: _Nodes, pool: np.ndarray, tree_count: int, class_count: int) -> tuple[StoredTree, ...]:
    """Reorder the nodes of each tree depth-first."""
    count = len(nodes.tree)
    inner = np.flatnonzero(~nodes.is_leaf)
    leaf = np.flatnonzero(nodes.is_leaf)
    left = tree_count + 2 * np.arange(len(inner))
    right = left + 1
    # Number of interior nodes before each level: the start of a level in ``inner``.
    cuts = np.searchsorted(inner, nodes.level_starts).tolist()
    levels = [slice(a, b) for a, b in pairwise(cuts) if a < b]

    size = np.ones(count, np.int64)
    for level in reversed(levels):
        size[inner[level]] += size[left[level]] + size[right[level]]
    starts, sizes = _starts_and_lengths(size[:tree_count].tolist())
    place = np.empty(count, np.int64)
    place[:tree_count] = starts
    for level in levels:
        above = place[inner[level]]
        place[left[level]] = above + 1
        place[right[level]] = above + 1 + size[left[level]]

    at_inner, at_leaf = place[inner], place[leaf]
    first = starts[nodes.tree[inner]]
    table = StoredTree(
        feature=np.full(count, -1, np.int32),
        threshold=np.zeros(count),
        left=np.full(count, -1, np.int32),
        right=np.full(count, -1, np.int32),
        probabilities=np.zeros((count, class_count)),
        weight=np.zeros(count),
    )
    table.feature[at_inner] = nodes.column
    table.threshold[at_inner] = pool[nodes.parameters[inner] + 1]
    table.left[at_inner] = place[left] - first
    table.right[at_inner] = place[right] - first
    undefined = np.isnan(table.threshold[at_inner])
    _require(~undefined, nodes.tree[inner], "the threshold of a node is undefined (NaN)")
    contents = pool[nodes.parameters[leaf][:, None] + np.arange(class_count + 1)]
    _require(np.isfinite(contents).all(axis=1), nodes.tree[leaf], "a leaf holds infinite or undefined numbers")
    has_no_negative = np.asarray(contents >= 0).all(axis=1)
    _require(np.asarray(has_no_negative), nodes.tree[leaf], "a leaf holds negative numbers")
    sums = contents[:, 1:].sum(axis=1)
    is_one = np.asarray(np.abs(sums - 1) <= MAX_SUM_ERROR)
    _require(is_one, nodes.tree[leaf], "a leaf's probabilities do not sum to 1 but to", sums)
    table.weight[at_leaf] = contents[:, 0]
    table.probabilities[at_leaf] = contents[:, 1:]
    return tuple(_part(table, int(a), int(a + n)) for a, n in zip(starts, sizes, strict=True))


def _part(table: StoredTree, start: int, stop: int) -> StoredTree:
    arrays = [array[start:stop] for array in vars(table).values()]  # in the order of the fields
    for array in arrays:
        array.flags.writeable = False
    return StoredTree(*arrays)


def _starts_and_lengths(lengths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    counts = np.array(lengths, np.int64)
    return np.concatenate([[0], np.cumsum(counts)[:-1]]), counts


def _require(good: np.ndarray, tree: np.ndarray, what: str, value: np.ndarray | None = None) -> None:
    if not good.all():
        bad = int(np.flatnonzero(~good)[0])
        raise TreeError(int(tree[bad]), what if value is None else f"{what} {value[bad]}")

"""Random forests grown on the CPU, see ``contract.ForestTrainer``."""

from __future__ import annotations

from math import floor, sqrt
from typing import Any

import numpy as np

from ...frozen import frozen
from ..contract.training import GrownForest
from .loader import kernel

_MAX_BINS, _MAX_COUNTERS, _MIN_BINS = 1024, 4096, 8  # of a histogram; counters are bins times classes
_WORDS = 624  # state of MT19937

_grow_tree, _vote_out_of_bag = kernel("grow_tree"), kernel("vote_out_of_bag")
_count_right = kernel("count_right")


@frozen(eq=False)
class Samples:
    """Samples for the kernels: features (n, f), ranks by column and by sample, labels, number of classes."""

    features: np.ndarray
    ranks: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    classes: int

    @property
    def tried(self) -> int:
        """Number of columns that a node tries."""
        return floor(sqrt(self.features.shape[1]) + 0.5)


class CpuTrainer:
    """Trainer of forests on the host's processors; one forest is grown by one thread."""

    def rank(self, values: np.ndarray) -> np.ndarray:
        bits = (values + np.float32(0)).view(np.uint32)  # the sum makes -0 the 0 that it equals
        ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)).astype(np.uint64)
        keys = np.sort(ordered << np.uint64(32) | np.arange(len(values), dtype=np.uint64))
        sizes = keys >> np.uint64(32)
        ranks = np.empty(len(values), np.uint32)
        ranks[keys & np.uint64(0xFFFFFFFF)] = np.cumsum(np.concatenate([[False], sizes[1:] != sizes[:-1]]))
        return ranks

    def load(self, features: np.ndarray, ranks: np.ndarray, labels: np.ndarray, classes: int) -> Samples:
        return Samples(features, ranks, np.ascontiguousarray(ranks.T), labels.astype(np.uint16), classes)

    def grow(self, samples: Samples, *, trees: int, seed: int, permutes: bool) -> GrownForest:
        count, columns = samples.features.shape
        generator = (_seeded_state(seed), np.array([_WORDS], np.int64))
        scratch = _scratch(count, columns, samples.classes, samples.tried)
        topology, parameters = np.empty(7 * count + 2, np.int32), np.empty((samples.classes + 3) * count, np.float64)
        drawn, gains, votes = np.empty(count, np.uint32), np.zeros(columns), np.zeros((count, samples.classes))
        importance = np.zeros((columns, samples.classes)) if permutes else None
        shuffler, grown = np.random.default_rng(seed), []
        for _ in range(trees):
            ints, numbers = _grow_tree(
                samples.features, samples.ranks, samples.rows, samples.labels, samples.tried, generator, drawn,
                *scratch, (topology, parameters), gains,
            )  # fmt: skip
            grown.append((topology[:ints].copy(), parameters[:numbers].copy()))
            _vote_out_of_bag(samples.features, drawn, topology, parameters, votes)
            if importance is not None:
                _add_importance(samples, drawn, *grown[-1], shuffler, importance)
        return GrownForest(tuple(grown), gains, votes, importance)


def _add_importance(
    samples: Samples,
    drawn: np.ndarray,
    topology: np.ndarray,
    parameters: np.ndarray,
    shuffler: np.random.Generator,
    importance: np.ndarray,
) -> None:
    """Add the importance of the columns in one tree."""
    outside = np.flatnonzero(drawn == 0).astype(np.uint32)
    if not len(outside):
        return
    before, right = np.empty(samples.classes), np.empty(samples.classes)

    def count(column: int, order: np.ndarray, found: np.ndarray) -> None:
        _count_right(samples.features, samples.labels, outside, column, order, topology, parameters, found)

    count(-1, np.arange(len(outside), dtype=np.uint32), before)
    for column in _used_columns(topology):
        count(column, shuffler.permutation(len(outside)).astype(np.uint32), right)
        importance[column] += (before - right) / len(outside)


def _used_columns(topology: np.ndarray) -> list[int]:
    """List the columns that a tree compares, ascending."""
    found, at, ints = set(), 2, topology.tolist()
    while at < len(ints):
        is_leaf = ints[at] != 0
        if not is_leaf:
            found.add(ints[at + 4])
        at += 2 if is_leaf else 5
    return sorted(found)


def _seeded_state(seed: int) -> np.ndarray:
    """State of MT19937 for an integer seed, as in NumPy's ``RandomState``."""
    words = [seed]
    for i in range(1, _WORDS):
        words.append(1812433253 * (words[-1] ^ words[-1] >> 30) + i & 0xFFFFFFFF)
    return np.array(words, np.uint32)


def _scratch(count: int, columns: int, classes: int, tried: int) -> tuple[Any, ...]:
    """Allocate members, columns, totals, ranks of a node, buffers of the search, and the stack of nodes."""
    bins = max(_MIN_BINS, min(_MAX_BINS, _MAX_COUNTERS // classes))
    sides = (np.empty(classes), np.empty(classes), np.empty(classes))
    search = (
        np.empty(count, np.uint64), np.empty(count, np.uint64), np.empty(4 * count + 2, np.uint32),
        np.empty((bins, classes), np.uint32), np.empty((bins, 2)), np.empty(bins, np.int64),
        np.empty(classes), np.empty(classes), np.empty(2), sides,
    )  # fmt: skip
    members = (np.empty(count, np.uint32), np.empty(count, np.uint32))
    return (
        members, np.empty(columns, np.int64), np.empty(classes), np.empty((tried, count), np.uint32), search,
        np.empty((count + 2, 3), np.int64),
    )  # fmt: skip

"""Random forests grown on the CPU, see ``contract.ForestTrainer``."""

from __future__ import annotations

from math import floor, sqrt
from typing import Any

import numpy as np

from ...frozen import frozen
from ..contract.training import GrownForest
from .loader import kernel, prepare

_MAX_BINS, _MAX_COUNTERS, _MIN_BINS = 1024, 4096, 8  # of a histogram; counters are bins times classes
_WORDS = 624  # state of MT19937

_grow_tree, _vote_out_of_bag = kernel("grow_tree"), kernel("vote_out_of_bag")


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
        prepare("training")
        return Samples(features, ranks, np.ascontiguousarray(ranks.T), labels.astype(np.uint16), classes)

    def grow(self, samples: Samples, *, trees: int, seed: int) -> GrownForest:
        count, columns = samples.features.shape
        generator = (_seeded_state(seed), np.array([_WORDS], np.int64))
        scratch = _scratch(count, columns, samples.classes, samples.tried)
        topology, parameters = np.empty(7 * count + 2, np.int32), np.empty((samples.classes + 3) * count, np.float64)
        drawn, gains, votes = np.empty(count, np.uint32), np.zeros(columns), np.zeros((count, samples.classes))
        grown = []
        for _ in range(trees):
            ints, numbers = _grow_tree(
                samples.features, samples.ranks, samples.rows, samples.labels, samples.tried, generator, drawn,
                *scratch, (topology, parameters), gains,
            )  # fmt: skip
            grown.append((topology[:ints].copy(), parameters[:numbers].copy()))
            _vote_out_of_bag(samples.features, drawn, topology, parameters, votes)
        return GrownForest(tuple(grown), gains, votes)


def _seeded_state(seed: int) -> np.ndarray:
    """State of MT19937 for an integer seed, as in NumPy's ``RandomState``."""
    words = [seed]
    for i in range(1, _WORDS):
        words.append(1812433253 * (words[-1] ^ words[-1] >> 30) + i & 0xFFFFFFFF)
    return np.array(words, np.uint32)


def _scratch(count: int, columns: int, classes: int, tried: int) -> tuple[Any, ...]:
    """Allocate members, columns, totals, ranks of a node, buffers of the search, and the stack of nodes."""
    bins = max(_MIN_BINS, min(_MAX_BINS, _MAX_COUNTERS // classes))
    sides = (np.empty(classes), np.empty(classes))
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

"""Forests in the form of the CPU's kernels, and the buffers that a thread reuses from tile to tile."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from ....frozen import frozen
from ...shared.forest_by_feature import ColumnForest
from ...shared.nodes import PackedForest
from .pure_forest_buffers import bundle_memory, voting_memory


@frozen
class CpuForest:
    """Classifier, with the second form that prediction by forests of pure leaves uses."""

    packed: PackedForest
    votes: ColumnForest | None

    @property
    def kernel_arguments(self) -> tuple[Any, ...]:
        """Arguments of the prediction kernels."""
        f, v = self.packed, self.votes
        if v is not None:
            return v.arrays, (f.groups, f.vote_value, f.divisor)
        shares = (f.probabilities, f.weights, f.forests, f.averages, f.divisor)
        return f.roots, (f.records, f.leaf_column, f.offset_bits), shares, f.depth


class Workspace(threading.local):
    """Buffers of one thread, reused between tiles; they only grow."""

    def __init__(self) -> None:
        self._buffers: dict[str, np.ndarray] = {}
        self._voting: tuple[tuple[int, ...], tuple[Any, Any]] | None = None

    def buffer(self, name: str, size: int, dtype: Any = np.float32) -> np.ndarray:
        """Return a flat buffer of at least ``size`` elements with arbitrary content."""
        if name not in self._buffers or self._buffers[name].size < size:
            self._buffers.pop(name, None)  # the smaller one is freed before the larger one is allocated
            self._buffers[name] = np.empty(size, dtype)
        return self._buffers[name]

    def voting(self, forest: CpuForest, votes: ColumnForest, columns: int, quads: int) -> tuple[Any, Any]:
        """Memory and bundles of ``pure_forest_buffers`` for a forest, reused while the sizes stay the same."""
        packed = forest.packed
        sizes = (columns, votes.first.shape[1] - 1, packed.vote_value.shape[1], votes.max_nodes, quads)
        if self._voting is None or self._voting[0] != (packed.classes, *sizes):
            self._voting = None  # the previous one is freed first
            memory = voting_memory(packed.classes, *sizes), bundle_memory(packed.classes, quads)
            self._voting = (packed.classes, *sizes), memory
        return self._voting[1]

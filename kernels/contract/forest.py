"""Stored decision trees as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

ForestUse = Literal["tiles", "rows"]
"""Use of a forest: feature stacks of tiles, or rows of features of objects."""


@dataclass(frozen=True)
class TreeArrays:
    """One decision tree. Node 0 is the root; ``feature`` is -1 at leaves.

    A voxel goes left if its float32 feature, widened to double, is less than the threshold (NaN and equality go right).
    feature (n,) int32, threshold (n,) float64, left and right (n,) int32, probabilities (n, K) float64, weight (n,)
    float64
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    probabilities: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class ForestArrays:
    """One stored forest.

    is_weighted  leaves count with their weight
    averages     False for the old single-forest classifiers, which skip the last step of averaging over forests
    """

    trees: tuple[TreeArrays, ...]
    classes: int
    is_weighted: bool
    averages: bool = True

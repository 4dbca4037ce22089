"""Stored decision trees as arrays."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ...frozen import frozen

ForestUse = Literal["tiles", "rows"]
"""Use of a forest: feature stacks of tiles, or rows of features of objects."""


@frozen
class TreeArrays:
    """One decision tree. Node 0 is the root.

    A voxel goes left if its float32 feature, widened to double, is less than the threshold (NaN and equality go right).

    Attributes
    ----------
    feature
        (n,) int32: column that a node compares, -1 at leaves.
    threshold
        (n,) float64.
    left, right
        (n,) int32: children.
    probabilities
        (n, K) float64: class probabilities at leaves.
    weight
        (n,) float64: weight of a leaf.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    probabilities: np.ndarray
    weight: np.ndarray


@frozen
class ForestArrays:
    """One stored forest.

    Attributes
    ----------
    trees
        Decision trees.
    classes
        Number of classes.
    is_weighted
        True: leaves are weighted.
    averages
        False for the old single-forest classifiers, which skip the last step of averaging over forests.
    """

    trees: tuple[TreeArrays, ...]
    classes: int
    is_weighted: bool
    averages: bool = True

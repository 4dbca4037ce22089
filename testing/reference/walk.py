"""Definition of prediction: every tree is traversed for every voxel, and leaves are summed in the order of the trees.

Works on the records of ``kernels.contract``. ``forest.py`` beside this file does the same on vigra's own arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def find_leaves(tree: Any, features: np.ndarray) -> np.ndarray:
    """The leaf that each row of (n, C) float32 features ends in, (n,) node numbers."""
    node = np.zeros(len(features), np.int64)
    rows = np.arange(len(features))
    while (inner := tree.feature[node] >= 0).any():
        value = features[rows, np.where(inner, tree.feature[node], 0)].astype(np.float64)
        goes_left = value < tree.threshold[node]
        node = np.where(inner, np.where(goes_left, tree.left[node], tree.right[node]), node)
    return node


def predict_forest(forest: Any, features: np.ndarray) -> np.ndarray:
    """Predict (n, K) float32 by one stored forest: float32 sums over trees, divided by a sum in double."""
    share = np.zeros((len(features), forest.classes), np.float32)
    total = np.zeros(len(features))
    for tree in forest.trees:
        leaf = find_leaves(tree, features)
        for k in range(forest.classes):
            vote = tree.probabilities[leaf, k]
            if forest.is_weighted:
                vote = vote * tree.weight[leaf]
            share[:, k] += vote.astype(np.float32)
            total += vote
    with np.errstate(invalid="ignore", divide="ignore"):
        answer = share / total.astype(np.float32)[:, None]
    return np.where(np.isnan(features).any(axis=1)[:, None], np.float32(0), answer)


def predict(forests: Sequence[Any], features: np.ndarray) -> np.ndarray:
    """The classifier's answer for (n, C) float32 features, (n, K) float32."""
    if not forests[0].averages:
        return predict_forest(forests[0], features)
    total = np.zeros((len(features), forests[0].classes), np.float32)
    for forest in forests:
        total += predict_forest(forest, features) * np.float32(len(forest.trees))
    return total / np.float32(sum(len(forest.trees) for forest in forests))

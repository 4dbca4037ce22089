"""A random forest as vigra stores it, walked one pixel at a time in the order of operations that ilastik uses.

Works on vigra's own arrays and shares no code with the reader, so that the two can disagree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEAF = 0x40000000


def find_leaf(topology: np.ndarray, parameters: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Weight and probabilities of the leaf that one pixel's (C,) float32 features end in."""
    node = 2
    while topology[node] != LEAF:
        _, address, left, right, column = topology[node : node + 5]
        node = left if float(features[column]) < parameters[address + 1] else right
    address = topology[node + 1]
    return parameters[address : address + 1 + topology[1]]


def predict_forest(
    trees: Sequence[tuple[np.ndarray, np.ndarray]], features: np.ndarray, *, is_weighted: bool
) -> np.ndarray:
    """Class probabilities (n, K) float32 of one forest for (n, C) float32 features."""
    classes = int(trees[0][0][1])
    result = np.zeros((len(features), classes), np.float32)
    for pixel, row in enumerate(features):
        if np.isnan(row).any():
            continue
        votes, total = np.zeros(classes, np.float32), 0.0
        for topology, parameters in trees:
            weight, *probabilities = find_leaf(topology, parameters, row)
            for k, probability in enumerate(probabilities):
                vote = probability * weight if is_weighted else probability
                votes[k] += np.float32(vote)
                total += vote
        result[pixel] = votes / np.float32(total)
    return result


def predict(forests: Sequence[np.ndarray], tree_counts: Sequence[int]) -> np.ndarray:
    """The forests' answers (n, K) float32 united: each weighted by its number of trees."""
    total = np.zeros_like(forests[0])
    for answer, count in zip(forests, tree_counts, strict=True):
        total += answer * np.float32(count)
    return total / np.float32(sum(tree_counts))

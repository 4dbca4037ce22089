"""Definition of vigra's trees for a seed: every column of a node is sorted, every cut is tried."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

EPSILON = 2 * 2.220446049250313e-16


def draw_below(generator: np.random.RandomState, limit: int) -> int:
    if limit < 2:
        return 0
    last = 0xFFFFFFFF - (1 << 32) % limit
    while True:
        word = int.from_bytes(generator.bytes(4), "little")
        if word <= last:
            return word % limit


def impurity(counts: np.ndarray, total: float) -> float:
    if len(counts) == 2:
        return float(counts[0] * counts[1] / total)
    value = 0.0
    for count in counts:
        value += float(count) * (1.0 - float(count) / total)
    return value


def are_close(a: float, b: float) -> bool:
    if a == 0.0 or b == 0.0:
        return abs(a - b) <= EPSILON
    return abs(a - b) / abs(a) <= EPSILON and abs(a - b) / abs(b) <= EPSILON


def best_cut(values: np.ndarray, labels: np.ndarray, totals: np.ndarray, node: float) -> tuple[float, float]:
    """Smallest loss below that of the node, and its threshold."""
    order = np.argsort(values, kind="stable")
    left, right = np.zeros(len(totals)), totals.copy()
    best, threshold = node, 0.0
    for i, j in pairwise(order):
        left[labels[i]] += 1
        right[labels[i]] -= 1
        if values[i] != values[j]:
            loss = impurity(right, right.sum()) + impurity(left, left.sum())
            if loss < best:
                best, threshold = loss, (float(values[i]) + float(values[j])) / 2
    return best, threshold


def grow_tree(
    features: np.ndarray, labels: np.ndarray, classes: int, generator: np.random.RandomState
) -> tuple[list[int], list[float]]:
    """Topology and parameters of the next tree of a forest."""
    count, width = features.shape
    tried = int(np.floor(np.sqrt(width) + 0.5))
    sample = np.array([draw_below(generator, count) for _ in range(count)])
    columns = list(range(width))
    topology, parameters = [width, classes], []
    waiting = [(sample, -1)]
    while waiting:
        members, parent = waiting.pop()
        if parent >= 0:
            topology[parent] = len(topology)
        totals = np.bincount(labels[members], minlength=classes).astype(float)
        node = impurity(totals, float(len(members)))
        best, chosen, threshold = node, -1, 0.0
        if node > 0:
            for i in range(tried):
                j = i + draw_below(generator, width - i)
                columns[i], columns[j] = columns[j], columns[i]
            k, limit = 0, width
            while k < limit:
                loss, at = best_cut(features[members, columns[k]], labels[members], totals, node)
                if loss < best:
                    best, chosen, threshold, limit = loss, columns[k], at, tried
                k += 1
        if chosen < 0 or are_close(best, node):
            topology += [0x40000000, len(parameters)]
            parameters += [float(len(members)), *(totals / totals.sum())]
            continue
        here = len(topology)
        topology += [0, len(parameters), -1, -1, chosen]
        parameters += [1.0, threshold]
        goes_left = features[members, chosen].astype(float) < threshold
        waiting += [(members[goes_left], here + 2), (members[~goes_left], here + 3)]
    return topology, parameters

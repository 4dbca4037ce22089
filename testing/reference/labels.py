"""Definition of objects: the neighbours of every voxel are searched, in scan order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

Place = tuple[int, ...]


def neighbours(place: Place, shape: Place) -> Iterator[Place]:
    """Voxels that share a face, in the order -z -y -x +x +y +z."""
    for step, axes in ((-1, range(3)), (1, reversed(range(3)))):
        for axis in axes:
            near = tuple(p + step * (a == axis) for a, p in enumerate(place))
            if 0 <= near[axis] < shape[axis]:
                yield near


def label_components(values: np.ndarray) -> np.ndarray:
    """Components of equal value of (z, y, x), numbered by their first voxel; 0 is background."""
    labels = np.zeros(values.shape, np.int64)
    count = 0
    for first in np.ndindex(values.shape):
        if values[first] == 0 or labels[first]:
            continue
        count += 1
        labels[first] = count
        waiting = [first]
        while waiting:
            place = waiting.pop()
            for near in neighbours(place, values.shape):
                if not labels[near] and values[near] == values[place]:
                    labels[near] = count
                    waiting.append(near)
    return labels


def renumber(values: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Values numbered as they come in scan order, and the value behind each number."""
    numbers: dict[int, int] = {0: 0}
    labels = np.array([numbers.setdefault(int(v), len(numbers)) for v in values.flat]).reshape(values.shape)
    return labels, list(numbers)[1:]

"""ilastik's "convex hull": the bounding box, with the components of box minus object as its defects.

Components are found plane by plane of the box with a table of provisional numbers, so that a box of any size takes the
memory of one plane. Numbers are merged towards the smaller one: components are ordered by their first voxel.
"""

from __future__ import annotations

import math

import numpy as np

from ..build.jit import njit
from .powers import power, third_and_fourth

SCALARS = 9  # columns before the three positions


@njit(nogil=True, cache=True)
def find_root(parent, number):
    """Find the smallest number that this one was merged with, compressing the path."""
    root = number
    while parent[root] != root:
        root = parent[root]
    while parent[number] != root:
        following = parent[number]
        parent[number] = root
        number = following
    return root


@njit(nogil=True, cache=True)
def merge(parent, a, b):
    """Merge two numbers. Returns the smaller of their roots."""
    a, b = find_root(parent, a), find_root(parent, b)
    if a > b:
        a, b = b, a
    parent[b] = a
    return a


@njit(nogil=True, cache=True)
def find_defects(labels, origin, label, box):
    """Find components of the box's voxels outside the object: (k, 4) voxels and sums of x, y, z, in scan order."""
    from_z, from_y, from_x = origin
    depth, height, width = box[3] - box[0], box[4] - box[1], box[5] - box[2]
    is_flat = depth == 1  # rows are then processed like planes, and only one row is kept
    planes, rows = (height, 1) if is_flat else (depth, height)
    behind = np.full((rows, width), -1, np.int64)
    capacity = 16
    parent = np.empty(capacity, np.int64)
    sums = np.zeros((capacity, 4), np.int64)
    known = 0
    for p in range(planes):
        for r in range(rows):
            z, y = (box[0], box[1] + p) if is_flat else (box[0] + p, box[1] + r)
            left = -1
            for i in range(width):
                x = box[2] + i
                if labels[z - from_z, y - from_y, x - from_x] == label:
                    left = -1
                    behind[r, i] = -1
                    continue
                number = left
                if behind[r, i] >= 0:
                    number = behind[r, i] if number < 0 else merge(parent, number, behind[r, i])
                if r > 0 and behind[r - 1, i] >= 0:
                    number = behind[r - 1, i] if number < 0 else merge(parent, number, behind[r - 1, i])
                if number < 0:
                    if known == capacity:
                        more_parent = np.empty(2 * capacity, np.int64)
                        more_sums = np.zeros((2 * capacity, 4), np.int64)
                        for j in range(capacity):
                            more_parent[j] = parent[j]
                            for c in range(4):
                                more_sums[j, c] = sums[j, c]
                        parent, sums, capacity = more_parent, more_sums, 2 * capacity
                    number = known
                    parent[number] = number
                    known += 1
                sums[number, 0] += 1
                sums[number, 1] += x
                sums[number, 2] += y
                sums[number, 3] += z
                behind[r, i] = number
                left = number
    found = 0
    for number in range(known):
        root = find_root(parent, number)
        if root != number:
            for c in range(4):
                sums[root, c] += sums[number, c]
    for number in range(known):
        if parent[number] == number:
            for c in range(4):
                sums[found, c] = sums[number, c]
            found += 1
    return sums[:found]


@njit(nogil=True, cache=True, error_model="numpy")
def describe_hulls(labels, origin, boxes, centres, counts, first, stop, out):
    """Write features of objects [first, stop) to out (n, 9 + 3 d), see ``contract.ObjectBackend.hull_features``.

    origin (z, y, x) of the labels in the frame; boxes (n, 6) along z, y, x; centres (n, d) and the positions in out
    along x, y, z; counts (n,) voxels
    """
    d = centres.shape[1]
    for i in range(first, stop):
        box = boxes[i]
        defects = find_defects(labels, origin, i + 1, box)
        k = np.float64(len(defects))
        volume = np.float64(np.int64(box[3] - box[0]) * np.int64(box[4] - box[1]) * np.int64(box[5] - box[2]))
        total, second, displaced = 0.0, 0.0, 0.0
        for j in range(len(defects)):
            size = np.float64(defects[j, 0])
            total += size
            if j > 0:
                n = j + 1.0
                deviation = total / n - size
                second += (n / (n - 1.0)) * (deviation * deviation)
            square = 0.0
            for c in range(d):
                step = np.float64(defects[j, 1 + c]) / size - centres[i, c]
                square += step * step
            displaced += size * math.sqrt(square)
        mean = total / k if k > 0 else 0.0
        third, fourth = 0.0, 0.0
        for j in range(len(defects)):
            p3, p4 = third_and_fourth(np.float64(defects[j, 0]) - mean)
            third += p3
            fourth += p4
        out[i, 0] = counts[i]
        out[i, 1] = volume
        out[i, 2] = np.float64(counts[i]) / volume
        out[i, 3] = k
        out[i, 4] = mean
        out[i, 5] = second / (k - 1.0) if k > 1 else 0.0
        out[i, 6] = 0.0
        out[i, 7] = 0.0
        if k > 2:
            skewness = math.sqrt(k) * third / power(second, 1.5)
            out[i, 6] = math.sqrt(k * (k - 1.0)) / (k - 2.0) * skewness
        if k > 3:
            kurtosis = k * fourth / (second * second) - 3.0
            out[i, 7] = (k - 1.0) / ((k - 2.0) * (k - 3.0)) * ((k + 1.0) * kurtosis + 6.0)
        out[i, 8] = displaced / total if k > 0 else 0.0
        for c in range(d):
            low, high = np.float64(box[2 - c]), np.float64(box[5 - c])
            out[i, SCALARS + c] = centres[i, c]
            out[i, SCALARS + d + c] = low + (high - 1.0 - low) / 2.0
            out[i, SCALARS + 2 * d + c] = low
            if k > 0:
                position = np.int64(0)
                for j in range(len(defects)):
                    position += defects[j, 1 + c]
                out[i, SCALARS + 2 * d + c] = np.float64(position) / total

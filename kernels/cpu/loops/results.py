"""Loops of results that are made of class probabilities; ``shared/results.py`` defines the same in NumPy."""

from __future__ import annotations

import numpy as np

from ..build.jit import njit

_ONE = np.float32(1)


@njit(nogil=True, cache=True)
def number_best(probabilities, out):
    """Write 1 + the index of the most probable class of each voxel, the lowest at a tie.

    probabilities  (voxels, classes) float32, out (voxels,) uint8
    """
    voxels, classes = probabilities.shape
    for i in range(voxels):
        best, number = probabilities[i, 0], 1
        for k in range(1, classes):
            value = probabilities[i, k]
            number = k + 1 if value > best else number
            best = max(best, value)
        out[i] = number


@njit(nogil=True, cache=True)
def subtract_lead(probabilities, out):
    """Write 1 minus the lead of the most probable class over the second.

    probabilities  (voxels, classes) float32, at least two classes; out (voxels,) float32
    """
    voxels, classes = probabilities.shape
    for i in range(voxels):
        first, other = probabilities[i, 0], probabilities[i, 1]
        best, second = max(first, other), min(first, other)
        for k in range(2, classes):
            value = probabilities[i, k]
            second = max(second, min(best, value))
            best = max(best, value)
        out[i] = _ONE - (best - second)

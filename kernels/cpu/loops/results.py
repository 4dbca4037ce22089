"""Loops of results that are made of class probabilities; ``shared/results.py`` defines the same in NumPy."""

from __future__ import annotations

import numpy as np

from ..build.jit import njit

_ONE, _HALF, _LEVELS = np.float32(1), np.float32(0.5), np.float32(255)


@njit(nogil=True, cache=True)
def number_best(probabilities, out):
    """Write 1 + the index of the most probable class of each voxel, the lowest at a tie.

    probabilities  (voxels, classes) float32, out (voxels,) uint8
    """
    for i in range(len(probabilities)):
        out[i] = _number_best(probabilities, i)


@njit(nogil=True, cache=True)
def subtract_lead(probabilities, out):
    """Write 1 minus the lead of the most probable class over the second.

    probabilities  (voxels, classes) float32, at least two classes; out (voxels,) float32
    """
    for i in range(len(probabilities)):
        out[i] = _subtract_lead(probabilities, i)


@njit(nogil=True, cache=True)
def sample_classes(plane, rows, columns, numbers, uncertainties):
    """Write both for samples of a plane.

    plane                   (y, x, classes) float32, at least two classes
    rows, columns           first sample along y and x, and their distance
    numbers, uncertainties  (y, x) uint8 and float32
    """
    for i in range(numbers.shape[0]):
        row = plane[rows[0] + i * rows[1]]
        for j in range(numbers.shape[1]):
            x = columns[0] + j * columns[1]
            numbers[i, j] = _number_best(row, x)
            uncertainties[i, j] = _subtract_lead(row, x)


@njit(nogil=True, cache=True)
def count_classes(probabilities, first, every, counts, levels):
    """Count the voxels of each most probable class, and levels of the uncertainty in some rows.

    probabilities  (z, y, x, classes) float32, at least two classes
    first, every   uncertainties are those of the rows first, first + every, … of each plane; first < every
    counts         (classes + 1,) int64, added to: voxels by 1 + the index of their class, as ``number_best``
    levels         (256,) int64, added to: uncertainties, as ``subtract_lead``, rounded to multiples of 1/255
    """
    depth, height, width, classes = probabilities.shape
    for z in range(depth):
        for y in range(height):
            row = probabilities[z, y]
            if classes == 2:  # few classes need no branches, and whole vectors are compared
                later = 0
                for x in range(width):
                    later += row[x, 1] > row[x, 0]
                counts[1] += width - later
                counts[2] += later
            elif classes == 3:
                second = third = 0
                for x in range(width):
                    is_third = row[x, 2] > max(row[x, 0], row[x, 1])
                    second += (row[x, 1] > row[x, 0]) & (not is_third)
                    third += is_third
                counts[1] += width - second - third
                counts[2] += second
                counts[3] += third
            else:
                for x in range(width):
                    counts[_number_best(row, x)] += 1
            if y % every == first:
                for x in range(width):
                    level = _subtract_lead(row, x) * _LEVELS + _HALF
                    levels[np.uint8(np.int32(level))] += 1


@njit(nogil=True, cache=True, forceinline=True)
def _number_best(probabilities, i):
    best, number = probabilities[i, 0], 1
    for k in range(1, probabilities.shape[1]):
        value = probabilities[i, k]
        number = k + 1 if value > best else number
        best = max(best, value)
    return number


@njit(nogil=True, cache=True, forceinline=True)
def _subtract_lead(probabilities, i):
    first, other = probabilities[i, 0], probabilities[i, 1]
    best, second = max(first, other), min(first, other)
    for k in range(2, probabilities.shape[1]):
        value = probabilities[i, k]
        second = max(second, min(best, value))
        best = max(best, value)
    return _ONE - (best - second)

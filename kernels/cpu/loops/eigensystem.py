"""Eigenvalues and eigenvectors of small symmetric matrices, largest eigenvalue first.

Householder reduction to tridiagonal form, then QL steps with implicit shifts (tred2 and tql2 of EISPACK, as in JAMA).
The signs of eigenvectors, and the vectors of equal eigenvalues, depend on rounding: nothing may be reordered or fused.
"""

from __future__ import annotations

import math

import numpy as np

from ..build.jit import njit
from ..simd.lanes import noinline
from .hypotenuse import hypotenuse

_EPSILON = 2.0**-52
_MAX_STEPS = 50  # for one eigenvalue; only matrices with NaN or infinity need as many


@njit(nogil=True, cache=True, error_model="numpy")
def tridiagonalize(vectors, diagonal, beside):
    """Replace the symmetric matrix in ``vectors`` by the transformation that makes it tridiagonal."""
    noinline()
    n = len(diagonal)
    for j in range(n):
        diagonal[j] = vectors[n - 1, j]
    for i in range(n - 1, 0, -1):
        scale = 0.0
        h = 0.0
        for k in range(i):
            scale += abs(diagonal[k])
        if scale == 0.0:
            beside[i] = diagonal[i - 1]
            for j in range(i):
                diagonal[j] = vectors[i - 1, j]
                vectors[i, j] = 0.0
                vectors[j, i] = 0.0
        else:
            for k in range(i):
                diagonal[k] /= scale
                h += diagonal[k] * diagonal[k]
            f = diagonal[i - 1]
            g = math.sqrt(h)
            if f > 0.0:
                g = -g
            beside[i] = scale * g
            h -= f * g
            diagonal[i - 1] = f - g
            for j in range(i):
                beside[j] = 0.0
            for j in range(i):
                f = diagonal[j]
                vectors[j, i] = f
                g = beside[j] + vectors[j, j] * f
                for k in range(j + 1, i):
                    g += vectors[k, j] * diagonal[k]
                    beside[k] += vectors[k, j] * f
                beside[j] = g
            f = 0.0
            for j in range(i):
                beside[j] /= h
                f += beside[j] * diagonal[j]
            half = f / (h + h)
            for j in range(i):
                beside[j] -= half * diagonal[j]
            for j in range(i):
                f = diagonal[j]
                g = beside[j]
                for k in range(j, i):
                    vectors[k, j] -= f * beside[k] + g * diagonal[k]
                diagonal[j] = vectors[i - 1, j]
                vectors[i, j] = 0.0
        diagonal[i] = h
    for i in range(n - 1):
        vectors[n - 1, i] = vectors[i, i]
        vectors[i, i] = 1.0
        h = diagonal[i + 1]
        if h != 0.0:
            for k in range(i + 1):
                diagonal[k] = vectors[k, i + 1] / h
            for j in range(i + 1):
                g = 0.0
                for k in range(i + 1):
                    g += vectors[k, i + 1] * vectors[k, j]
                for k in range(i + 1):
                    vectors[k, j] -= g * diagonal[k]
        for k in range(i + 1):
            vectors[k, i + 1] = 0.0
    for j in range(n):
        diagonal[j] = vectors[n - 1, j]
        vectors[n - 1, j] = 0.0
    vectors[n - 1, n - 1] = 1.0
    beside[0] = 0.0


@njit(nogil=True, cache=True, error_model="numpy")
def diagonalize(vectors, diagonal, beside):
    """Rotate until the off-diagonal elements vanish; ``diagonal`` then holds the eigenvalues, unsorted."""
    noinline()
    n = len(diagonal)
    for i in range(1, n):
        beside[i - 1] = beside[i]
    beside[n - 1] = 0.0
    shift = 0.0
    largest = 0.0
    for first in range(n):
        size = abs(diagonal[first]) + abs(beside[first])
        if size > largest:
            largest = size
        last = first
        while last < n - 1 and not abs(beside[last]) <= _EPSILON * largest:
            last += 1
        if last > first:
            for _ in range(_MAX_STEPS):
                g = diagonal[first]
                p = (diagonal[first + 1] - g) / (2.0 * beside[first])
                r = hypotenuse(p, 1.0)
                if p < 0.0:
                    r = -r
                diagonal[first] = beside[first] / (p + r)
                diagonal[first + 1] = beside[first] * (p + r)
                second = diagonal[first + 1]
                h = g - diagonal[first]
                for i in range(first + 2, n):
                    diagonal[i] -= h
                shift += h
                p = diagonal[last]
                c = 1.0
                c2 = 1.0
                c3 = 1.0
                beside_second = beside[first + 1]
                s = 0.0
                s2 = 0.0
                for i in range(last - 1, first - 1, -1):
                    c3 = c2
                    c2 = c
                    s2 = s
                    g = c * beside[i]
                    h = c * p
                    r = hypotenuse(p, beside[i])
                    beside[i + 1] = s * r
                    s = beside[i] / r
                    c = p / r
                    p = c * diagonal[i] - s * g
                    diagonal[i + 1] = h + s * (c * g + s * diagonal[i])
                    for k in range(n):
                        h = vectors[k, i + 1]
                        vectors[k, i + 1] = s * vectors[k, i] + c * h
                        vectors[k, i] = c * vectors[k, i] - s * h
                p = -s * s2 * c3 * beside_second * beside[first] / second
                beside[first] = s * p
                diagonal[first] = c * p
                if not abs(beside[first]) > _EPSILON * largest:
                    break
        diagonal[first] += shift
        beside[first] = 0.0


@njit(nogil=True, cache=True, error_model="numpy")
def eigensystem(vectors, values, work):
    """Replace the symmetric matrix in ``vectors`` (n, n) by its eigenvectors, in columns; values (n,): eigenvalues.

    work is scratch (n,). The largest eigenvalue comes first; the order of equal ones is unspecified.
    """
    noinline()
    tridiagonalize(vectors, values, work)
    diagonalize(vectors, values, work)
    n = len(values)
    for i in range(n - 1):
        largest = i
        for j in range(i + 1, n):
            if values[largest] < values[j]:
                largest = j
        if largest != i:
            values[i], values[largest] = values[largest], values[i]
            for k in range(n):
                vectors[k, i], vectors[k, largest] = vectors[k, largest], vectors[k, i]


@njit(nogil=True, cache=True, error_model="numpy")
def eigensystems(scatter, first, stop, values, vectors):
    """Compute eigensystems of objects [first, stop).

    scatter  (n, d (d + 1) / 2) the upper triangles, row by row
    values   (n, d), vectors (n, d * d) with eigenvectors in columns, row by row
    """
    d = values.shape[1]
    matrix = np.empty((d, d))
    diagonal = np.empty(d)
    work = np.empty(d)
    for i in range(first, stop):
        position = 0
        for a in range(d):
            for b in range(a, d):
                matrix[a, b] = scatter[i, position]
                matrix[b, a] = scatter[i, position]
                position += 1
        eigensystem(matrix, diagonal, work)
        for a in range(d):
            values[i, a] = diagonal[a]
            for b in range(d):
                vectors[i, a * d + b] = matrix[a, b]

"""Definitions of the features of an object: its voxels one by one, in scan order, in double.

Eigenvectors are taken as given where something is projected on them: their sign has no definition shorter than the
algorithm. Frames are (z, y, x) and (z, y, x, c); positions are x, y and, in 3-d, z.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import ndimage

from .labels import label_components

BINS = 64
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)


def voxels_of(mask: np.ndarray, dimensions: int | None = None) -> np.ndarray:
    """Positions (n, d) of a mask's voxels in scan order; by default 2 if the frame has one plane."""
    return np.argwhere(mask)[:, ::-1][:, : dimensions or (2 if mask.shape[0] == 1 else 3)]


def divide(a: float, b: float) -> float:
    """As processors do."""
    with np.errstate(all="ignore"):
        return float(np.float64(a) / np.float64(b))


def add_up(values: list[float]) -> float:
    """One by one; Python's own sum compensates rounding errors in newer versions."""
    total = 0.0
    for v in values:
        total += v
    return total


def running_second(values: list[float]) -> float:
    """Sum of squared differences from the mean, updated value by value."""
    total, second = 0.0, 0.0
    for k, v in enumerate(values, 1):
        total += v
        if k > 1:
            d = total / k - v
            second += (k / (k - 1)) * (d * d)
    return second


def running_scatter(points: np.ndarray, weights: list[float] | None = None) -> np.ndarray:
    """(d, d) sum of outer products around the mean."""
    d = points.shape[1]
    scatter = np.zeros((d, d))
    total, sums = 0.0, [0.0] * d
    for k, point in enumerate(points.astype(float).tolist()):
        v = 1.0 if weights is None else weights[k]
        total += v
        sums = [s + v * p for s, p in zip(sums, point, strict=True)]
        if total > v:
            factor = total / (total - 1.0) if weights is None else divide(total * v, total - v)
            apart = [divide(s, total) - p for s, p in zip(sums, point, strict=True)]
            for a in range(d):
                for b in range(a, d):
                    scatter[a, b] = scatter[b, a] = scatter[a, b] + (factor * apart[b]) * apart[a]
    return scatter


def power_sum(values: list[float], power: float, weights: list[float] | None = None) -> float:
    """Sum of powers, in the order of the values."""
    total = 0.0
    for k, v in enumerate(values):
        total += math.pow(v, power) * (1.0 if weights is None else weights[k])
    return total


def shape_of(n: float, second: float, third: float, fourth: float) -> tuple[float, float]:
    """Skewness and excess kurtosis."""
    root = math.sqrt(n) if n >= 0 else math.nan
    bent = math.pow(second, 1.5) if second >= 0 else math.nan
    return divide(root * third, bent), divide(n * fourth, second * second) - 3.0


def project(points: np.ndarray, mean: list[float], axes: np.ndarray) -> list[list[float]]:
    """Positions along each axis; axes has a vector a column."""
    projected = []
    for axis in axes.T.tolist():
        along = []
        for point in points.astype(float).tolist():
            u = axis[0] * (point[0] - mean[0])
            for j in range(1, len(point)):
                u += axis[j] * (point[j] - mean[j])
            along.append(u)
        projected.append(along)
    return projected


def histogram(values: list[float], low: float, high: float) -> tuple[list[int], list[float]]:
    """Counts, and the quantiles that follow from them."""
    if low == high:
        high += BINS * 2.0**-52
    scale = divide(BINS, high - low)
    with np.errstate(all="ignore"):
        places = [float(np.float64(scale) * (v - low)) for v in values]
    counts, below, above = [0] * BINS, 0, 0
    for place in places:
        if math.isnan(place) or place <= -1:
            below += 1
        elif place == BINS:
            counts[-1] += 1
        elif place > BINS:
            above += 1
        else:
            counts[int(place)] += 1
    with np.errstate(all="ignore"):
        first, last = (float(np.float64(scale) * (v - low)) for v in (min(values), max(values)))
    points = [(first, 0.0)]
    if below:
        points.append((0.0, below))
    reached = float(below)
    for k, count in enumerate(counts):
        if count:
            if points[-1][0] <= k:
                points.append((k, reached))
            reached += count
            points.append((k + 1.0, reached))
    if above:
        if points[-1][0] != BINS:
            points.append((float(BINS), reached))
        points.append((last, float(len(values))))
    points[-1] = (last, float(len(values)))
    quantiles = [min(values)]
    for level in LEVELS:
        target = len(values) * level
        (x0, c0), (x1, c1) = next((a, b) for a, b in pairwise(points) if a[1] < target <= b[1])
        with np.errstate(all="ignore"):
            quantiles.append(divide(1.0, scale) * ((target - c0) / (c1 - c0) * (x1 - x0) + x0) + low)
    return counts, [*quantiles, max(values)]


def measure_values(
    values: np.ndarray, value_range: tuple[float, float], axes: tuple[np.ndarray, np.ndarray] | None = None
) -> dict[str, Any]:
    """Quantities of the values (n, c) of an object or a neighbourhood; axes: principal eigenvalues and vectors."""
    n, channels = values.shape
    columns = [column.astype(float).tolist() for column in values.T]
    answer: dict[str, Any] = {"voxels": n, "smallest": values.min(axis=0), "largest": values.max(axis=0)}
    sums = [add_up(column) for column in columns]
    means = [total / n for total in sums]
    seconds = [running_second(column) for column in columns]
    apart = [[v - mean for v in column] for column, mean in zip(columns, means, strict=True)]
    thirds, fourths = ([power_sum(a, p) for a in apart] for p in (3.0, 4.0))
    shapes = [shape_of(n, *moments) for moments in zip(seconds, thirds, fourths, strict=True)]
    answer |= {"sum": sums, "mean": means, "second": seconds, "third": thirds, "fourth": fourths}
    answer |= {"variance": [s / n for s in seconds]}
    answer |= {"skewness": [s[0] for s in shapes], "kurtosis": [s[1] for s in shapes]}
    if channels == 1:
        answer["histogram"], answer["quantiles"] = histogram(columns[0], *value_range)
        return answer
    scatter = running_scatter(values)
    answer["covariance"] = scatter / n
    if axes is not None:
        along = project(values, means, axes[1])
        answer |= describe_axes("principal_", n, axes[0], along)
        answer |= {"principal_smallest": [min(u) for u in along], "principal_largest": [max(u) for u in along]}
    return answer


def describe_axes(
    prefix: str, n: float, spread: np.ndarray, along: list[list[float]], weights: list[float] | None = None
) -> dict[str, Any]:
    """Derive moments from projections ``along`` the axes, whose eigenvalues are ``spread``."""
    thirds, fourths = ([power_sum(u, p, weights) for u in along] for p in (3.0, 4.0))
    shapes = [shape_of(n, *moments) for moments in zip(spread.tolist(), thirds, fourths, strict=True)]
    return {
        f"{prefix}third": thirds,
        f"{prefix}fourth": fourths,
        f"{prefix}skewness": [s[0] for s in shapes],
        f"{prefix}kurtosis": [s[1] for s in shapes],
    }


def measure_shape(
    places: np.ndarray, axes: tuple[np.ndarray, np.ndarray], weights: list[float] | None = None
) -> dict[str, Any]:
    """Quantities of an object's positions, weighted or not; axes: eigenvalues and vectors of their scatter."""
    columns = [column.astype(float).tolist() for column in places.T]
    total = float(len(places)) if weights is None else add_up(weights)
    shares = [1.0] * len(places) if weights is None else weights
    sums = [add_up([v * w for v, w in zip(shares, column, strict=True)]) for column in columns]
    centre = [divide(s, total) for s in sums]
    prefix = "" if weights is None else "weighted_"
    with np.errstate(all="ignore"):
        spread = axes[0] / np.float64(total)
        radii = np.sqrt(spread)
    return {
        f"{prefix}position_sum": sums,
        f"{prefix}centre": centre,
        f"{prefix}axis_variance": spread,
        f"{prefix}radii": radii,
        **describe_axes(f"{prefix}axis_", total, axes[0], project(places, centre, axes[1]), weights),
    }


def neighbourhood(labels: np.ndarray, label: int, margin: tuple[int, int, int], *, includes_object: bool) -> np.ndarray:
    """The surroundings of an object as a mask of the frame; margin along z, y, x, the first of no meaning in 2-d."""
    own = labels == label
    used = list(margin) if labels.shape[0] > 1 else list(margin[1:])
    if min(used) == 0:
        return np.zeros_like(own) if includes_object else own
    places = np.argwhere(own)
    low, high = places.min(axis=0), places.max(axis=0) + 1
    window = tuple(
        slice(max(a - m, 0), min(b + 1 + m, n))
        for a, b, m, n in zip(low, high, (0, *used) if len(used) == 2 else used, labels.shape, strict=True)
    )
    pitch = [max(used) // m for m in used]
    distance = ndimage.distance_transform_edt(~own[window], sampling=[1, *pitch] if len(used) == 2 else pitch)
    found = np.zeros_like(own)
    found[window] = distance < max(used)
    return found if includes_object else found & ~own


def measure_hull(labels: np.ndarray, label: int) -> list[float]:
    """The columns of ``Backend.hull_features`` for one object."""
    own = labels == label
    places = voxels_of(own)
    d = places.shape[1]
    centre = [float(column.sum()) / len(places) for column in places.T]
    low, high = places.min(axis=0), places.max(axis=0)
    box = tuple(slice(a, b + 1) for a, b in zip(*(np.argwhere(own).min(0), np.argwhere(own).max(0)), strict=True))
    defects = label_components(~own[box])
    pieces = [voxels_of(defects == k, d) + low for k in range(1, defects.max() + 1)]
    sizes = [float(len(piece)) for piece in pieces]
    k, volume = len(sizes), float(own[box].size)
    mean = sum(sizes) / k if k else 0.0
    second = running_second(sizes)
    third, fourth = (power_sum([s - mean for s in sizes], p) for p in (3.0, 4.0))
    skewness, kurtosis = shape_of(k, second, third, fourth)
    away = [math.dist([float(c.sum()) / len(piece) for c in piece.T], centre) for piece in pieces]
    whole = np.concatenate(pieces) if k else low[None]
    return [
        len(places),
        volume,
        len(places) / volume,
        k,
        mean,
        second / (k - 1) if k > 1 else 0.0,
        math.sqrt(k * (k - 1)) / (k - 2) * skewness if k > 2 else 0.0,
        (k - 1) / ((k - 2) * (k - 3)) * ((k + 1) * kurtosis + 6) if k > 3 else 0.0,
        sum(size * a for size, a in zip(sizes, away, strict=True)) / sum(sizes) if k else 0.0,
        *centre,
        *((low + high) / 2).tolist()[:d],
        *(float(c.sum()) / len(whole) for c in whole.T),
    ]

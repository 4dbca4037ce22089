"""Definition of thresholding for one frame (z, y, x, c)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .labels import label_components, neighbours


def smooth(values: np.ndarray, sigma: tuple[float, float, float]) -> np.ndarray:
    """(z, y, x) float32 by the Gaussians of ``sigma`` (z, y, x): along x, then y, then z, each rounded to float32."""
    axes = [axis for axis in (2, 1, 0) if values.shape[axis] > 1]
    if any(sigma[axis] < 0.1 for axis in axes):
        return values
    for axis in axes:
        radius = max(1, math.floor(2 * sigma[axis] + 0.5))
        weights = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma[axis] ** 2))
        weights /= weights.sum()
        edges = [(radius, radius) if a == axis else (0, 0) for a in range(3)]
        padded = np.pad(values.astype(np.float64), edges, mode="reflect")
        total = np.zeros(values.shape)
        for k, weight in enumerate(weights):
            total += weight * padded.take(range(k, k + values.shape[axis]), axis)
        values = total.astype(np.float32)
    return values


def filter_sizes(labels: np.ndarray, smallest: int, largest: int) -> np.ndarray:
    """Set labels to 0 whose number of voxels is outside of a range."""
    sizes = np.bincount(labels.reshape(-1))
    keep = (sizes >= smallest) & (sizes <= largest)
    return np.where(keep[labels], labels, 0)


class Heap:
    """(key, value) with the smallest key first; equal keys come as from the heap of libstdc++."""

    def __init__(self) -> None:
        self.entries: list[tuple[np.float32, tuple[int, ...]]] = []

    def push(self, entry: tuple[np.float32, tuple[int, ...]]) -> None:
        self.entries.append(entry)
        self._raise(len(self.entries) - 1, entry)

    def _raise(self, hole: int, entry: tuple[np.float32, tuple[int, ...]]) -> None:
        while hole and self.entries[(hole - 1) // 2][0] > entry[0]:
            self.entries[hole] = self.entries[(hole - 1) // 2]
            hole = (hole - 1) // 2
        self.entries[hole] = entry

    def pop(self) -> tuple[np.float32, tuple[int, ...]]:
        top, last = self.entries[0], self.entries.pop()
        if self.entries:
            hole, count = 0, len(self.entries)
            while 2 * hole + 1 < count:
                left, right = 2 * hole + 1, 2 * hole + 2
                child = left if right >= count or self.entries[right][0] > self.entries[left][0] else right
                self.entries[hole] = self.entries[child]
                hole = child
            self._raise(hole, last)
        return top


def grow(cost: np.ndarray, seeds: np.ndarray, limit: np.float32) -> np.ndarray:
    """The priority flood; without seeds from every strict local minimum."""
    labels = seeds.copy()
    if not labels.any():
        lowest = [p for p in np.ndindex(cost.shape) if all(cost[p] < cost[q] for q in neighbours(p, cost.shape))]
        for number, place in enumerate(lowest, start=1):
            labels[place] = number
    heap = Heap()
    for place in np.ndindex(cost.shape):
        if labels[place] and any(not labels[near] for near in neighbours(place, cost.shape)):
            heap.push((cost[place], place))
    while heap.entries:
        key, place = heap.pop()
        if key > max(limit, 0):
            break
        for near in neighbours(place, cost.shape):
            if not labels[near]:
                labels[near] = labels[place]
                heap.push((max(cost[near], key), near))
    return labels


def threshold(maps: np.ndarray, settings: Any, drange: tuple[float, float] | None) -> np.ndarray:
    """The label image of prediction maps; ``settings`` has the fields of ``ThresholdSettings``."""
    maps = maps.astype(np.float32)
    if drange is not None and drange != (0, 1):
        maps = (maps - np.float32(drange[0])) / np.float32(drange[1] - drange[0])
    low, high = np.float32(settings.low), np.float32(settings.high)

    def label(values: np.ndarray, bound: np.float32) -> np.ndarray:
        return label_components(values > bound if settings.strict else values >= bound)

    def filtered(labels: np.ndarray) -> np.ndarray:
        return filter_sizes(labels, settings.min_size, settings.max_size)

    final = smooth(maps[..., settings.channel], settings.sigma)
    if settings.method == "simple":
        return filtered(label(final, low))
    core = smooth(maps[..., settings.core_channel], settings.sigma)
    if settings.channel != settings.core_channel:
        final = final + core
    cores = filtered(label(core, high))
    if settings.method == "ipht":
        return filtered(grow(final.max() - final, cores, final.max() - low))
    labels = label(final, low)
    with_core = np.isin(labels, labels[cores > 0]) & (labels > 0)
    return filtered(np.where(with_core, labels, 0))

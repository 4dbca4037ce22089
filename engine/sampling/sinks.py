"""Receivers of results that count classes and uncertainties, and keep the samples of a picture."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Protocol

import numpy as np

from ...box import Box
from ...kernels.contract import ClassCounter
from ..export.tile_sinks import TileSink
from ..tiling.groups import ChunkGrid
from .plane import Plane

LEVELS = 256  # of the uncertainty
# Distance of rows whose uncertainties are counted: that takes ten times as long as counting classes.
UNCERTAIN_ROWS = 16
_PART = 1 << 16  # voxels; the system clears new memory for larger arrays


class Taker(Protocol):
    """Taker of the voxels of a result, for samples."""

    def add(self, box: Box, data: np.ndarray) -> Mapping[str, np.ndarray]:
        """Take the voxels (t, z, y, x, c) of a canonical box, each of which must be added once.

        Returns their counts, by name of the counted result.
        """


class ResultSample:
    """Sample of a result of one channel, filled by several threads.

    name     of the result
    counts   number of voxels with each value; of an uncertainty, of every ``UNCERTAIN_ROWS``-th row with each level
    samples  of the plane, (y, x, 1)
    """

    def __init__(self, name: str, plane: Plane, classes: int) -> None:
        """Make the sample of a segmentation with this number of classes, or, with 0, of an uncertainty."""
        self.name = name
        self.counts = np.zeros(LEVELS, np.int64)
        self._plane, self._classes, self._lock = plane, classes, Lock()
        self.samples = np.zeros((*plane.shape, 1), np.uint8 if classes else np.float32)

    def picture(self, step: int) -> np.ndarray:
        """Every ``step``-th sample of the plane, (y, x) uint8: classes, or levels of the uncertainty."""
        samples = self.samples[::step, ::step, 0]
        return samples if self._classes else _as_levels(samples)

    def add(self, box: Box, data: np.ndarray) -> Mapping[str, np.ndarray]:
        """See Taker."""
        self._plane.put(box, data, self.samples)
        counts = self._count_classes(data) if self._classes else _count_levels(box, data)
        self.add_counts(counts)
        return {self.name: counts}

    def add_counts(self, counts: np.ndarray) -> None:
        """Add the counts of voxels that were taken elsewhere, of the first values."""
        with self._lock:
            self.counts[: len(counts)] += counts

    def _count_classes(self, data: np.ndarray) -> np.ndarray:
        counts, voxels = np.zeros(LEVELS, np.int64), np.ascontiguousarray(data).reshape(-1)
        for start in range(0, len(voxels), _PART):
            part = voxels[start : start + _PART]
            others = np.count_nonzero(part)
            for number in range(1, self._classes):
                count = np.count_nonzero(part == number)
                counts[number] += count
                others -= count
            counts[self._classes] += others
        return counts


def _count_levels(box: Box, data: np.ndarray) -> np.ndarray:
    rows = data[:, :, -box.start[2] % UNCERTAIN_ROWS :: UNCERTAIN_ROWS]
    return np.bincount(_as_levels(rows).reshape(-1), minlength=LEVELS)


def _as_levels(uncertainty: np.ndarray) -> np.ndarray:
    """Round values from 0 to 1 to levels from 0 to LEVELS - 1."""
    return (uncertainty * np.float32(LEVELS - 1) + np.float32(0.5)).astype(np.uint8)


class ProbabilitySample:
    """Samples of classes and uncertainties, filled from probabilities: both are the same as if computed for voxels."""

    def __init__(
        self, counter: ClassCounter, plane: Plane, classes: ResultSample, uncertain: ResultSample | None
    ) -> None:
        self._counter, self._plane, self._classes, self._uncertain = counter, plane, classes, uncertain

    def add(self, box: Box, data: np.ndarray) -> Mapping[str, np.ndarray]:
        """See Taker. One time point at a time."""
        found, levels = self._counter.count_classes(data[0], -box.start[2] % UNCERTAIN_ROWS, UNCERTAIN_ROWS)
        self._classes.add_counts(found)
        counts = {self._classes.name: found}
        if self._uncertain is not None:
            self._uncertain.add_counts(levels)
            counts[self._uncertain.name] = levels
        if (samples := self._plane.find(box)) is not None:
            places, rows, columns = samples
            numbers, uncertainties = self._counter.sample_classes(self._plane.cut(box, data), rows, columns)
            self._classes.samples[places] = numbers[..., np.newaxis]
            if self._uncertain is not None:
                self._uncertain.samples[places] = uncertainties[..., np.newaxis]
        return counts


class SampleSink:
    """Receiver of the tiles of a result for its sample; see ``export.tile_sinks.TileSink``.

    region  canonical box that is sampled
    counts  of the voxels that this sink has taken, by name of the counted result
    export  receives every tile, too; None: the result is not exported
    """

    conversion = None
    grid: ChunkGrid | None = None
    held_bytes = 0
    bytes_per_voxel = 6  # as computed, and as counted

    def __init__(self, sample: Taker, region: Box, export: TileSink | None = None, *, channels: int = 1) -> None:
        """Make the sink for a region (t, z, y, x), that of the export if there is one."""
        self.region = Box((*region.start, 0), (*region.stop, channels))
        self._sample, self._export, self._lock = sample, export, Lock()
        self.counts: dict[str, np.ndarray] = {}
        if export is not None:
            self.grid, self.held_bytes = export.grid, export.held_bytes
            self.bytes_per_voxel += export.bytes_per_voxel

    def write(self, box: Box, data: np.ndarray) -> None:
        """Take the voxels (t, z, y, x, c) of a canonical box; those outside of the region are ignored."""
        part = box if self.region.contains(box) else box.intersect(self.region)
        if not part.is_empty:
            counts = self._sample.add(part, data if part is box else data[part.relative_to(box.start).slices()])
            with self._lock:
                for name, found in counts.items():
                    self.counts[name] = self.counts.get(name, 0) + found
        if self._export is not None:
            self._export.write(box, data)

    def write_converted(self, box: Box, data: np.ndarray, overflow_count: int) -> None:
        """Take unconverted values: nothing is converted for this sink."""
        self.write(box, data)

"""Components of one slab of a frame: sources of objects, and everything about a slab that numbering them needs.

Slabs are whole planes of a volume, or rows of one plane, each labelled for itself. ``slab_labels`` joins them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ...box import Box
from ...frozen import frozen
from ...kernels.contract import Backend, MeasurePlan, SlabComponents, Voxels, as_voxels
from ..storage.scratch import Scratch
from ..tiling.layers import Read
from .label import check_label_type, check_label_values, check_segmentation
from .threshold import MapThresholds

_NUMBER_BITS = 32  # of a component's number in a slab


@frozen(eq=False)
class Face:
    """Outer plane or row of a slab as runs of voxels of one value and one component.

    starts  first voxel of each run, in scan order; values, numbers: of the runs; size: number of voxels
    """

    starts: np.ndarray
    values: np.ndarray
    numbers: np.ndarray
    size: int

    @classmethod
    def of(cls, values: np.ndarray, numbers: np.ndarray) -> Face:
        """Make a face of the values and numbers (z, y, x) of its voxels."""
        flat, own = values.reshape(-1), numbers.reshape(-1)
        starts = np.flatnonzero(np.concatenate([[True], (own[1:] != own[:-1]) | (flat[1:] != flat[:-1])]))
        return cls(starts, flat[starts], own[starts], flat.size)

    def join(self, after: Face) -> tuple[np.ndarray, np.ndarray]:
        """Find the components that touch a component of the next slab, and have its value: numbers, pair by pair."""
        starts = np.union1d(self.starts, after.starts)
        a, b = (np.searchsorted(face.starts, starts, "right") - 1 for face in (self, after))
        touches = (self.values[a] == after.values[b]) & (self.numbers[a] > 0) & (after.numbers[b] > 0)
        return _unique_pairs(self.numbers[a][touches], after.numbers[b][touches])


@frozen(eq=False)
class SlabFacts:
    """Everything about a slab that numbering the objects of its frame needs; small, and can be pickled.

    Components are numbered from 1 by their first voxel in the slab.
    count        number of components; sizes (count,) int64 in voxels
    boxes        (count, 6) int32: first and last + 1 voxel along z, y, x, in the frame
    first, last  faces towards the slabs before and after; None if values of a label image connect the slabs
    originals    (count,) uint64: values of a label image; None for connected components
    cores        components of cores, if objects must have one; overlaps (n, 2): numbers of a core and of an object that
                 share a voxel
    """

    count: int
    sizes: np.ndarray
    boxes: np.ndarray
    first: Face | None = None
    last: Face | None = None
    originals: np.ndarray | None = None
    cores: SlabFacts | None = None
    overlaps: np.ndarray | None = None


class SlabSource(Protocol):
    """Source of the objects of a frame."""

    @property
    def shape(self) -> Voxels:
        """Shape of the frame."""

    def read(self, slab: Box) -> np.ndarray:
        """Read the data of a slab, for the other methods. For one thread."""

    def find(self, slab: Box, data: np.ndarray) -> SlabFacts:
        """Find the components of a slab."""

    def label(self, slab: Box, data: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Label a slab (z, y, x) uint32 with ``ids``, int64, indexed by the components' numbers in the slab."""

    def is_kept(self, sizes: np.ndarray) -> np.ndarray:
        """Compare the sizes of objects, or of cores, with those that are kept; bool."""


@frozen
class ComponentSource:
    """Connected components of equal values, as in ``label.label_components``.

    segmentation  reads the values (z, y, x) of a box, of type ``dtype``
    """

    segmentation: Read
    shape: Voxels
    dtype: Any
    backend: Backend

    def read(self, slab: Box) -> np.ndarray:
        """Read the values of a slab. Raises InputMismatch for values that are not real numbers."""
        check_segmentation(self.dtype)
        return self.segmentation(slab)

    def find(self, slab: Box, data: np.ndarray) -> SlabFacts:
        """Find the components of a slab."""
        return _find_components(self, slab, data)

    def label(self, slab: Box, data: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Label the components of a slab."""
        return _label_components(self.backend, data, lambda count: ids)[1]

    def is_kept(self, sizes: np.ndarray) -> np.ndarray:
        """Keep all objects."""
        return np.ones(len(sizes), np.bool_)


@frozen
class LabelSource(ComponentSource):
    """Values of a label image, connected or not, as in ``label.renumber_labels``."""

    def read(self, slab: Box) -> np.ndarray:
        """Read the values of a slab. Raises InputMismatch for values that are negative or not integers."""
        check_label_type(self.dtype)
        values = self.segmentation(slab)
        check_label_values(values, slab)
        return values

    def find(self, slab: Box, data: np.ndarray) -> SlabFacts:
        """Find the values of a slab."""
        numbers, originals = self._number(data)
        sizes, boxes = _measure_boxes(self, slab, numbers, len(originals))
        return SlabFacts(len(originals), sizes, boxes, originals=originals)

    def label(self, slab: Box, data: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Label the values of a slab."""
        labels: np.ndarray = ids.astype(np.uint32)[self._number(data)[0]]
        return labels

    def _number(self, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        table = self.backend.labels.new_value_table()
        numbers = np.zeros(data.shape, np.uint32)
        table.renumber(data, numbers)
        return numbers, table.originals.copy()


@frozen
class ThresholdSource:
    """Components above a threshold, as in ``threshold.threshold_frame`` for methods other than ipht.

    maps  reads the prediction maps (z, y, x, c) of a box
    """

    maps: Read
    thresholds: MapThresholds

    @property
    def shape(self) -> Voxels:
        """Shape of the frame."""
        return self.thresholds.shape

    @property
    def backend(self) -> Backend:
        """Backend of the thresholds."""
        return self.thresholds.backend

    def read(self, slab: Box) -> np.ndarray:
        """Read the maps of a slab and of the planes and rows that smoothing needs."""
        return self.maps(self.thresholds.source(slab))

    def find(self, slab: Box, data: np.ndarray) -> SlabFacts:
        """Find the components of a slab and, with two thresholds, of the cores."""
        limits = self.thresholds
        final, core = limits.smooth(slab, data)
        if not limits.has_cores:
            return _find_components(self, slab, limits.is_final(final))
        found, numbers = _find_numbers(self, slab, limits.is_final(final))
        cores, core_numbers = _find_numbers(self, slab, limits.is_core(core))
        both = (core_numbers > 0) & (numbers > 0)
        pairs = _unique_pairs(core_numbers[both], numbers[both])
        return SlabFacts(
            found.count, found.sizes, found.boxes, found.first, found.last, cores=cores, overlaps=np.stack(pairs, 1)
        )

    def label(self, slab: Box, data: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Label the components of a slab."""
        final, _ = self.thresholds.smooth(slab, data)
        return _label_components(self.backend, self.thresholds.is_final(final), lambda count: ids)[1]

    def is_kept(self, sizes: np.ndarray) -> np.ndarray:
        """Compare sizes with the limits of the project."""
        return self.thresholds.is_kept(sizes)


def _find_components(source: ComponentSource | ThresholdSource, slab: Box, values: np.ndarray) -> SlabFacts:
    return _find_numbers(source, slab, values)[0]


def _find_numbers(
    source: ComponentSource | ThresholdSource, slab: Box, values: np.ndarray
) -> tuple[SlabFacts, np.ndarray]:
    """Find the components of a slab, and the number of each voxel's."""
    part, numbers = _label_components(source.backend, values, lambda count: np.arange(count + 1))
    sizes, boxes = _measure_boxes(source, slab, numbers, part.count)
    axis = 0 if source.shape[0] > 1 else 1
    first, last = (_face(values, numbers, axis, place) for place in (slice(0, 1), slice(-1, None)))
    return SlabFacts(part.count, sizes, boxes, first, last), numbers


def _face(values: np.ndarray, numbers: np.ndarray, axis: int, place: slice) -> Face:
    at = (slice(None),) * axis + (place,)
    return Face.of(values[at], numbers[at])


def _label_components(
    backend: Backend, values: np.ndarray, ids: Callable[[int], np.ndarray]
) -> tuple[SlabComponents, np.ndarray]:
    """Find the components of a slab and write their ids, which depend on their number."""
    labels = np.zeros(values.shape, np.uint32)
    with Scratch(sys.maxsize) as memory:
        part = backend.labels.label_slab(values, memory)
        backend.labels.write_labels(part, ids(part.count), 0, labels)
    return part, labels


def _measure_boxes(
    source: ComponentSource | ThresholdSource, slab: Box, numbers: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Measure size and box of each component of a slab, (count,) int64 and (count, 6) int32."""
    if not count:
        return np.zeros(0, np.int64), np.zeros((0, 6), np.int32)
    operations = source.backend.objects
    plan = MeasurePlan(count, numbers.size, 2 if source.shape[0] == 1 else 3, 1, frozenset({"bounds"}))
    measurement = operations.start_measuring(plan)
    start = as_voxels(slab.start)
    operations.measure_slab(measurement, numbers, np.empty((*numbers.shape, 0), np.float32), start[:2], 0, 1)
    sizes = operations.measured(measurement)["count"][:, 0].astype(np.int64)
    return sizes, operations.object_boxes(measurement)


def _unique_pairs(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different pairs of numbers, uint32."""
    pairs = np.unique((a.astype(np.uint64) << np.uint64(_NUMBER_BITS)) | b)
    return (pairs >> np.uint64(_NUMBER_BITS)).astype(np.uint32), pairs.astype(np.uint32)

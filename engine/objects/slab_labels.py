"""Objects of a frame found slab by slab, without labels of the whole frame.

Slabs are whole planes of a volume, or rows of one plane. Each is labelled for itself; ``number_objects`` joins them in
order, and labels of any part are computed again where they are needed. Ids are those of ``label``: a slab's components
are numbered by their first voxel, slabs follow each other in scan order, and a union keeps the earlier component. So
the objects that begin in a slab, which the slab owns, have consecutive ids.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ...box import Box
from ...frozen import frozen
from ...kernels.contract import Backend, MeasurePlan, SlabComponents, Voxels, as_voxels
from ..resources import Resources
from ..storage.scratch import Scratch
from ..tiling.layers import Read
from ..tiling.stream import stream_tiles
from .label import LabelFrame, check_count, check_label_type, check_label_values, check_segmentation
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


@frozen(eq=False)
class SlabObjects:
    """Numbered objects of a frame.

    slabs        of the frame, in scan order
    ids          int64 by component, those of all slabs one after the other; bases: position of each slab's in it
    boxes        (objects, 6) int32: first and last + 1 voxel along z, y, x
    first_owned  id of the first object that each slab owns, then the last id + 1
    originals    (objects,) uint64: values of a label image; None for connected components
    """

    source: SlabSource
    slabs: Sequence[Box]
    ids: np.ndarray
    bases: Sequence[int]
    boxes: np.ndarray
    first_owned: np.ndarray
    originals: np.ndarray | None

    @property
    def count(self) -> int:
        """Number of objects."""
        return len(self.boxes)

    @property
    def axis(self) -> int:
        """Axis along which the frame is cut: 0 or, in one plane, 1."""
        return 0 if self.source.shape[0] > 1 else 1

    def label(self, index: int) -> np.ndarray:
        """Label a slab (z, y, x) uint32."""
        slab = self.slabs[index]
        ids = np.concatenate([[0], self.ids[self.bases[index] : self.bases[index + 1]]])
        return self.source.label(slab, self.source.read(slab), ids)

    def slabs_in(self, box: Box) -> range:
        """Numbers of the slabs that a box meets; all but the last one are of the same thickness."""
        axis, slabs = self.axis, self.slabs
        start, thickness = slabs[0].start[axis], slabs[0].shape[axis]
        stop = -(-(box.stop[axis] - start) // thickness)
        return range((box.start[axis] - start) // thickness, min(stop, len(slabs)))

    def ids_in(self, box: Box) -> SlabIds:
        """Select what labels in a box depend on."""
        met = self.slabs_in(box)
        first, last = met.start, met.stop
        base = self.bases[first]
        bases = tuple(each - base for each in self.bases[first : last + 1])
        return SlabIds(tuple(self.slabs[first:last]), self.ids[base : base + bases[-1]], bases)

    def frame(self, cache_bytes: int, dtype: Any) -> LabelFrame:
        """Labels of the frame, which take at most that much memory; dtype: of the original ids."""
        originals = None if self.originals is None else self.originals.astype(dtype)
        return LabelFrame(SlabLabels(self, cache_bytes), self.count, originals)


@frozen(eq=False)
class SlabIds:
    """Ids of the components of neighbouring slabs, as ``SlabObjects`` has them; can be pickled."""

    slabs: tuple[Box, ...]
    ids: np.ndarray
    bases: tuple[int, ...]

    def labels(self, source: SlabSource, cache_bytes: int) -> SlabLabels:
        """Labels of the slabs, for a frame whose other labels are unknown."""
        none = np.zeros(0, np.int64)
        objects = SlabObjects(source, self.slabs, self.ids, self.bases, none.reshape(0, 6), none, None)
        return SlabLabels(objects, cache_bytes)


class SlabLabels:
    """Labels (z, y, x) uint32 of a frame; those of a part are computed when the part is indexed, by one slice an axis.

    Slabs of the previous part are kept: all if they take at most ``cache_bytes``, else the last one.
    """

    def __init__(self, objects: SlabObjects, cache_bytes: int) -> None:
        self.objects, self._cache_bytes = objects, cache_bytes
        self._slabs: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()
        self.shape: tuple[int, ...] = tuple(objects.source.shape)

    def __getitem__(self, part: tuple[slice, ...]) -> np.ndarray:
        limits = [each.indices(n) for each, n in zip(part, self.shape, strict=True)]
        return self.read(Box(tuple(a for a, _, _ in limits), tuple(b for _, b, _ in limits)))

    def read(self, box: Box) -> np.ndarray:
        """Compute the labels of a box."""
        labels = np.empty(box.shape, np.uint32)
        slabs = self.objects.slabs
        met = self.objects.slabs_in(box)
        with self._lock:
            self._slabs = {i: slab for i, slab in self._slabs.items() if i in met}
            keeps = sum(slabs[i].size for i in met) * labels.itemsize <= self._cache_bytes
            for i in met:
                slab = self._slabs[i] if i in self._slabs else self.objects.label(i)
                if not keeps:
                    self._slabs.clear()
                self._slabs[i] = slab
                common = slabs[i].intersect(box)
                labels[common.relative_to(box.start).slices()] = slab[common.relative_to(slabs[i].start).slices()]
        return labels


def find_objects(source: SlabSource, slabs: Sequence[Box], resources: Resources) -> SlabObjects:
    """Find and number the objects of a frame that is cut into slabs. Raises InputMismatch for too many objects."""
    numbering = ObjectNumbering(source, resources.backend)
    stream_tiles(
        range(len(slabs)),
        lambda index: source.read(slabs[index]),
        lambda index, data: numbering.add(index, source.find(slabs[index], data)),
        threads=resources.threads,
    )
    return numbering.number(slabs)


class ObjectNumbering:
    """Numbering of the objects of a frame: ``add`` the facts about every slab, in any order, then ``number``."""

    def __init__(self, source: SlabSource, backend: Backend) -> None:
        self._source = source
        self._objects, self._cores = _Joined(backend), _Joined(backend)
        self._overlaps: list[np.ndarray] = []
        self._waiting: dict[int, SlabFacts] = {}
        self._count = 0
        self._lock = threading.Lock()

    def add(self, index: int, facts: SlabFacts) -> None:
        """Take the facts about a slab; from any thread."""
        with self._lock:
            self._waiting[index] = facts
            while (following := self._waiting.pop(self._count, None)) is not None:
                self._join(following)
                self._count += 1

    def _join(self, facts: SlabFacts) -> None:
        """Join the components of the next slab with those of the slab before."""
        if facts.cores is not None and facts.overlaps is not None:
            bases = [self._cores.bases[-1], self._objects.bases[-1]]
            self._overlaps.append(facts.overlaps.astype(np.int64) + bases)
            self._cores.add(facts.cores)
        self._objects.add(facts)

    def number(self, slabs: Sequence[Box]) -> SlabObjects:
        """Assign ids. Raises InputMismatch for more objects than ids."""
        joined = self._objects
        ids, count = joined.number()
        keep = self._source.is_kept(joined.sizes(ids, count)) & self._find_cored(ids, count)
        keep[0] = False
        ids, count = np.where(keep, np.cumsum(keep), 0)[ids], int(keep.sum())
        check_count(count)
        boxes = joined.boxes(ids, count)
        ends = [
            int(ids[a + 1 : b + 1].max(initial=0)) for a, b in zip(joined.bases[:-1], joined.bases[1:], strict=True)
        ]
        owned = np.maximum.accumulate([0, *ends]) + 1
        originals = None if joined.table is None else joined.table.originals.copy()
        return SlabObjects(self._source, slabs, ids[1:], joined.bases, boxes, owned, originals)

    def _find_cored(self, ids: np.ndarray, count: int) -> np.ndarray:
        """Mark the objects that share a voxel with a core that is kept, (count + 1,) bool; all if none needs a core."""
        if not self._overlaps:
            return np.ones(count + 1, np.bool_)
        core_ids, cores = self._cores.number()
        keep = self._source.is_kept(self._cores.sizes(core_ids, cores))
        keep[0] = False
        overlaps = np.concatenate(self._overlaps)
        marks = np.zeros(count + 1, np.bool_)
        marks[ids[overlaps[keep[core_ids[overlaps[:, 0]]], 1]]] = True
        return marks


class _Joined:
    """Components of one kind of the slabs added so far."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._facts: list[tuple[np.ndarray, np.ndarray]] = []
        self._pairs: list[tuple[int, np.ndarray, int, np.ndarray]] = []
        self._last: Face | None = None
        self._found: list[np.ndarray] = []
        self.bases = [0]
        self.table: Any = None

    def add(self, facts: SlabFacts) -> None:
        if facts.originals is not None:
            if self.table is None:
                self.table = self._backend.labels.new_value_table()
            found = np.zeros(facts.count, np.uint32)
            self.table.renumber(facts.originals, found)
            self._found.append(found)
        elif self._last is not None and facts.first is not None:
            a, b = self._last.join(facts.first)
            self._pairs.append((self.bases[-2], a, self.bases[-1], b))
        self._last = facts.last
        self._facts.append((facts.sizes, facts.boxes))
        self.bases.append(self.bases[-1] + facts.count)

    def number(self) -> tuple[np.ndarray, int]:
        """Return the id of each component, int64 with 0 for the background first, and the number of ids."""
        if self.table is not None:
            return np.concatenate([[0], *self._found]).astype(np.int64), len(self.table.originals)
        ids = np.arange(self.bases[-1] + 1)
        for base_a, a, base_b, b in self._pairs:
            self._backend.labels.unite(ids, base_a, a, base_b, b)
        return ids, self._backend.labels.number_components(ids)

    def sizes(self, ids: np.ndarray, count: int) -> np.ndarray:
        """Sum the sizes by id, (count + 1,) int64; 0 for the background."""
        sizes = np.zeros(count + 1, np.int64)
        np.add.at(sizes, ids[1:], np.concatenate([each for each, _ in self._facts]))
        sizes[0] = 0
        return sizes

    def boxes(self, ids: np.ndarray, count: int) -> np.ndarray:
        """Unite the boxes by id, (count, 6) int32."""
        boxes = np.concatenate([each for _, each in self._facts])
        united = np.empty((count + 1, 6), np.int32)
        united[:, :3], united[:, 3:] = np.iinfo(np.int32).max, 0
        np.minimum.at(united[:, :3], ids[1:], boxes[:, :3])
        np.maximum.at(united[:, 3:], ids[1:], boxes[:, 3:])
        return united[1:]


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

"""Objects of a frame found slab by slab, without labels of the whole frame.

Each slab is labelled for itself (``slab_sources``); ``ObjectNumbering`` joins them in order, and labels of any part are
computed again where they are needed. Ids are those of ``label``: a slab's components are numbered by their first voxel,
slabs follow each other in scan order, and a union keeps the earlier component. So the objects that begin in a slab,
which the slab owns, have consecutive ids.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...box import Box
from ...frozen import frozen
from ...kernels.contract import Backend, Voxels
from ..resources import Resources
from ..tiling.stream import stream_tiles
from .label import LabelFrame, check_count
from .slab_sources import Face, SlabFacts, SlabSource


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
    def shape(self) -> Voxels:
        """Sizes of the frame along z, y, x."""
        return self.source.shape

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

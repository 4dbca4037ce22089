"""Labelling of the objects of a frame: connected components, or the values of a label image.

A frame is processed in slabs of whole planes or rows, by any number of threads; the result depends on neither.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, Protocol

import numpy as np

from ...box import Box
from ...frozen import frozen
from ...kernels.contract import Backend, SlabComponents
from ..errors import InputMismatch
from ..resources import Resources
from ..storage.scratch import Scratch
from ..tiling.layers import Read
from ..tiling.plan import READ_AHEAD
from ..tiling.stream import stream_tiles

MAX_OBJECTS = (1 << 32) - 1  # ids are uint32, 0 is background
# All slabs in work take at most 1 / SLAB_SHARE of the memory budget; slabs above the maximum gain nothing, and they are
# not cut below the minimum for the sake of parallel work.
SLAB_SHARE = 4
MAX_SLAB_VOXELS = 1 << 24
MIN_SHARED_SLAB_VOXELS = 1 << 20
_RUN_BYTES = 12  # a run as the kernels store it, at most one per voxel


class Labels(Protocol):
    """Labels (z, y, x) uint32 of a frame: an array, or an object that computes the part it is indexed with."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the frame."""

    def __getitem__(self, part: tuple[slice, ...], /) -> np.ndarray:
        """Return a part."""


@frozen
class LabelFrame:
    """Objects of one frame.

    labels        (z, y, x) uint32, 0 is background; possibly mapped from a file
    count         ids are 1..count, by first voxel in scan order
    original_ids  (count,) in the label image's dtype: original value of each id; None for connected components
    """

    labels: Labels
    count: int
    original_ids: np.ndarray | None = None


def plan_slabs(shape: Sequence[int], voxels: int) -> list[Box]:
    """Cut a frame (z, y, x) into slabs of about ``voxels``, in scan order: whole planes, or rows of one plane."""
    depth, height, width = shape
    planes = voxels // max(1, height * width)
    if planes >= 1:
        return list(Box.whole(shape).split((_even(depth, planes), height, width)))
    return list(Box.whole(shape).split((1, _even(height, max(1, voxels // max(1, width))), width)))


def cut_frame(shape: Sequence[int], thickness: int) -> list[Box]:
    """Cut a frame (z, y, x) into slabs of that many planes or, if it has only one plane, rows."""
    depth, height, width = shape
    return list(Box.whole(shape).split((thickness, height, width) if depth > 1 else (1, thickness, width)))


def slab_voxels(shape: Sequence[int], bytes_per_voxel: float, *, memory_bytes: int, threads: int) -> int:
    """Number of voxels for a slab whose voxels need that much memory each while it is in work."""
    in_work = threads + (READ_AHEAD if threads > 1 else 0)
    fitting = int(memory_bytes / SLAB_SHARE / in_work / max(bytes_per_voxel, 1e-9))
    shared = max(MIN_SHARED_SLAB_VOXELS, -(-prod(shape) // (2 * threads))) if threads > 1 else MAX_SLAB_VOXELS
    return max(1, min(fitting, shared, MAX_SLAB_VOXELS))


def label_components(
    read: Read,
    shape: Sequence[int],
    dtype: Any,
    *,
    resources: Resources,
    scratch: Scratch,
    voxels: int | None = None,
) -> LabelFrame:
    """Number the connected components of equal value; 0 is background.

    read    reads the values (z, y, x) of a box; called from this thread, in scan order
    voxels  number in a slab; default: as the scratch's budget allows. It never changes the result
    Voxels are neighbours if they share a face: 4 neighbours in a frame of one plane, else 6. Raises InputMismatch for
    values that are not real numbers, and for more than 2^32 - 1 components.
    """
    kind = check_segmentation(dtype)
    threads = resources.threads
    if voxels is None:
        voxels = slab_voxels(shape, kind.itemsize + _RUN_BYTES, memory_bytes=scratch.memory_bytes, threads=threads)
    slabs = plan_slabs(shape, voxels)
    with FrameComponents(shape, slabs, backend=resources.backend, scratch=scratch) as components:
        stream_tiles(range(len(slabs)), lambda i: read(slabs[i]), components.add, threads=threads)
        count = components.number()
        return LabelFrame(components.write(threads=threads), count)


def renumber_labels(
    read: Read,
    shape: Sequence[int],
    dtype: Any,
    *,
    resources: Resources,
    scratch: Scratch,
    voxels: int | None = None,
) -> LabelFrame:
    """Number the values of a label image by their first voxel in scan order; 0 stays background.

    Voxels of one value are one object, connected or not. For the arguments see ``label_components``. Raises
    InputMismatch for values that are not integers, or negative.
    """
    kind = check_label_type(dtype)
    if voxels is None:
        voxels = slab_voxels(shape, kind.itemsize, memory_bytes=scratch.memory_bytes, threads=1)
    table = resources.backend.labels.new_value_table()
    z, y, x = shape
    labels = scratch.array((z, y, x), np.uint32)
    for slab, values in _read_ahead(plan_slabs(shape, voxels), read, resources.threads):
        check_label_values(values, slab)
        table.renumber(values, labels[slab.slices()])
        check_count(len(table.originals))
    return LabelFrame(labels, len(table.originals), table.originals.astype(kind))


def check_segmentation(dtype: Any) -> np.dtype[Any]:
    """Return the type of a segmentation. Raises InputMismatch unless it holds real numbers."""
    kind: np.dtype[Any] = np.dtype(dtype)
    if kind.kind not in "biuf" or kind.itemsize > 8:
        raise InputMismatch(
            f"a segmentation of type {kind} cannot be split into objects; store it as uint8, uint32 or float32"
        )
    return kind


def check_label_type(dtype: Any) -> np.dtype[Any]:
    """Return the type of a label image. Raises InputMismatch unless it holds integers."""
    kind: np.dtype[Any] = np.dtype(dtype)
    if kind.kind not in "iu":
        raise InputMismatch(f"a label image must hold integers, not {kind}; store its ids as uint8, uint16 or uint32")
    return kind


def check_label_values(values: np.ndarray, slab: Box) -> None:
    """Raise InputMismatch if a slab of a label image contains negative ids."""
    if values.dtype.kind == "i" and values.min() < 0:
        place = tuple(a + int(b) for a, b in zip(slab.start, np.argwhere(values < 0)[0], strict=True))
        raise InputMismatch(
            f"a label image must not hold negative ids, but there is {int(values.min())}; "
            f"the first one stands at (z, y, x) = {place}"
        )


class FrameComponents:
    """Connected components of one frame, collected slab by slab from any thread and in any order.

    ``add`` every slab, as ``plan_slabs`` cuts the frame, then ``number`` them, then use the other methods.
    A context manager: leaving it frees its memory except the array returned by ``write``.
    """

    def __init__(self, shape: Sequence[int], slabs: Sequence[Box], *, backend: Backend, scratch: Scratch) -> None:
        self._shape, self._slabs, self._backend = tuple(shape), slabs, backend
        self._scratch = _Owned(scratch)
        self._returned = scratch
        self._columns = sum(slab.start[0] == 0 for slab in slabs)  # slabs of one plane, which is cut into rows
        self._lock = threading.Lock()
        self._parts: list[SlabComponents | None] = [None] * len(slabs)
        self._faces: dict[int, _Faces] = {}
        self._bases: list[int] = []  # of the joined slabs: their ids are base + 1, base + 2, …
        self._total = 0
        self.ids = self._scratch.array((1024,), np.int64)

    def __enter__(self) -> FrameComponents:
        return self

    def __exit__(self, *error: object) -> None:
        self._scratch.free_all()

    def add(self, index: int, values: np.ndarray) -> None:
        """Label slab ``index`` with the values (z, y, x)."""
        part = self._backend.labels.label_slab(values, self._scratch)
        faces = self._cut_faces(index, values)
        with self._lock:
            self._parts[index], self._faces[index] = part, faces
            while len(self._bases) < len(self._slabs) and self._parts[len(self._bases)] is not None:
                self._join(len(self._bases))

    def number(self) -> int:
        """Assign the final ids, 1, 2, … by order of first voxel in scan order; returns the number of components."""
        self.ids = self.ids[: self._total + 1]
        count = self._backend.labels.number_components(self.ids)
        check_count(count)
        return count

    def sizes(self, count: int) -> np.ndarray:
        """Number of voxels of each component, (count + 1,) int64; 0 for the background."""
        sizes = self._scratch.array((count + 1,), np.int64)
        for part, base in self._numbered():
            self._backend.labels.add_sizes(part, self.ids, base, sizes)
        return sizes

    def keep_only(self, keep: np.ndarray) -> None:
        """Drop the components with keep[id] = False; the others keep their ids."""
        self._backend.labels.drop_ids(self.ids, keep)

    def mark_overlaps(self, others: FrameComponents, marks: np.ndarray) -> None:
        """Set marks[id], uint8, for components of ``others`` that share a voxel with one of these.

        Both have the same slabs; dropped components are ignored.
        """
        for (a, base_a), (b, base_b) in zip(self._numbered(), others._numbered(), strict=True):
            self._backend.labels.mark_overlaps(a, self.ids, base_a, b, others.ids, base_b, marks)

    def write(self, *, threads: int) -> np.ndarray:
        """Write the ids of all voxels to a new array of the scratch, (z, y, x) uint32."""
        labels = self._returned.array(self._shape, np.uint32)

        def write_slab(index: int, part: SlabComponents) -> None:
            self._backend.labels.write_labels(part, self.ids, self._bases[index], labels[self._slabs[index].slices()])

        stream_tiles(range(len(self._slabs)), self._part, write_slab, threads=threads)
        return labels

    def _part(self, index: int) -> SlabComponents:
        part = self._parts[index]
        assert part is not None
        return part

    def _numbered(self) -> Iterator[tuple[SlabComponents, int]]:
        return ((self._part(i), base) for i, base in enumerate(self._bases))

    def _cut_faces(self, index: int, values: np.ndarray) -> _Faces:
        """Copy the outer planes and rows that touch another slab."""
        slab = self._slabs[index]
        above, below = slab.start[0] > 0, slab.stop[0] < self._shape[0]
        before, after = slab.start[1] > 0, slab.stop[1] < self._shape[1]
        return _Faces(
            values[:1].copy() if above else None,
            values[-1:].copy() if below else None,
            values[:1, :1].copy() if before else None,
            values[-1:, -1:].copy() if after else None,
        )

    def _join(self, index: int) -> None:
        """Assign ids to a slab and join its components with those of earlier slabs. The caller holds the lock."""
        base, part, faces = self._total, self._part(index), self._faces[index]
        self._make_room(base + part.count + 1)
        self.ids[base + 1 : base + part.count + 1] = np.arange(base + 1, base + part.count + 1)
        self._bases.append(base)
        self._total += part.count
        if faces.first_row is not None:
            self._unite(index - 1, index, 1, self._faces[index - 1].last_row, faces.first_row)
            self._faces[index - 1].last_row = None
        if faces.first_plane is not None:
            other = index - self._columns
            self._unite(other, index, 0, self._faces[other].last_plane, faces.first_plane)
            del self._faces[other]
        faces.first_plane = faces.first_row = None

    def _unite(self, a: int, b: int, axis: int, values_a: np.ndarray | None, values_b: np.ndarray) -> None:
        assert values_a is not None
        numbers = self._backend.labels.join_slabs(self._part(a), self._part(b), axis, values_a, values_b)
        self._backend.labels.unite(self.ids, self._bases[a], numbers[0], self._bases[b], numbers[1])

    def _make_room(self, size: int) -> None:
        if size <= len(self.ids):
            return
        longer = self._scratch.array((max(size, 2 * len(self.ids)),), np.int64)
        longer[: self._total + 1] = self.ids[: self._total + 1]
        self._scratch.free(self.ids)
        self.ids = longer


@dataclass
class _Faces:
    """Values of a slab's outer planes and rows, kept until they are compared with their neighbours'."""

    first_plane: np.ndarray | None
    last_plane: np.ndarray | None
    first_row: np.ndarray | None
    last_row: np.ndarray | None


class _Owned:
    """Arrays of a scratch that one owner frees together."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._arrays: dict[int, np.ndarray] = {}

    def array(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        made = self._scratch.array(shape, dtype)
        self._arrays[id(made)] = made
        return made

    def free(self, array: np.ndarray) -> None:
        self._arrays.pop(id(array), None)
        self._scratch.free(array)

    def free_all(self) -> None:
        for array in list(self._arrays.values()):
            self.free(array)


def _read_ahead(slabs: Sequence[Box], read: Read, threads: int) -> Iterator[tuple[Box, np.ndarray]]:
    """Yield (slab, values) in order; with more than one thread the next slab is read while this one is used."""
    if threads <= 1:
        yield from ((slab, read(slab)) for slab in slabs)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="read") as pool:
        coming = [pool.submit(read, slab) for slab in slabs[:1]]
        for i, slab in enumerate(slabs):
            values = coming.pop().result()
            coming += [pool.submit(partial(read, after)) for after in slabs[i + 1 : i + 2]]
            yield slab, values


def check_count(count: int) -> None:
    """Raise InputMismatch for more objects than ids."""
    if count > MAX_OBJECTS:
        raise InputMismatch(
            f"a frame has {count} objects, more than the {MAX_OBJECTS} that 32-bit ids can tell apart; "
            "process a part of it at a time"
        )


def _even(n: int, size: int) -> int:
    """Size of the largest part when n is cut evenly into parts of at most ``size``."""
    return -(-n // max(1, -(-n // size)))

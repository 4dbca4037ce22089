"""Fast path for reading HDF5 datasets: uncompressed data with a single copy, gzip chunks decompressed in parallel.

HDF5 copies a chunk into its cache and from there row by row, and decompresses one chunk at a time. Offsets are queried
from HDF5; datasets and chunks with unusual layouts are read by HDF5 itself.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import product
from math import ceil, prod
from operator import floordiv, mod
from pathlib import Path
from typing import NamedTuple, Protocol

import h5py  # type: ignore[import-untyped]  # ships neither stubs nor a py.typed marker
import numpy as np

from ....box import Box
from ...storage.chunks import cut_range
from ...storage.file_reads import OpenFile
from ...storage.thread_limit import thread_limit

__all__ = ["KnownArray", "VoxelSource", "open_known", "open_voxels"]

_MIN_CHUNK_BYTES = 16 * 2**10  # below it, HDF5 reads a chunk faster than Python finds it
_MAX_CHUNK_BYTES = 64 * 2**20  # above it, two decompressed chunks are more than HDF5 would hold
_CACHE_BYTES = 64 * 2**20  # decompressed chunks that neighbouring tiles share
_MAX_PLACES = 1_000_000  # of chunks, looked up beforehand in some seconds
_MAX_WORKERS = 8
_DEFLATE, _SHUFFLE = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE


class VoxelSource(Protocol):
    """Reader of the voxels of a dataset. Several threads may read at once."""

    def read(self, box: Box) -> np.ndarray:
        """Read the voxels of a box, in either byte order. Raises InputError and h5py's exceptions."""

    def close(self) -> None:
        """Close it; may be called twice."""

    @property
    def known(self) -> KnownArray | None:
        """Return a record for reopening the dataset without HDF5; None if that is not possible."""


def open_voxels(dataset: h5py.Dataset, label: str) -> VoxelSource:
    """Choose the fastest reader of a checked dataset. Raises h5py's exceptions."""
    slow = _Plain(dataset)
    if _has_few_addresses():
        return slow
    if dataset.dtype.kind not in "iuf" or dataset.id.get_type() != h5py.h5t.py_create(dataset.dtype):
        return slow  # enumerations, and numbers of odd precision, which HDF5 converts
    if dataset.file.userblock_size or dataset.is_virtual or dataset.external:
        return slow
    settings = dataset.id.get_create_plist()
    if settings.get_layout() == h5py.h5d.CONTIGUOUS:
        with suppress(OSError):  # no more files can be opened
            return _open_contiguous(dataset, label) or slow
        return slow
    if settings.get_layout() != h5py.h5d.CHUNKED:
        return slow
    size = prod(dataset.chunks) * dataset.dtype.itemsize
    filters = [settings.get_filter(i)[0] for i in range(settings.get_nfilters())]
    if not filters and size >= _MIN_CHUNK_BYTES and hasattr(dataset.id, "chunk_iter") and dataset.size:
        if prod(_count_chunks(dataset)) > _MAX_PLACES:
            return slow
        with suppress(OSError):
            return _StoredChunks(dataset, label, slow)
        return slow
    if filters in ([_DEFLATE], [_SHUFFLE, _DEFLATE]) and _MIN_CHUNK_BYTES <= size <= _MAX_CHUNK_BYTES:
        return _PackedChunks(dataset, slow, is_shuffled=_SHUFFLE in filters)
    return slow


class KnownArray(NamedTuple):
    """Offset of a contiguous dataset in a file, valid while the file is in this state (see ``_state_of``)."""

    path: Path
    state: tuple[int, ...]
    start: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def changed_ns(self) -> int:
        """Time of the file's last change, in nanoseconds since 1970."""
        return max(self.state[-2:])


def open_known(known: KnownArray, label: str) -> VoxelSource | None:
    """Reopen a dataset without HDF5; None if the file has changed."""
    try:
        content = OpenFile(known.path, label)
    except OSError:
        return None
    if _state_of(content.status) == known.state:
        return _StoredArray(content, known)
    content.close()
    return None


def _has_few_addresses() -> bool:
    """Return True under a limit on the address space (``ulimit -v``), of which every thread reserves a part."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return False
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


class _Plain:
    """Reader that uses HDF5 itself."""

    known = None

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset

    def read(self, box: Box) -> np.ndarray:
        voxels: np.ndarray = self._dataset[box.slices()]
        return voxels

    def close(self) -> None:
        """Do nothing: the opener of the file closes it."""


def _state_of(status: os.stat_result) -> tuple[int, ...]:
    """Numbers that change if a file is replaced, written to, or truncated; its times are the last."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _open_contiguous(dataset: h5py.Dataset, label: str) -> _StoredArray | None:
    """Open a contiguous dataset; None if it was never written or the file is truncated, which is left to HDF5."""
    start = dataset.id.get_offset()
    if start is None or not dataset.size:
        return None
    path = Path(dataset.file.filename)
    content = OpenFile(path, label)
    if start + dataset.size * dataset.dtype.itemsize <= content.size:
        return _StoredArray(content, KnownArray(path, _state_of(content.status), start, dataset.shape, dataset.dtype))
    content.close()
    return None


class _StoredArray:
    """Reader of a contiguous dataset."""

    def __init__(self, content: OpenFile, known: KnownArray) -> None:
        self.known = known
        self._content = content

    def read(self, box: Box) -> np.ndarray:
        return self._content.read_box(self.known.start, self.known.shape, self.known.dtype, box)

    def close(self) -> None:
        self._content.close()


_Slices = tuple[slice, ...]
_Piece = tuple[
    tuple[int, ...], _Slices, _Slices
]  # first voxel of a chunk, position of the part in the box, and in the chunk


class _Chunks:
    """Reader of a chunked dataset, assembled from pieces of its chunks."""

    known = None

    def __init__(self, dataset: h5py.Dataset, slow: _Plain) -> None:
        self._dataset, self._slow = dataset, slow
        self._shape, self._chunks = dataset.shape, dataset.chunks
        self._stored = dataset.dtype
        self._native = dataset.dtype.newbyteorder("=")
        self._chunk_bytes = prod(self._chunks) * self._stored.itemsize

    def _pieces(self, box: Box) -> Iterator[_Piece]:
        """Split a box into parts within one chunk each."""
        # A small tile has ten or more: tuples, since boxes took most of the time.
        for steps in product(*map(cut_range, box.start, box.stop, self._chunks)):
            corner, target, inside = zip(*steps, strict=True)
            yield corner, target, inside


def _in_image(corner: tuple[int, ...], inside: _Slices) -> Box:
    """Convert a part of a chunk to a box of the image."""
    return Box(
        tuple(c + s.start for c, s in zip(corner, inside, strict=True)),
        tuple(c + s.stop for c, s in zip(corner, inside, strict=True)),
    )


class _StoredChunks(_Chunks):
    """Reader of uncompressed chunks."""

    def __init__(self, dataset: h5py.Dataset, label: str, slow: _Plain) -> None:
        super().__init__(dataset, slow)
        self._content = OpenFile(Path(dataset.file.filename), label)
        self._places: np.ndarray | None = None
        self._lock = threading.Lock()

    def read(self, box: Box) -> np.ndarray:
        with self._lock:
            if self._places is None:
                self._places = self._find_places()
            places = self._places
        result = np.empty(box.shape, self._stored)
        for corner, target, inside in self._pieces(box):
            place = int(places[tuple(map(floordiv, corner, self._chunks))])
            if place < 0:
                result[target] = self._slow.read(_in_image(corner, inside))
                continue
            part = Box(tuple(s.start for s in inside), tuple(s.stop for s in inside))
            self._content.copy_box(place, self._chunks, part, result[target])
        return result

    def close(self) -> None:
        self._content.close()

    def _find_places(self) -> np.ndarray:
        """Find the offset of each chunk in one pass; -1 for one that is not complete in the file."""
        places = np.full(_count_chunks(self._dataset), -1, np.int64)
        end = self._content.size

        def note(chunk: h5py.h5d.StoreInfo) -> None:
            is_whole = chunk.size == self._chunk_bytes and chunk.byte_offset + chunk.size <= end
            is_inside = all(0 <= c < n for c, n in zip(chunk.chunk_offset, self._shape, strict=True))
            if is_whole and is_inside and not any(map(mod, chunk.chunk_offset, self._chunks)):
                places[tuple(map(floordiv, chunk.chunk_offset, self._chunks))] = chunk.byte_offset

        self._dataset.id.chunk_iter(note)
        return places


def _count_chunks(dataset: h5py.Dataset) -> tuple[int, ...]:
    return tuple(ceil(n / c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))


class _PackedChunks(_Chunks):
    """Reader of chunks compressed by the gzip filter, with or without shuffle before it."""

    def __init__(self, dataset: h5py.Dataset, slow: _Plain, *, is_shuffled: bool) -> None:
        super().__init__(dataset, slow)
        self._is_shuffled = is_shuffled
        self._unpacked: OrderedDict[tuple[int, ...], np.ndarray] = OrderedDict()
        self._pending: dict[tuple[int, ...], Future[np.ndarray]] = {}
        self._most_unpacked = max(1, _CACHE_BYTES // self._chunk_bytes)
        self._lock = threading.Lock()
        workers = min(_MAX_WORKERS, thread_limit() or os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="unpack") if workers > 1 else None

    def read(self, box: Box) -> np.ndarray:
        result = np.empty(box.shape, self._native)
        pieces = list(self._pieces(box))
        # No more at once than the cache holds: a large box is decompressed part by part.
        for first in range(0, len(pieces), self._most_unpacked):
            some = pieces[first : first + self._most_unpacked]
            for (_, target, inside), chunk in zip(some, self._unpack([c for c, _, _ in some]), strict=True):
                result[target] = chunk[inside]
        return result

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True)
        self._unpacked.clear()

    def _unpack(self, corners: list[tuple[int, ...]]) -> list[np.ndarray]:
        """Get chunks by their first voxel: from the cache, from another thread, or decompressed in parallel."""
        with self._lock:
            found = {c: self._unpacked[c] for c in corners if c in self._unpacked}
            for corner in found:
                self._unpacked.move_to_end(corner)
            awaited = {c: self._pending[c] for c in corners if c in self._pending}
            absent = {c: Future[np.ndarray]() for c in corners if c not in found and c not in awaited}
            self._pending.update(absent)
        if absent:
            found.update(self._unpack_absent(absent))
        found.update((corner, future.result()) for corner, future in awaited.items())
        return [found[c] for c in corners]

    def _unpack_absent(self, absent: dict[tuple[int, ...], Future[np.ndarray]]) -> dict[tuple[int, ...], np.ndarray]:
        """Decompress chunks for this and other threads."""
        try:
            if self._pool is None or len(absent) == 1:
                made = [self._unpack_one(c) for c in absent]
            else:
                made = list(self._pool.map(self._unpack_one, absent))
        except BaseException as error:
            with self._lock:
                for corner, future in absent.items():
                    del self._pending[corner]
                    future.set_exception(error)
            raise
        with self._lock:
            for (corner, future), chunk in zip(absent.items(), made, strict=True):
                del self._pending[corner]
                future.set_result(chunk)
                self._unpacked[corner] = chunk
            while len(self._unpacked) > self._most_unpacked:
                self._unpacked.popitem(last=False)
        return dict(zip(absent, made, strict=True))

    def _unpack_one(self, corner: tuple[int, ...]) -> np.ndarray:
        from isal import isal_zlib

        # A chunk that is missing, stored without the filters, or damaged: HDF5 reads it or reports the error.
        with suppress(Exception):
            skipped, packed = self._dataset.id.read_direct_chunk(corner)
            inflate = isal_zlib.decompressobj()
            # One byte beyond the chunk's size reveals damage without decompressing everything.
            content = b"" if skipped else inflate.decompress(packed, self._chunk_bytes + 1)
            if inflate.eof and len(content) == self._chunk_bytes:
                ordered = self._in_order(np.frombuffer(content, np.uint8))
                unpacked: np.ndarray = ordered.view(self._stored).reshape(self._chunks)
                return unpacked
        inside = Box(corner, tuple(c + n for c, n in zip(corner, self._chunks, strict=True))).clip(self._shape)
        chunk = np.zeros(self._chunks, self._native)
        chunk[inside.relative_to(corner).slices()] = self._slow.read(inside)
        return chunk

    def _in_order(self, content: np.ndarray) -> np.ndarray:
        """Undo the shuffle filter, which stores all first bytes of voxels, then all second ones."""
        size = self._stored.itemsize
        if not self._is_shuffled or size == 1:
            return content
        ordered = np.empty_like(content)
        for index, plane in enumerate(content.reshape(size, -1)):
            ordered[index::size] = plane
        return ordered

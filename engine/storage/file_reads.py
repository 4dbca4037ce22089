"""Reads of files by position, and of regions of uncompressed arrays in them.

Memory maps are not used: accessing a mapped page that is gone, because the file was truncated, ends the process with
SIGBUS. A short read is an error of one input.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from operator import eq, mul, sub
from pathlib import Path

import numpy as np

from ...box import Box
from ..errors import InputError

__all__ = ["FilePool", "OpenFile"]

_GAP_BYTES = 16 * 2**10  # between two parts of a region: read too, which takes no longer than another call
_BUFFER_BYTES = 2**20  # read at once where there are gaps; fits into the second-level cache
_SMALL_BYTES = 4 * 2**20  # an array of at most so many, such as a chunk, is read whole where there are gaps
_WIDE_BYTES = 32 * 2**20  # of a region that is read wider than requested
_KEPT_BYTES = 64 * 2**20  # of such regions, for the neighbouring tiles
_MAX_OPEN = 32  # files of a set
_buffers = threading.local()


class OpenFile:
    """File that is read from several threads at once.

    label  for messages
    size   in bytes, when the file was opened
    kept   cache shared with other files, so that together they keep no more than one does alone
    Raises OSError if it cannot be opened.
    """

    def __init__(self, path: Path, label: str, kept: _KeptRegions | None = None) -> None:
        self._path, self._label, self._lock = path, label, threading.Lock()
        self._kept = _KeptRegions() if kept is None else kept
        self._descriptor = -1
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
        self.status = os.fstat(self._descriptor)
        self.size = self.status.st_size

    def read(self, start: int, size: int) -> bytes:
        """Read bytes. Raises InputError if the file is too short, or was closed."""
        content = bytearray(size)
        self._fill(start, memoryview(content))
        return bytes(content)

    def read_box(self, start: int, shape: Sequence[int], dtype: np.dtype, box: Box) -> np.ndarray:
        """Read a region of a C-ordered array that begins at byte ``start``, as a new array in native byte order."""
        result = np.empty(box.shape, dtype)
        self.copy_box(start, shape, box, result)
        return result if dtype.isnative else result.byteswap(inplace=True).view(dtype.newbyteorder("="))

    def copy_box(self, start: int, shape: Sequence[int], box: Box, into: np.ndarray) -> None:
        """Read a region into an array of the box's shape and the stored type, byte order included.

        Raises InputError if the file ends before the region, or was closed.
        """
        sides = into.shape
        if not into.size:
            return
        strides = [into.itemsize] * len(shape)
        for axis in range(len(shape) - 1, 0, -1):
            strides[axis - 1] = strides[axis] * shape[axis]
        if into.nbytes <= _BUFFER_BYTES and _is_one_run(shape, sides):  # most parts of small chunks
            buffer = _buffer(into.nbytes)[: into.nbytes]
            self._fill(start + sum(map(mul, box.start, strides)), buffer.data)
            into[...] = buffer.view(into.dtype).reshape(sides)
            return
        level = _choose_level(shape, box, strides, is_contiguous=into.flags.c_contiguous)
        if all(map(eq, sides[level + 1 :], shape[level + 1 :])):
            self._copy_pieces(start, shape, box, into, strides, level)
            return
        # Bytes in the gaps are read anyway, and the next tile needs them: kept, they are read once.
        kept = self._kept.find((self._path, start), box)
        if kept is None:
            wide = _widen(shape, box, strides)
            if wide == box:
                self._copy_pieces(start, shape, box, into, strides, level)
                return
            voxels = np.empty(wide.shape, into.dtype)
            level = _choose_level(shape, wide, strides, is_contiguous=True)
            self._copy_pieces(start, shape, wide, voxels, strides, level)
            kept = wide, voxels
            self._kept.add((self._path, start), wide, voxels)
        into[...] = kept[1][box.relative_to(kept[0].start).slices()]

    def _copy_pieces(
        self, start: int, shape: Sequence[int], box: Box, into: np.ndarray, strides: Sequence[int], level: int
    ) -> None:
        """Copy one piece for every position along the axes before ``level``: rows along ``level``, whole after it."""
        rows = Box(box.start[level:], box.stop[level:])
        for place in product(*map(range, box.start[:level], box.stop[:level])):
            first = start + sum(map(mul, place, strides))
            target = into[tuple(map(sub, place, box.start))]
            self._copy_piece(first, shape[level:], rows, strides[level], target)

    def _copy_piece(self, start: int, shape: Sequence[int], box: Box, stride: int, into: np.ndarray) -> None:
        """Copy one span of the file, in parts of the buffer's size where it cannot be read into place."""
        first, last = box.start[0], box.stop[0]
        if box.shape[1:] == tuple(shape[1:]) and into.flags.c_contiguous:
            self._fill(start + first * stride, into.reshape(-1).view(np.uint8).data)
            return
        rows = max(1, _BUFFER_BYTES // stride)
        inside = tuple(slice(a, b) for a, b in zip(box.start[1:], box.stop[1:], strict=True))
        for at in range(first, last, rows):
            count = min(rows, last - at)
            buffer = _buffer(count * stride)
            # The last row ends with the region, which may be where the file ends.
            self._fill(start + at * stride, buffer[: count * stride].data)
            stored = buffer[: count * stride].view(into.dtype).reshape(count, *shape[1:])
            into[at - first : at - first + count] = stored[(slice(None), *inside)]

    def _fill(self, start: int, memory: memoryview) -> None:
        done = 0
        while done < len(memory):
            if self._descriptor < 0:
                raise InputError(f"cannot read {self._label}: it was closed")
            try:
                count = self._read_at(start + done, memory[done:])
            except OSError as error:
                raise InputError(f"cannot read {self._label}: {(error.strerror or str(error)).lower()}") from error
            if not count:
                raise InputError(
                    f"cannot read {self._label}: the file was cut short while it was read (it had {self.size} bytes "
                    "when it was opened)"
                )
            done += count

    def _read_at(self, start: int, memory: memoryview) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._descriptor, [memory], start)
        with self._lock:  # without pread all threads share one position
            os.lseek(self._descriptor, start, os.SEEK_SET)
            content = os.read(self._descriptor, len(memory))
        memory[: len(content)] = content
        return len(content)

    def close(self) -> None:
        """Close it; may be called twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


def _is_one_run(shape: Sequence[int], sides: Sequence[int]) -> bool:
    """Return True if a region with these sides is contiguous in the file."""
    long = next((axis for axis, side in enumerate(sides) if side > 1), 0)
    return all(map(eq, sides[long + 1 :], shape[long + 1 :]))


def _choose_level(shape: Sequence[int], box: Box, strides: Sequence[int], *, is_contiguous: bool) -> int:
    """Choose the axis along which a region is read in one piece for each position of the axes before it.

    Start with the longest contiguous run, then add axes as long as the gaps are short and a row fits into the buffer.
    """
    level, has_gaps = len(shape) - 1, not is_contiguous
    while level:
        gap = strides[level - 1] - box.shape[level] * strides[level]
        has_gaps = has_gaps or gap > 0
        if gap > _GAP_BYTES or (has_gaps and strides[level - 1] > _BUFFER_BYTES):
            break
        level -= 1
    return level


def _widen(shape: Sequence[int], box: Box, strides: Sequence[int]) -> Box:
    """Enlarge a region at little extra reading time: all of a small array, else further along the inner axes."""
    if shape[0] * strides[0] <= _SMALL_BYTES:
        return Box.whole(shape)
    stop = list(box.stop)
    size = box.size * strides[-1]
    for axis in range(len(shape) - 1, 0, -1):
        length = box.shape[axis]
        stop[axis] = min(shape[axis], box.start[axis] + max(length, length * _WIDE_BYTES // size))
        size = size // length * (stop[axis] - box.start[axis])
        if box.start[axis] or stop[axis] < shape[axis]:
            break
    return Box(box.start, tuple(stop))


class _KeptRegions:
    """Cache of the latest regions that were read wider than requested, one per array. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._regions: OrderedDict[tuple[Path, int], tuple[Box, np.ndarray]] = OrderedDict()
        self._bytes = 0

    def find(self, array: tuple[Path, int], box: Box) -> tuple[Box, np.ndarray] | None:
        """Find a cached region that contains a box, of the array at this byte of this file."""
        with self._lock:
            found = self._regions.get(array)
            if found is None or not found[0].contains(box):
                return None
            self._regions.move_to_end(array)
            return found

    def add(self, array: tuple[Path, int], box: Box, voxels: np.ndarray) -> None:
        """Keep a region, and drop the oldest ones beyond the limit."""
        with self._lock:
            old = self._regions.pop(array, None)
            self._bytes += voxels.nbytes - (0 if old is None else old[1].nbytes)
            self._regions[array] = box, voxels
            while self._bytes > _KEPT_BYTES and len(self._regions) > 1:
                self._bytes -= self._regions.popitem(last=False)[1][1].nbytes


def _buffer(size: int) -> np.ndarray:
    """Buffer of this thread, valid until its next call. New memory for each read would have to be cleared first."""
    found: np.ndarray | None = getattr(_buffers, "memory", None)
    if found is None or found.size < size:
        found = _buffers.memory = np.empty(size, np.uint8)
    return found


class FilePool:
    """Pool of the files of one image, of which a few are open at a time. Thread-safe."""

    def __init__(self) -> None:
        self._lock, self._kept = threading.Lock(), _KeptRegions()
        self._open: OrderedDict[Path, OpenFile] = OrderedDict()
        self._users: dict[Path, int] = {}

    @contextmanager
    def borrow(self, path: Path) -> Iterator[OpenFile]:
        """Borrow a file, which stays open in the context. Raises InputError if it no longer exists."""
        with self._lock:
            file = self._open.get(path)
            if file is None:
                try:
                    file = self._open[path] = OpenFile(path, str(path), self._kept)
                except OSError as error:
                    raise InputError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
            self._open.move_to_end(path)
            self._users[path] = self._users.get(path, 0) + 1
        try:
            yield file
        finally:
            with self._lock:
                self._users[path] -= 1
                self._close_surplus()

    def _close_surplus(self) -> None:
        """Close the oldest files not in use; at most as many are skipped as there are threads."""
        surplus = len(self._open) - _MAX_OPEN
        for path in [] if surplus <= 0 else list(self._open):
            if not self._users[path]:
                self._open.pop(path).close()
                del self._users[path]
                surplus -= 1
            if surplus <= 0:
                return

    def close(self) -> None:
        """Close all files; a later ``borrow`` opens them again."""
        with self._lock:
            for file in self._open.values():
                file.close()
            self._open.clear()
            self._users.clear()

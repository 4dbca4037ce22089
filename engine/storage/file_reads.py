"""Files read by position, and regions of arrays that lie in them uncompressed.

Not through a memory map: touching a mapped page that is gone, because the file was cut short, ends the process with
SIGBUS. A read that comes back short is an error of one input.
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

_GAP_BYTES = 16 * 2**10  # between two parts of a region: read over, which takes no longer than another call
_BUFFER_BYTES = 2**20  # read at once where there are gaps; fits into the second-level cache
_SMALL_BYTES = 4 * 2**20  # an array of at most so many, such as a chunk, is read whole where there are gaps
_WIDE_BYTES = 32 * 2**20  # of a region that is read wider than asked for
_KEPT_BYTES = 64 * 2**20  # of such regions, for the tiles beside the one that is read now
_MAX_OPEN = 32  # files of a set
_buffers = threading.local()


class OpenFile:
    """A file that is read from several threads at once.

    label  for messages
    size   in bytes, when the file was opened
    kept   shared with other files, so that they keep no more together than one does alone
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
        """Some bytes. Raises InputError if they are not all there, or the file was closed."""
        content = bytearray(size)
        self._fill(start, memoryview(content))
        return bytes(content)

    def read_box(self, start: int, shape: Sequence[int], dtype: np.dtype, box: Box) -> np.ndarray:
        """A region of a C-ordered array that begins at byte ``start``, as a new array in native byte order."""
        result = np.empty(box.shape, dtype)
        self.copy_box(start, shape, box, result)
        return result if dtype.isnative else result.byteswap(inplace=True).view(dtype.newbyteorder("="))

    def copy_box(self, start: int, shape: Sequence[int], box: Box, into: np.ndarray) -> None:
        """The same, put into an array of the box's shape and the stored type, byte order included.

        Raises InputError if the file ends before the region does, or was closed.
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
        # What lies in the gaps is read anyway, and the next tile asks for it: kept, it is read once.
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
        """Every position along the axes before ``level`` is one piece: rows along ``level``, whole behind it."""
        rows = Box(box.start[level:], box.stop[level:])
        for place in product(*map(range, box.start[:level], box.stop[:level])):
            first = start + sum(map(mul, place, strides))
            target = into[tuple(map(sub, place, box.start))]
            self._copy_piece(first, shape[level:], rows, strides[level], target)

    def _copy_piece(self, start: int, shape: Sequence[int], box: Box, stride: int, into: np.ndarray) -> None:
        """One span of the file, cut into parts of the buffer's size where it cannot be read into its place."""
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
        with self._lock:  # elsewhere there is a single position for all threads
            os.lseek(self._descriptor, start, os.SEEK_SET)
            content = os.read(self._descriptor, len(memory))
        memory[: len(content)] = content
        return len(content)

    def close(self) -> None:
        """May be called twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


def _is_one_run(shape: Sequence[int], sides: Sequence[int]) -> bool:
    """True if a region with these sides lies in the file without a gap."""
    long = next((axis for axis, side in enumerate(sides) if side > 1), 0)
    return all(map(eq, sides[long + 1 :], shape[long + 1 :]))


def _choose_level(shape: Sequence[int], box: Box, strides: Sequence[int], *, is_contiguous: bool) -> int:
    """The axis along which a region is read in one piece for each position of the axes before it.

    First the longest run without a gap, then more axes as long as the gaps are short and a row fits into the buffer.
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
    """A larger region that takes little more time to read: all of a small array, else further along the inner axes."""
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
    """The latest regions that were read wider than asked for, one of each array. For several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._regions: OrderedDict[tuple[Path, int], tuple[Box, np.ndarray]] = OrderedDict()
        self._bytes = 0

    def find(self, array: tuple[Path, int], box: Box) -> tuple[Box, np.ndarray] | None:
        """A region that contains a box, of the array at this byte of this file."""
        with self._lock:
            found = self._regions.get(array)
            if found is None or not found[0].contains(box):
                return None
            self._regions.move_to_end(array)
            return found

    def add(self, array: tuple[Path, int], box: Box, voxels: np.ndarray) -> None:
        """Keep a region, and let the oldest ones go that there is no room for."""
        with self._lock:
            old = self._regions.pop(array, None)
            self._bytes += voxels.nbytes - (0 if old is None else old[1].nbytes)
            self._regions[array] = box, voxels
            while self._bytes > _KEPT_BYTES and len(self._regions) > 1:
                self._bytes -= self._regions.popitem(last=False)[1][1].nbytes


def _buffer(size: int) -> np.ndarray:
    """Memory of this thread, valid until its next call. New memory for each read would have to be cleared first."""
    found: np.ndarray | None = getattr(_buffers, "memory", None)
    if found is None or found.size < size:
        found = _buffers.memory = np.empty(size, np.uint8)
    return found


class FilePool:
    """Files of one image, of which a few are open at a time. For several threads."""

    def __init__(self) -> None:
        self._lock, self._kept = threading.Lock(), _KeptRegions()
        self._open: OrderedDict[Path, OpenFile] = OrderedDict()
        self._users: dict[Path, int] = {}

    @contextmanager
    def borrow(self, path: Path) -> Iterator[OpenFile]:
        """A file, open as long as it is borrowed. Raises InputError if it is not there any more."""
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
        """Close the oldest files that nobody reads; at most as many are stepped over as there are threads."""
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

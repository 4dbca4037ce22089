"""Chunk shape of chunked result files, and assembly of chunks from boxes of any shape.

The shape is ilastik's, so files from both have the same layout. The encoding of a chunk is decided by the formats.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from ...box import Box

CHUNK_BYTES = 512_000  # size of a chunk of one time point and one channel, as closely as whole voxels allow


def chunk_shape(shape: Sequence[int], axes: str, itemsize: int, *, chunk_bytes: int = CHUNK_BYTES) -> tuple[int, ...]:
    """Choose the chunks of a result of this shape: one time point, one channel, about equal sides along z, y and x."""
    spatial = [1 if a in "tc" else n for a, n in zip(axes, shape, strict=True)]
    target = chunk_bytes / itemsize
    sides = [0] * len(spatial)
    volume = 1
    for done, index in enumerate(sorted(range(len(spatial)), key=spatial.__getitem__)):
        side = int((target // volume) ** (1 / (len(spatial) - done)) + 0.5)
        sides[index] = max(1, min(side, spatial[index]))
        volume *= sides[index]
    return tuple(sides)


def cut_range(start: int, stop: int, length: int) -> list[tuple[int, slice, slice]]:
    """Cut a range along one axis by a grid of this spacing.

    Returns for each piece the first position of its cell, its slice of the range, and its slice of the cell. Tuples are
    used since boxes took most of the time of reading small cells.
    """
    pieces = []
    for first in range(start // length * length, stop, length):
        a, b = max(start, first), min(stop, first + length)
        pieces.append((first, slice(a - start, b - start), slice(a - first, b - first)))
    return pieces


class ChunkAssembler:
    """Assembler of whole chunks from disjoint boxes. Threads may add at once; each chunk is returned to one of them.

    A chunk that extends over the image's edge is padded with zeros to its full shape. Only partially written chunks are
    held in memory.

    start  the image's first voxel in the grid of chunks, whose coordinates boxes and chunks have; None: its origin
    """

    def __init__(
        self, shape: Sequence[int], chunks: Sequence[int], dtype: np.dtype, *, start: Sequence[int] | None = None
    ) -> None:
        self._image = Box.whole(shape).shift(start or (0,) * len(shape))
        self._chunks = tuple(chunks)
        self._dtype = dtype
        self._begun: dict[tuple[int, ...], tuple[np.ndarray, int]] = {}
        self._lock = threading.Lock()
        self._missing = self._image.size

    @property
    def missing(self) -> int:
        """Number of voxels not yet returned in whole chunks."""
        return self._missing

    @property
    def waiting_bytes(self) -> int:
        """Memory of the partially written chunks in bytes."""
        with self._lock:
            return sum(chunk.nbytes for chunk, _ in self._begun.values())

    def skip(self, box: Box) -> None:
        """Count the voxels of a box of whole chunks as returned, since they are stored already."""
        with self._lock:
            self._missing -= box.intersect(self._image).size

    def add(self, box: Box, data: np.ndarray) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
        """Take the voxels of ``box``; yield (first voxel, C-ordered chunk) for every chunk that is complete now."""
        if box.shape != data.shape or not self._image.contains(box):
            raise ValueError(f"{data.shape} voxels do not fit the box {box} of an image in {self._image}")
        firsts = [range(a // n * n, b, n) for a, b, n in zip(box.start, box.stop, self._chunks, strict=True)]
        for corner in product(*firsts):
            whole = Box(corner, tuple(c + n for c, n in zip(corner, self._chunks, strict=True)))
            inside = whole.intersect(self._image)
            part = inside.intersect(box)
            chunk = self._take(corner, inside, part, data[part.relative_to(box.start).slices()])
            if chunk is not None:
                with self._lock:
                    self._missing -= inside.size
                yield corner, chunk

    def _take(self, corner: tuple[int, ...], inside: Box, part: Box, voxels: np.ndarray) -> np.ndarray | None:
        """Put a piece into its chunk, and return the chunk if that completes it."""
        if part.shape == self._chunks:
            return np.ascontiguousarray(voxels, self._dtype)
        if part == inside:
            chunk = np.zeros(self._chunks, self._dtype)
            chunk[part.relative_to(corner).slices()] = voxels
            return chunk
        with self._lock:
            if corner not in self._begun:
                self._begun[corner] = np.zeros(self._chunks, self._dtype), inside.size
            chunk, _ = self._begun[corner]
        # Copied without the lock, counted afterwards: the thread with the last piece finds all others in place.
        chunk[part.relative_to(corner).slices()] = voxels
        with self._lock:
            missing = self._begun[corner][1] - part.size
            if missing:
                self._begun[corner] = chunk, missing
            else:
                del self._begun[corner]
        return None if missing else chunk

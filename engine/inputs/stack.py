"""Stacks: several images of one format read as one, along an axis.

Arrays without the axis get it as their first one, arrays with it are concatenated along it. Pictures along c are
concatenated, too, but with x before y. Along c images of one channel, which have no axis c, and of several are
concatenated as well. Only slices that a region touches are opened, and few stay open.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import accumulate, islice
from pathlib import Path

import numpy as np

from ...box import Box
from ...frozen import frozen
from ..errors import InputMismatch, UsageError
from ..formats.spec import ImageInfo, ImageReader

_MAX_OPEN = 64  # well below the number of files a process may have open
_MAX_OPEN_BYTES = 2**28  # of decoded slices; some readers keep decoded data

PICTURE_AXES = "tzc"


@frozen
class Slice:
    """One image of a stack.

    Parameters
    ----------
    label
        Its name in messages.
    open
        Opens it. Raises InputError.
    file
        File that was named for it; None if there is none.
    """

    label: str
    open: Callable[[], ImageReader]
    file: Path | None = None


class _OneChannel(ImageReader):
    """Reader of an image without the axis c, which gets one of length 1."""

    def __init__(self, reader: ImageReader, at: int) -> None:
        self._reader, self._at = reader, at
        self.info = _with_channel(reader.info, at)
        self.warnings, self.files, self.held_bytes = reader.warnings, reader.files, reader.held_bytes

    def read(self, box: Box) -> np.ndarray:
        at = self._at
        inner = Box((*box.start[:at], *box.start[at + 1 :]), (*box.stop[:at], *box.stop[at + 1 :]))
        return np.expand_dims(self._reader.read(inner), at)

    def verify(self) -> None:
        self._reader.verify()
        self.unchecked = self._reader.unchecked

    def close(self) -> None:
        self._reader.close()


def _with_channel(info: ImageInfo, at: int) -> ImageInfo:
    """Add an axis c of length 1 at a position."""

    def longer(sizes: tuple[int, ...]) -> tuple[int, ...]:
        return (*sizes[:at], 1, *sizes[at:])

    chunks = None if info.chunks is None else longer(info.chunks)
    return replace(info, shape=longer(info.shape), axes=f"{info.axes[:at]}c{info.axes[at:]}", chunks=chunks)


@dataclass(eq=False, repr=False)
class _Slot:
    """Open slice, kept while it is read and for some time after."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    reader: ImageReader | None = None
    users: int = 0


class StackReader(ImageReader):
    """Reader of a stack of slices. Several threads may read at once.

    The other slices of arrays, and of pictures along c, are checked when the stack is made, those of other pictures by
    ``verify`` and when they are read.

    Parameters
    ----------
    slices
        Images in stacking order, at least one.
    first
        Facts about the first slice. All others must have its dtype and shape, except along ``axis`` if they have it.
    axis
        Letter of the axis along which they are stacked.
    kind
        "picture" or "array", as ``InputFormat.stack``.
    axes
        Letters of a slice's axes in file order; None: those of ``first``.

    Attributes
    ----------
    first
        Facts about the first slice, with an axis c if other slices have one.

    Raises
    ------
    UsageError
        If pictures cannot be stacked along the axis.
    InputMismatch
        If a slice does not agree with the first one, or is a part of the same image as another.
    InputError
        If a slice cannot be read.
    """

    def __init__(
        self, slices: Sequence[Slice], first: ImageInfo, *, axis: str, kind: str, axes: str | None = None
    ) -> None:
        if kind == "picture" and axis not in PICTURE_AXES:
            raise UsageError(f"pictures cannot be stacked along {axis!r}; choose one of t, z, c")
        self._slices = tuple(slices)
        self._channel_at: int | None = None  # of the axis c that slices without one get
        if kind == "array" and axis == "c" and axes is None:
            self._channel_at = self._find_channel(first.axes)
            if self._channel_at is not None and axis not in first.axes:
                first = _with_channel(first, self._channel_at)
        self.first = first
        self._slots: OrderedDict[int, _Slot] = OrderedDict()
        self._lock = threading.Lock()
        size = int(np.prod(first.shape, dtype=np.int64)) * first.dtype.itemsize
        self._max_open = max(1, min(_MAX_OPEN, _MAX_OPEN_BYTES // max(1, size)))

        letters = axes or first.axes
        # The axis of a slice that the stack runs along; None: the stack adds a new first axis.
        self._joined = letters.index(axis) if axis in letters else None
        self._found_files: dict[Path, None] = {}
        lengths = self._measure(kind, axis)
        self.files = tuple(self._found_files)
        self._starts = (0, *accumulate(lengths))
        # Pictures along c come out with x before y, as ilastik delivers them.
        self._order = (1, 0, 2) if kind == "picture" and axis == "c" and letters == "yxc" and axes is None else None
        self.info = self._describe(letters, axis)

    @property
    def is_swapped(self) -> bool:
        """True if x comes before y, unlike in the files."""
        return self._order is not None

    def read(self, box: Box) -> np.ndarray:
        plain = box if self._order is None else _reordered(box, np.argsort(self._order).tolist())
        along = self._joined or 0
        result = np.empty(plain.shape, self.info.dtype)
        for index, start, stop in self._touched(plain.start[along], plain.stop[along]):
            at = slice(start - plain.start[along], stop - plain.start[along])
            inner = self._slice_box(plain, start - self._starts[index], stop - self._starts[index])
            with self._borrowed(index) as reader:
                voxels = reader.read(inner)
            result[(slice(None),) * along + (at,)] = voxels if self._joined is not None else voxels[np.newaxis]
        return result if self._order is None else np.transpose(result, self._order)

    def verify(self) -> None:
        """Check every slice."""
        unchecked: dict[str, None] = {}
        for index, item in enumerate(self._slices):
            with self._open_slice(item) as reader:
                self._check(item, reader.info, length=self._starts[index + 1] - self._starts[index])
                reader.verify()
                if reader.unchecked:
                    unchecked[reader.unchecked] = None
        self.unchecked = ", ".join(unchecked)

    def close(self) -> None:
        with self._lock:
            slots, self._slots = self._slots, OrderedDict()
        for slot in slots.values():
            if slot.reader is not None:
                slot.reader.close()

    def _find_channel(self, letters: str) -> int | None:
        """Find the position of the axis c in slices that have one, as the first slice or else as another one."""
        if "c" in letters:
            return letters.index("c")
        for item in self._slices[1:]:
            with item.open() as reader:
                found = reader.info.axes
            if found != letters:
                return found.index("c") if found.replace("c", "") == letters else None
        return None

    def _open_slice(self, item: Slice) -> ImageReader:
        reader = item.open()
        at, letters = self._channel_at, self.first.axes
        is_without = at is not None and reader.info.axes == letters[:at] + letters[at + 1 :]
        return reader if at is None or not is_without else _OneChannel(reader, at)

    def _measure(self, kind: str, axis: str) -> list[int]:
        """Measure the length of each slice along the stack. Opens all slices whose lengths may differ."""
        first = self.first
        one = 1 if self._joined is None else first.shape[self._joined]
        if kind == "picture" and axis != "c":
            return [one] * len(self._slices)
        lengths = [one]
        named = {os.path.realpath(item.file): item for item in self._slices if item.file is not None}
        for item in self._slices[1:]:
            with self._open_slice(item) as reader:
                self._check(item, reader.info)
                self._check_parts(item, reader, named)
                self.warnings += tuple(f"{item.label}: {line}" for line in reader.warnings)
                lengths.append(1 if self._joined is None else reader.info.shape[self._joined])
        return lengths

    def _check(self, item: Slice, found: ImageInfo, *, length: int | None = None) -> None:
        """Raise InputMismatch unless a slice fits the first; along a joined axis it may have ``length``, or any."""
        shape = self.first.shape
        at = self._joined
        if at is not None and len(found.shape) == len(shape):
            shape = (*shape[:at], found.shape[at] if length is None else length, *shape[at + 1 :])
        first = self._slices[0].label
        if found.shape != shape:
            raise InputMismatch(f"cannot stack {item.label}: its shape is {found.shape}, not {shape} as for {first}")
        if found.dtype != self.first.dtype:
            raise InputMismatch(
                f"cannot stack {item.label}: its pixels are {found.dtype}, not {self.first.dtype} as for {first}"
            )

    def _check_parts(self, item: Slice, reader: ImageReader, named: Mapping[str, Slice]) -> None:
        """Raise InputMismatch if a slice is an image of several files and one of these is another slice."""
        others = [named[key] for file in reader.files if (key := os.path.realpath(file)) in named]
        for other in others:
            if other is not item:
                raise InputMismatch(
                    f"cannot stack {item.label}: it is a part of an image of {len(reader.files)} files, and "
                    f"{other.label} is another part of it; name one file of each image"
                )
        self._found_files |= dict.fromkeys(reader.files)

    def _describe(self, letters: str, axis: str) -> ImageInfo:
        first, total = self.first, self._starts[-1]
        chunks = first.chunks
        if self._joined is None:
            shape, letters = (total, *first.shape), axis + letters
            chunks = None if chunks is None else (1, *chunks)
        else:
            shape = (*first.shape[: self._joined], total, *first.shape[self._joined + 1 :])
        if self._order is not None:
            shape = tuple(shape[i] for i in self._order)
            letters = "".join(letters[i] for i in self._order)
            chunks = None if chunks is None else tuple(chunks[i] for i in self._order)
        return replace(first, shape=shape, axes=letters, chunks=chunks, scales=None)

    def _touched(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Yield (slice, start, stop) along the stack for every slice between two positions."""
        index = bisect_right(self._starts, start) - 1
        while start < stop:
            end = min(stop, self._starts[index + 1])
            yield index, start, end
            start, index = end, index + 1

    def _slice_box(self, box: Box, start: int, stop: int) -> Box:
        """Compute the box within a slice; start and stop are its extent along the concatenation axis."""
        if self._joined is None:
            return Box(box.start[1:], box.stop[1:])
        at = self._joined
        return Box(
            (*box.start[:at], start, *box.start[at + 1 :]),
            (*box.stop[:at], stop, *box.stop[at + 1 :]),
        )

    @contextmanager
    def _borrowed(self, index: int) -> Iterator[ImageReader]:
        """Borrow the open reader of a slice. It stays open at least as long as it is borrowed."""
        with self._lock:
            slot = self._slots.setdefault(index, _Slot())
            self._slots.move_to_end(index)
            slot.users += 1
        try:
            with slot.lock:
                if slot.reader is None:
                    slot.reader = self._open(index)
            yield slot.reader
        finally:
            with self._lock:
                slot.users -= 1
                closing = [self._slots.pop(i) for i in self._surplus()]
            for old in closing:
                if old.reader is not None:
                    old.reader.close()

    def _surplus(self) -> list[int]:
        """Choose the slices to close, oldest first, except for those being read."""
        count = len(self._slots) - self._max_open
        return list(islice((i for i, slot in self._slots.items() if not slot.users), count)) if count > 0 else []

    def _open(self, index: int) -> ImageReader:
        item = self._slices[index]
        reader = self._open_slice(item)
        try:
            self._check(item, reader.info, length=self._starts[index + 1] - self._starts[index])
        except BaseException:
            reader.close()
            raise
        return reader


def _reordered(box: Box, order: Sequence[int]) -> Box:
    return Box(tuple(box.start[i] for i in order), tuple(box.stop[i] for i in order))

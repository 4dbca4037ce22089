"""Reader of one picture file: the header is read at once, pixels are decoded on demand.

This module has the part common to all kinds of pictures: checks of a header against the size of its file, and the
translation of errors. Decoding is decided by the files in images/.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np

from ....box import Box
from ....frozen import frozen
from ...errors import InputError, InputNotFound, MemoryTooSmall, damaged_input, unreadable_input
from ..spec import ImageInfo, ImageReader
from .library_errors import BY_REGION

__all__ = ["PictureHeader", "PictureReader", "UnsupportedPicture", "check_size", "exactly", "read_all"]

_HEADER_BYTES = 1 << 16
_SMALL_BYTES = 1 << 20  # smaller files are read whole: that takes no longer than reopening them


class UnsupportedPicture(ValueError):
    """A picture of a kind that cannot be read, although it need not be damaged."""


@frozen
class PictureHeader:
    """Header of a picture.

    expansion  maximum number of pixel bytes per byte of such a file
    decode     the whole file -> pixels (height, width, channels) of this dtype; raises ValueError for damage
    check      the open file: raises ValueError for damage that is visible without decoding
    unchecked  part that only ``decode`` checks; empty if none
    """

    width: int
    height: int
    channels: int
    dtype: np.dtype
    expansion: float
    decode: Callable[[bytes], np.ndarray]
    check: Callable[[BinaryIO], object] = lambda file: None
    unchecked: str = ""


def check_size(needed: int) -> Callable[[BinaryIO], None]:
    """Make a check that the file has at least so many bytes."""

    def check(file: BinaryIO) -> None:
        found = file.seek(0, io.SEEK_END)
        if found < needed:
            raise ValueError(f"the file is truncated: it has {found} of {needed} bytes")

    return check


def read_all(file: BinaryIO) -> bytes:
    """Read the whole content of an open file."""
    file.seek(0)
    return file.read()


def exactly(data: bytes, start: int, size: int) -> bytes:
    """Cut a part out of a file. Raises ValueError if the file ends before the part."""
    if len(data) < start + size:
        raise ValueError("the file is truncated")
    return data[start : start + size]


def _look(file: BinaryIO) -> tuple[int, bytes]:
    """Read the size of a file and its first bytes; all bytes of a small one."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size, file.read(size if size <= _SMALL_BYTES else _HEADER_BYTES)


class PictureReader(ImageReader):
    """Reader of a picture whose header is known at once; it is decoded once, at the first read.

    read_header  the first bytes, or all of them -> header; raises ValueError for damage, and UnsupportedPicture
    Raises InputError, InputNotFound.
    """

    def __init__(self, path: Path, read_header: Callable[[bytes], PictureHeader]) -> None:
        self._path, self._lock = path, Lock()
        self._parse_header = read_header
        self._pixels: np.ndarray | None = None
        self._file: bytes | None = None
        file_size, start = self._read(_look)
        if len(start) == file_size:
            self._file = start
        self._header = header = self._read_header(file_size, start)
        self.shape = (header.height, header.width, header.channels)
        size = header.height * header.width * header.channels * header.dtype.itemsize
        if min(self.shape) < 1:
            raise damaged_input(path, f"the picture is empty ({header.width} x {header.height} pixels)")
        if size > header.expansion * file_size:
            raise damaged_input(
                path,
                f"the header declares {header.width} x {header.height} pixels, more than a file of {file_size} "
                "bytes can hold; it is truncated or damaged",
            )
        self.info = ImageInfo(self.shape, header.dtype, "yxc", own_axes=True, chunks=self.shape)
        self.held_bytes = size + file_size
        self.unchecked = header.unchecked

    def _read_header(self, file_size: int, start: bytes) -> PictureHeader:
        try:
            return self._parse_header(start)
        except ValueError as error:
            if file_size <= len(start):
                raise self._describe(error) from None
        whole = self._read(read_all)  # the size follows a long profile or comment
        header: PictureHeader = self._translate(lambda: self._parse_header(whole))
        return header

    def _read(self, action: Callable[[BinaryIO], Any]) -> Any:
        whole = self._file
        if whole is not None:
            return action(io.BytesIO(whole))
        try:
            with open(self._path, "rb") as file:
                return action(file)
        except FileNotFoundError:
            raise InputNotFound(f"there is no file {self._path}") from None
        except OSError as error:
            raise unreadable_input(self._path, error) from error
        except MemoryError:
            raise MemoryTooSmall(f"the file {self._path} does not fit into memory; {BY_REGION}") from None

    def _translate(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except MemoryError:
            raise MemoryTooSmall(f"the decoded pixels of {self._path} do not fit into memory; {BY_REGION}") from None
        except (ValueError, OSError, EOFError, RuntimeError, IndexError, SyntaxError, struct.error) as error:
            raise self._describe(error) from error

    def _describe(self, error: Exception) -> InputError:
        if isinstance(error, UnsupportedPicture):
            return InputError(f"cannot read {self._path}: {error}; save it as PNG or TIFF")
        return damaged_input(self._path, error)

    def verify(self) -> None:
        self._translate(lambda: self._read(self._header.check))

    def read(self, box: Box) -> np.ndarray:
        with self._lock:
            if self._pixels is None:
                self._pixels = self._decode()
                self._file = None
            pixels = self._pixels
        return pixels[box.slices()].copy()

    def _decode(self) -> np.ndarray:
        data = self._read(read_all)
        pixels: np.ndarray = self._translate(lambda: self._header.decode(data))
        if pixels.shape != self.shape:
            raise damaged_input(self._path, f"it holds {pixels.shape} pixels instead of {self.shape}")
        return np.ascontiguousarray(pixels, dtype=self._header.dtype)

    def close(self) -> None:
        with self._lock:
            self._pixels = self._file = None

"""JPEG 2000: the header of a file or of a bare codestream. Pixels are as stored, without colour conversion."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

import numpy as np

from .picture_reader import PictureHeader, UnsupportedPicture

__all__ = ["read_jpeg2000_header"]

_CODESTREAM = b"\xff\x4f\xff\x51"
_TILE_PART, _END = 0xFF90, 0xFFD9
_EXPANSION = 2.0**17  # empty code blocks take no bytes, so that only an implausible size is refused


def read_jpeg2000_header(data: bytes) -> PictureHeader:
    """Read the header of a picture. Raises ValueError for damage, and for components of different sizes or types."""
    columns, at = 0, 0
    if not data.startswith(_CODESTREAM):
        for kind, start, stop in _boxes(data, 0, len(data)):
            if kind == b"jp2h":
                columns = next((data[s + 2] for k, s, e in _boxes(data, start, stop) if k == b"pclr" and e > s + 2), 0)
            if kind == b"jp2c":
                at = start
                break
        else:
            raise ValueError("the file is truncated or holds no picture")
    if data[at : at + 4] != _CODESTREAM or len(data) < at + 42:
        raise ValueError("the file is truncated or holds no picture")
    _, right, bottom, left, top = struct.unpack(">H4I", data[at + 6 : at + 24])
    (count,) = struct.unpack(">H", data[at + 40 : at + 42])
    parts = data[at + 42 : at + 42 + 3 * count]
    if len(parts) < 3 * count or not count:
        raise ValueError("the file is truncated")
    if len(set(parts[::3])) > 1 or set(parts[1::3]) | set(parts[2::3]) != {1}:
        raise UnsupportedPicture("JPEG 2000 with channels of different sizes or types is not supported")
    depth, is_signed = (parts[0] & 0x7F) + 1, parts[0] > 0x7F
    if depth > 16:
        raise UnsupportedPicture(f"JPEG 2000 with {depth} bits is not supported")
    dtype = np.dtype(f"{'i' if is_signed else 'u'}{1 if depth <= 8 else 2}")
    channels = columns or count
    check = partial(_check_tile_parts, start=at)
    return PictureHeader(right - left, bottom - top, channels, dtype, _EXPANSION, _decode, check, "the JPEG data")


def _boxes(data: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start, stop) of the contents of boxes; the last one may end beyond the data."""
    while start + 8 <= stop:
        size, kind = struct.unpack(">I4s", data[start : start + 8])
        head = 8
        if size == 1 and start + 16 <= stop:
            (size,), head = struct.unpack(">Q", data[start + 8 : start + 16]), 16
        end = start + size if size else len(data)
        if size and size < head:
            raise ValueError("the file is damaged")
        yield kind, start + head, min(end, stop)
        start = end


def _check_tile_parts(file: BinaryIO, *, start: int) -> None:
    """Follow the codestream from marker to marker up to its end. Raises ValueError if it is truncated."""
    size, at = file.seek(0, io.SEEK_END), start + 2
    while at + 2 <= size:
        file.seek(at)
        marker, length, _, part = struct.unpack(">HHHI", file.read(10).ljust(10, b"\0"))
        if marker == _END:
            return
        if marker == _TILE_PART and not part:  # the last one, up to the end
            return
        at += part if marker == _TILE_PART else 2 + length
    raise ValueError("the file is truncated")


def _decode(data: bytes) -> np.ndarray:
    import imagecodecs

    return np.atleast_3d(imagecodecs.jpeg2k_decode(data))

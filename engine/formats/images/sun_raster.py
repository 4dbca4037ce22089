"""Sun raster: 8-bit gray, RGB and palette pictures, read with and without run-length encoding, written without.

Rows are padded to an even number of bytes. ilastik omits the padding; such files are recognised by their length and
read as well.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np

from ..spec import Limits
from ..support.picture_reader import PictureHeader, UnsupportedPicture, check_size, exactly
from ..support.picture_writers import picture_formats

__all__ = ["OUTPUTS", "SUN_RASTER_MAGIC", "read_sun_raster_header"]

SUN_RASTER_MAGIC = (
    b"\x59\xa6\x6a\x95",
    b"\x95\x6a\xa6\x59",
)  # big-endian, and a byte-swapped variant
_HEADER_BYTES = 32
_OLD, _STANDARD, _RUN_LENGTHS, _RGB = range(4)  # types; colours are stored as BGR except in the last
_NO_MAP, _RGB_MAP, _RAW_MAP = range(3)
_RUN = re.compile(rb"\x80(?:\x00|([\x01-\xff])(.))", re.DOTALL)


def read_sun_raster_header(data: bytes) -> PictureHeader:
    """Read the header for depths of 1, 8 and 24 bits; at a depth of 1 a set bit is 0, others 255. Raises ValueError."""
    order = ">" if data.startswith(SUN_RASTER_MAGIC[0]) else "<"
    width, height, depth, length, kind, map_kind, map_bytes = struct.unpack(
        f"{order}7I", exactly(data, 4, _HEADER_BYTES - 4)
    )
    if depth not in (1, 8, 24) or kind > _RGB or map_kind > _RAW_MAP or (map_kind and depth == 24):
        raise UnsupportedPicture(
            f"a Sun raster of type {kind} with {depth} bits and colour map {map_kind} is not supported"
        )
    has_palette = map_kind == _RGB_MAP and map_bytes > 0
    channels = 3 if depth == 24 or has_palette else 1
    row_bytes = -(-width * depth // 8)
    is_padded = kind == _RUN_LENGTHS or length != row_bytes * height
    stride = row_bytes + row_bytes % 2 if is_padded else row_bytes

    def decode(data: bytes) -> np.ndarray:
        table = np.frombuffer(exactly(data, _HEADER_BYTES, map_bytes), np.uint8)
        stored = data[_HEADER_BYTES + map_bytes :]
        if kind == _RUN_LENGTHS:
            stored = _RUN.sub(lambda run: run[2] * (run[1][0] + 1) if run[1] else b"\x80", stored)
        rows = np.frombuffer(exactly(stored, 0, stride * height), np.uint8).reshape(height, stride)[:, :row_bytes]
        if depth == 1:
            rows = np.unpackbits(rows, axis=1, count=width)
            rows = rows if map_kind else np.uint8(255) * (1 - rows)
        if map_kind and map_bytes:
            table = table[: map_bytes // channels * channels].reshape(channels, -1)
            if rows.max() >= table.shape[1]:
                raise ValueError("a pixel lies outside the colour map")
            return table.T[rows]
        pixels = rows.reshape(height, width, channels)
        return pixels if kind == _RGB else pixels[..., ::-1]

    # a run of three bytes stands for 256; bits and palettes give more bytes than are stored
    expansion = 8.0 * 3 * (256 / 3 if kind == _RUN_LENGTHS else 1)
    check = check_size(_HEADER_BYTES + map_bytes + (0 if kind == _RUN_LENGTHS else stride * height))
    unchecked = "the run lengths" if kind == _RUN_LENGTHS else ""
    if map_kind and map_bytes and map_bytes // channels < 1 << depth:
        unchecked = "whether the colour map holds all pixels" if not unchecked else f"{unchecked} and the colour map"
    return PictureHeader(width, height, channels, np.dtype(np.uint8), expansion, decode, check, unchecked)


def _store_ras(path: Path, plane: np.ndarray) -> None:
    height, width, bands = plane.shape
    row_bytes = width * bands
    rows = np.zeros((height, row_bytes + row_bytes % 2), np.uint8)
    rows[:, :row_bytes] = plane[..., ::-1].reshape(height, row_bytes)
    header = struct.pack(">7I", width, height, 8 * bands, rows.size, _STANDARD, _NO_MAP, 0)
    with open(path, "wb") as file:
        file.write(SUN_RASTER_MAGIC[0] + header)
        file.write(rows.data)


_LIMITS = Limits(frozenset({"uint8"}), stretches=True, max_dims=2, channels=frozenset({1, 3}))

OUTPUTS = picture_formats(
    "ras",
    _store_ras,
    _LIMITS,
    "Sun raster: 8 bits, uncompressed, 1 or 3 channels",
    signatures=SUN_RASTER_MAGIC,
)

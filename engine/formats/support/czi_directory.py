"""The directory of a CZI file: its subblocks, each a tile of one plane, by the specification ZISRAW.

Sizes that a file declares are checked before they are used.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from ....frozen import frozen
from ...errors import InputError
from ...storage.file_reads import OpenFile

__all__ = ["Subblock", "read_metadata", "read_subblocks", "voxels_position"]

_SEGMENT = struct.Struct("<16sqq")
_ENTRY = struct.Struct("<2siqiiBB4si")  # a subblock, before its dimensions
_DIMENSION = struct.Struct("<4siifi")
_MAX_ENTRIES, _MAX_DIMENSIONS = 10_000_000, 40
_MAX_METADATA_BYTES = 2**28
# Type of pixel -> dtype and number of samples; those of three or four samples are stored as BGR(A).
_PIXELS = {0: ("u1", 1), 1: ("<u2", 1), 2: ("<f4", 1), 3: ("u1", 3), 4: ("<u2", 3), 8: ("<f4", 3), 9: ("u1", 4)}
_PIXELS |= {12: ("<i4", 1), 13: ("<f8", 1)}


@frozen
class Subblock:
    """A tile.

    start, size  by letter of the dimension, such as X or S; of M, the number of the tile in a mosaic, the start
    stored       size as stored, which is smaller for a tile of a lower resolution
    position     of its segment in the file
    """

    start: Mapping[str, int]
    size: Mapping[str, int]
    stored: Mapping[str, int]
    pixel_type: int
    compression: int
    position: int

    @property
    def is_full(self) -> bool:
        """True for a tile of the highest resolution."""
        return all(self.stored[a] == self.size[a] for a in "XY")

    def pixels(self) -> tuple[np.dtype, int]:
        """Return the stored dtype and the number of samples. Raises InputError for unsupported types."""
        if self.pixel_type not in _PIXELS:
            raise InputError(f"pixels of the type {self.pixel_type} of CZI are not supported; export it as OME-TIFF")
        name, samples = _PIXELS[self.pixel_type]
        return np.dtype(name), samples


def _read_segment(file: OpenFile, position: int, name: bytes) -> int:
    """Check the name of a segment; returns the position of its content. Raises ValueError."""
    if not 0 <= position <= file.size - _SEGMENT.size:
        raise ValueError("its directory leads beyond the end of the file")
    found = _SEGMENT.unpack(file.read(position, _SEGMENT.size))[0].rstrip(b"\0")
    if found != name:
        raise ValueError(f"it has no segment {name.decode()} where its directory says")
    return position + _SEGMENT.size


def _read_header(file: OpenFile) -> tuple[int, int, int]:
    """Read the part of a file of several, and the positions of the directory and the metadata."""
    at = _read_segment(file, 0, b"ZISRAWFILE")
    part, directory, metadata = struct.unpack("<iqq", file.read(at + 48, 20))
    return part, directory, metadata


def read_subblocks(file: OpenFile) -> list[Subblock]:
    """Read the directory of an open file. Raises InputError without the name of the file, ValueError for damage."""
    part, directory, _ = _read_header(file)
    if part:
        raise InputError("it is a part of a file of several; open the first part")
    at = _read_segment(file, directory, b"ZISRAWDIRECTORY")
    (count,) = struct.unpack("<i", file.read(at, 4))
    smallest = _ENTRY.size + 2 * _DIMENSION.size
    if not 0 < count <= min(_MAX_ENTRIES, (file.size - at) // smallest):
        raise ValueError(f"its directory declares {count} subblocks, which it cannot hold")
    at += 128
    used = _SEGMENT.unpack(file.read(directory, _SEGMENT.size))[2]
    data = file.read(at, min(file.size - at, max(0, used - 128)))
    blocks, place = [], 0
    for _ in range(count):
        block, place = _read_entry(data, place)
        blocks.append(block)
    return blocks


def _read_entry(data: bytes, at: int) -> tuple[Subblock, int]:
    try:
        schema, pixels, position, part, compression, _, _, _, count = _ENTRY.unpack_from(data, at)
        if schema != b"DV" or not 0 < count <= _MAX_DIMENSIONS:
            raise ValueError("its directory is damaged")
        at += _ENTRY.size
        dimensions = [_DIMENSION.unpack_from(data, at + i * _DIMENSION.size) for i in range(count)]
    except struct.error:
        raise ValueError("its directory is truncated") from None
    if part:
        raise InputError("its images are in several files, which is not supported; save it as one file in ZEN")
    letters = [d[0].rstrip(b"\0").decode("latin-1") for d in dimensions]
    start, size, stored = (
        dict(zip(letters, values, strict=True))
        for values in zip(*((d[1], d[2], d[4] or d[2]) for d in dimensions), strict=True)
    )
    if not {"X", "Y"} <= set(letters) or min(*size.values(), *stored.values()) < 1:
        raise ValueError("its directory declares tiles without a size")
    return Subblock(start, size, stored, pixels, compression, position), at + count * _DIMENSION.size


def voxels_position(file: OpenFile, block: Subblock) -> tuple[int, int]:
    """Read the position and the number of bytes of the voxels of a subblock. Raises ValueError."""
    at = _read_segment(file, block.position, b"ZISRAWSUBBLOCK")
    metadata, _, size = struct.unpack("<iiq", file.read(at, 16))
    (count,) = struct.unpack("<i", file.read(at + 16 + _ENTRY.size - 4, 4))
    if not 0 < count <= _MAX_DIMENSIONS:
        raise ValueError("a subblock is damaged")
    start = at + max(256, 16 + _ENTRY.size + count * _DIMENSION.size) + metadata
    if metadata < 0 or size < 0 or start + size > file.size:
        raise ValueError("a subblock lies beyond the end of the file")
    return start, size


def read_metadata(file: OpenFile) -> Any:
    """Read the metadata of an open file as an element of XML; None if there are none that can be read."""
    from xml.etree import ElementTree

    position = _read_header(file)[2]
    if not position:
        return None
    at = _read_segment(file, position, b"ZISRAWMETADATA")
    (size,) = struct.unpack("<i", file.read(at, 4))
    if not 0 < size <= min(_MAX_METADATA_BYTES, file.size - at - 256):
        return None
    try:
        return ElementTree.fromstring(file.read(at + 256, size).rstrip(b"\0"))
    except (ElementTree.ParseError, ValueError):
        return None

"""The header of a dataset as HDF5 writes it by default, read without HDF5: that takes ten times as long to open one,
and a forest has hundreds.

Only what is understood to the last message is accepted: an array of a common type, one run of bytes, no attributes.
For everything else, and for all that is damaged, the answer is None, and HDF5 has the word.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from struct import Struct, unpack_from
from typing import Any

import numpy as np

# Version, messages, references, bytes of all messages; then type, bytes and flags of each.
_PREFIX, _MESSAGE = Struct("<BxHII4x"), Struct("<HHB3x")
HEADER_BYTES = 512  # more is never read; the headers that are accepted take 120 to 250
_SPACE, _TYPE, _LAYOUT = 0x1, 0x3, 0x8
# Padding, fill values of old and new form, times of change: what an array that is written in full does not depend on.
_INDIFFERENT = frozenset((0x0, 0x4, 0x5, 0xE, 0x12))
_CONSTANT = 1  # the only flag that changes nothing
_SIMPLE_SPACE, _CONTIGUOUS = b"\1", b"\3\1"
_MAX_DIMENSIONS = 4
_NOWHERE = (1 << 64) - 1  # the address of values that were never written
_INTEGER, _FLOAT = (
    "10{:02x}0000 {:02x}000000 0000{:02x}00 00000000",
    "11203f00 08000000 00004000 340b0034 ff030000 00000000",
)
_TYPES: dict[bytes, np.dtype[Any]] = {
    bytes.fromhex(_INTEGER.format(8, 4, 32)): np.dtype("<i4"),
    bytes.fromhex(_INTEGER.format(0, 4, 32)): np.dtype("<u4"),
    bytes.fromhex(_INTEGER.format(8, 8, 64)): np.dtype("<i8"),
    bytes.fromhex(_FLOAT): np.dtype("<f8"),
}


@dataclass(frozen=True)
class PlainArray:
    """Location of an array in a file. ``start``: in HDF5's addresses."""

    shape: tuple[int, ...]
    dtype: np.dtype
    start: int


def read_header(raw: bytes) -> PlainArray | None:
    """The array that a header describes, of which the first ``HEADER_BYTES`` are given; None if it is another header.

    Addresses and sizes must be of eight bytes each.
    """
    if len(raw) < _PREFIX.size:
        return None
    version, count, _, size = _PREFIX.unpack_from(raw)
    at, end = _PREFIX.size, _PREFIX.size + size
    if version != 1 or end > len(raw):
        return None
    messages: dict[int, bytes] = {}
    for _ in range(count):
        if at + _MESSAGE.size > end:
            return None
        kind, length, flags = _MESSAGE.unpack_from(raw, at)
        at += _MESSAGE.size + length
        if at > end or flags & ~_CONSTANT:
            return None
        if kind not in _INDIFFERENT:
            if kind in messages:
                return None
            messages[kind] = raw[at - length : at]
    if messages.keys() != {_SPACE, _TYPE, _LAYOUT}:
        return None
    return _describe(messages[_SPACE], _TYPES.get(messages[_TYPE]), messages[_LAYOUT])


def _describe(space: bytes, dtype: np.dtype | None, layout: bytes) -> PlainArray | None:
    if dtype is None or not space.startswith(_SIMPLE_SPACE) or not layout.startswith(_CONTIGUOUS):
        return None
    rank = space[1]
    if rank > _MAX_DIMENSIONS or len(space) < 8 + 8 * rank or len(layout) < 18:
        return None
    shape = unpack_from(f"<{rank}Q", space, 8)
    start, stored = unpack_from("<QQ", layout, 2)
    is_written = start != _NOWHERE and 0 < prod(shape) * dtype.itemsize == stored
    return PlainArray(shape, dtype, start) if is_written else None

"""Datasets of N5 whose blocks are compressed with LZ4, which tensorstore does not decode."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ...storage.chunk_store import MAX_CHUNK_BYTES, StorePath, chunk_reader, virtual_array

if TYPE_CHECKING:
    import tensorstore

__all__ = ["open_lz4"]

# Frames of net.jpountz.lz4.LZ4BlockOutputStream: mark, token, compressed and original size, checksum.
_MARK, _HEAD = b"LZ4Block", struct.Struct("<8sBIII")
_RAW, _PACKED = 0x10, 0x20
_DEFAULT_MODE, _VARIABLE_MODE = 0, 1


def open_lz4(folder: StorePath, metadata: Mapping[str, Any]) -> tensorstore.TensorStore:
    """Open a dataset for reading, with its axes in the order of the metadata.

    Raises ValueError for invalid metadata; damaged blocks raise it when they are read.
    """
    shape, block = _sizes(metadata["dimensions"]), _sizes(metadata["blockSize"])
    stored = np.dtype(str(metadata["dataType"])).newbyteorder(">")
    if len(shape) != len(block) or prod(block) * stored.itemsize > MAX_CHUNK_BYTES:
        raise ValueError(f"it declares blocks of {' x '.join(map(str, block))}")
    native = stored.newbyteorder("=")
    read_file = chunk_reader(folder)

    def read(index: tuple[int, ...]) -> np.ndarray:
        voxels = np.zeros(block, native)
        found = read_file("/".join(map(str, index)))
        if found is not None:
            piece = _decode(found, block, stored)
            voxels[tuple(slice(n) for n in piece.shape)] = piece
        return voxels

    return virtual_array(shape, block, native, read)


def _sizes(stored: object) -> tuple[int, ...]:
    if not isinstance(stored, list) or not all(type(n) is int and n > 0 for n in stored):
        raise ValueError("its attributes hold no valid shapes of the dataset and its blocks")
    return tuple(stored)


def _decode(data: bytes, block: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Decode a block, which may be smaller than ``block``; its first axis varies fastest."""
    if len(data) < 4 + 4 * len(block):
        raise ValueError("a block is truncated")
    mode, rank = struct.unpack_from(">HH", data)
    shape = struct.unpack_from(f">{len(block)}I", data, 4)
    start = 4 + 4 * len(block) + 4 * (mode == _VARIABLE_MODE)
    if mode not in (_DEFAULT_MODE, _VARIABLE_MODE) or rank != len(block):
        raise ValueError("a block is damaged")
    if any(n > m for n, m in zip(shape, block, strict=True)):
        raise ValueError("a block is larger than the attributes declare")
    size = prod(shape) * dtype.itemsize
    return np.frombuffer(_unpack(data, start, size), dtype).reshape(shape, order="F")


def _unpack(data: bytes, at: int, size: int) -> bytes:
    import imagecodecs

    parts: list[bytes] = []
    missing = size
    while missing:
        if at + _HEAD.size > len(data):
            raise ValueError("a block is truncated")
        mark, token, packed, original, _ = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        method = token & 0xF0
        if mark != _MARK or method not in (_RAW, _PACKED) or not 0 < original <= missing or at + packed > len(data):
            raise ValueError("a block is damaged")
        piece = data[at : at + packed]
        parts.append(piece if method == _RAW else bytes(imagecodecs.lz4_decode(piece, header=False, out=original)))
        if len(parts[-1]) != original:
            raise ValueError("a block is damaged")
        at, missing = at + packed, missing - original
    return b"".join(parts)

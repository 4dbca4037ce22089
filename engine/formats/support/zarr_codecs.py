"""Decoders of Zarr codecs that tensorstore does not support: bytes in, bytes out.

No data are decompressed beyond the size of a chunk.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

__all__ = ["DECODERS", "Decoder"]

# (bytes as stored, settings of the codec, size of a chunk) -> decoded bytes; raises its library's exceptions
Decoder = Callable[[bytes, Mapping[str, Any], int], bytes]
_LZMA_MEMORY_BYTES = 2**28


def _unpack_bz2(stored: bytes, settings: Mapping[str, Any], size: int) -> bytes:
    return bz2.BZ2Decompressor().decompress(stored, size + 1)


def _unpack_gzip(stored: bytes, settings: Mapping[str, Any], size: int) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(stored)) as stream:
        return stream.read(size + 1)


def _unpack_lzma(stored: bytes, settings: Mapping[str, Any], size: int) -> bytes:
    return lzma.LZMADecompressor(memlimit=_LZMA_MEMORY_BYTES).decompress(stored, size + 1)


def _unpack_zlib(stored: bytes, settings: Mapping[str, Any], size: int) -> bytes:
    return zlib.decompressobj().decompress(stored, size + 1)


def _by_imagecodecs(name: str, stored: bytes, settings: Mapping[str, Any], size: int) -> bytes:
    import imagecodecs

    return bytes(getattr(imagecodecs, f"{name}_decode")(stored, out=size))


def _unpack_lz4(stored: bytes, settings: Mapping[str, Any], size: int) -> bytes:
    """Decompress LZ4 as stored by numcodecs: the length in four bytes, then a block."""
    import imagecodecs

    if int.from_bytes(stored[:4], "little") != size:
        raise ValueError("its length is not that of a chunk")
    return bytes(imagecodecs.lz4_decode(stored[4:], header=False, out=size))


def _unshuffle(stored: bytes, settings: Mapping[str, Any], size: int) -> bytes:
    """Undo the shuffle of the bytes of elements; the remainder at the end was never shuffled."""
    width = int(settings.get("elementsize", 4))
    count = len(stored) // width
    whole = np.frombuffer(stored[: count * width], np.uint8).reshape(width, count).T.tobytes()
    return whole + stored[count * width :]


DECODERS: Mapping[str, Decoder] = {
    "blosc": partial(_by_imagecodecs, "blosc"),
    "bz2": _unpack_bz2,
    "gzip": _unpack_gzip,
    "lz4": _unpack_lz4,
    "lzma": _unpack_lzma,
    "shuffle": _unshuffle,
    "zlib": _unpack_zlib,
    "zstd": partial(_by_imagecodecs, "zstd"),
}

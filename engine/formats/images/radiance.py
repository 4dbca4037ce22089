"""Radiance HDR (RGBE): three channels of float32 with a common exponent, 8 bits of precision each.

The header's exposure and gamma are ignored, as by vigra.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from ..spec import Limits
from ..support.picture_reader import PictureHeader, UnsupportedPicture
from ..support.picture_writers import picture_formats
from ..support.signature import RADIANCE_SIGNATURES

__all__ = ["OUTPUTS", "read_radiance_header"]

_MAX_VALUE = float(np.nextafter(np.float32(2.0**127), np.float32(0)))  # the exponent is a byte
_SIZES = re.compile(rb"\n\n-Y ([0-9]{1,9}) \+X ([0-9]{1,9})\n")
# Four runs of at most 127 equal bytes, of two bytes each, stand for 127 pixels of twelve bytes.
_EXPANSION = 127 * 12 / 8


def read_radiance_header(data: bytes) -> PictureHeader:
    """Read the header; rows must run from top to bottom, columns from left to right. Raises ValueError."""
    found = _SIZES.search(data)
    if found is None:
        raise ValueError("the header is damaged, or its rows and columns are not stored from the top left")
    if b"\nFORMAT=32-bit_rle_rgbe\n" not in data[: found.end()]:
        raise UnsupportedPicture("only the format 32-bit_rle_rgbe is supported")
    height, width = int(found[1]), int(found[2])

    def decode(data: bytes) -> np.ndarray:
        import imagecodecs

        return imagecodecs.rgbe_decode(data)

    return PictureHeader(width, height, 3, np.dtype(np.float32), _EXPANSION, decode, unchecked="the HDR data")


def _store_hdr(path: Path, plane: np.ndarray) -> str | None:
    import imagecodecs

    inside = np.clip(np.nan_to_num(plane, nan=0.0), 0.0, _MAX_VALUE)
    pixels: Any = inside  # the stubs know only bytes
    path.write_bytes(imagecodecs.rgbe_encode(pixels, header=True))
    if np.array_equal(inside, plane):
        return None
    return "HDR holds no negative, infinite or undefined values; they became 0 or the largest value"


_LIMITS = Limits(frozenset({"float32"}), max_dims=2, channels=frozenset({3}))

OUTPUTS = picture_formats(
    "hdr",
    _store_hdr,
    _LIMITS,
    "Radiance: 3 channels of float32, 8 bits of precision",
    signatures=RADIANCE_SIGNATURES,
)

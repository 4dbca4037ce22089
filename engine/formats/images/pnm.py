"""PBM, PGM, PPM: read in all six variants, written as binary PGM or PPM.

As in ilastik the number of channels decides which of the two is written, regardless of the extension, and maxval is the
largest value of the picture, which most programs show as white.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..spec import Limits
from ..support.picture_reader import PictureHeader, check_size, exactly, read_all
from ..support.picture_writers import picture_formats
from ..support.signature import PNM_SIGNATURES

__all__ = ["OUTPUTS", "read_pnm_header"]

_SIZES = re.compile(rb"P([1-6])" + rb"(?:\s|#[^\n]*\n)+([0-9]{1,9})" * 2)
_COMMENT = re.compile(rb"#[^\n]*")
_ASCII = (1, 2, 3)  # kinds whose pixels are text
_MAX_DIGITS = 10  # of the largest maxval
_MAX_SHOWN = 20  # characters of a damaged word
_MAXVAL = re.compile(rb"(?:\s|#[^\n]*\n)+([0-9]{1,10})")


def read_pnm_header(data: bytes) -> PictureHeader:
    """Read the header of P1 to P6. Values are not scaled by maxval. Raises ValueError.

    A set bit of a bitmap is 255, as in vigra, although netpbm and Pillow call it black. Of a binary bitmap vigra reads
    zeros, since it looks for a byte per pixel at the end of the file; bits are those of an ASCII bitmap here.
    """
    match = _SIZES.match(data)
    if match is None:
        raise ValueError("the header is damaged")
    kind, width, height, at, maxval = int(match[1]), int(match[2]), int(match[3]), match.end(), 1
    if kind not in (1, 4):
        match = _MAXVAL.match(data, at)
        if match is None or not 0 < int(match[1]) < 1 << 32:
            raise ValueError("the largest value in the header is damaged")
        maxval, at = int(match[1]), match.end()
    channels = 3 if kind in (3, 6) else 1
    dtype = np.dtype(np.uint8 if maxval < 1 << 8 else np.uint16 if maxval < 1 << 16 else np.uint32)
    shape = (height, width, channels)

    def decode(data: bytes) -> np.ndarray:
        count = height * width * channels
        if kind == 4:
            rows = np.frombuffer(exactly(data, at + 1, height * -(-width // 8)), np.uint8)
            bits = np.unpackbits(rows.reshape(height, -1), axis=1, count=width)
            return bits.reshape(shape) * np.uint8(255)
        if kind > 4:
            big_endian = dtype.newbyteorder(">")
            return np.frombuffer(exactly(data, at + 1, count * dtype.itemsize), big_endian).reshape(shape)
        text = _COMMENT.sub(b"", data[at:])
        if kind == 1:
            return _read_bits(text, count).reshape(shape)
        return _read_numbers(text, count, maxval).astype(dtype).reshape(shape)

    if kind in _ASCII:
        return PictureHeader(width, height, channels, dtype, 8.0, decode, lambda file: decode(read_all(file)))
    row_bytes = -(-width // 8) if kind == 4 else width * channels * dtype.itemsize
    return PictureHeader(width, height, channels, dtype, 8.0, decode, check_size(at + 1 + height * row_bytes))


def _read_bits(text: bytes, count: int) -> np.ndarray:
    """Parse the pixels of a bitmap in ASCII, with or without blanks between them. Raises ValueError."""
    digits = np.frombuffer(re.sub(rb"\s", b"", text), np.uint8)
    strange = (digits != ord("0")) & (digits != ord("1"))
    if strange.any():
        place = int(strange.argmax())
        raise ValueError(f"pixel {place + 1} is {_shown(digits[place].tobytes())}, but a bitmap holds only 0 and 1")
    _check_count(digits.size, count)
    return (digits - ord("0")) * np.uint8(255)


def _read_numbers(text: bytes, count: int, maxval: int) -> np.ndarray:
    """Parse the values of a picture in ASCII, none above ``maxval``. Raises ValueError."""
    words = text.split()
    # There are far fewer different words than words. isdigit of bytes accepts ASCII digits only, while int accepts
    # signs, underscores, and any number of digits.
    wrong = {word for word in set(words) if not word.isdigit() or len(word) > _MAX_DIGITS or int(word) > maxval}
    if wrong:
        place, word = next((i, word) for i, word in enumerate(words) if word in wrong)
        raise ValueError(f"value {place + 1} is {_shown(word)}, which is not an integer from 0 to {maxval}")
    _check_count(len(words), count)
    return np.array(words, dtype=np.uint64)


def _check_count(found: int, count: int) -> None:
    if found != count:
        ends = "it is truncated" if found < count else "the sizes in its header or its pixels are damaged"
        raise ValueError(f"the file holds {found} values, but its header declares {count}; {ends}")


def _shown(word: bytes) -> str:
    """Format a word of the file for a message."""
    text = word[:_MAX_SHOWN].decode("ascii", "backslashreplace")
    return repr(text + ("..." if len(word) > _MAX_SHOWN else ""))


def _store_pnm(path: Path, plane: np.ndarray) -> None:
    height, width, bands = plane.shape
    maxval = max(1, int(plane.max()))  # 0 is not allowed
    kind = {1: "P5", 3: "P6"}[bands]
    with open(path, "wb") as file:
        file.write(f"{kind}\n# generated by pixelforest\n{width} {height}\n{maxval}\n".encode("ascii"))
        # one byte a value if maxval fits into one, else two
        file.write(np.ascontiguousarray(plane, np.uint8 if maxval < 1 << 8 else ">u2").data)


_LIMITS = Limits(frozenset({"uint8", "uint16"}), stretches=True, max_dims=2, channels=frozenset({1, 3}))

OUTPUTS = tuple(
    output
    for name in ("pbm", "pgm", "pnm", "ppm")
    for output in picture_formats(
        name,
        _store_pnm,
        _LIMITS,
        "binary PGM (1 channel) or PPM (3 channels), 8 or 16 bits, uncompressed",
        signatures=PNM_SIGNATURES,
    )
)

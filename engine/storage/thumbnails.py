"""Small pictures in memory: JPEG for images, PNG with a palette for maps of classes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from io import BytesIO

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PALETTE = 3  # type of colour
_QUALITY = 72


class _Jpeg(BytesIO):
    """File in memory that tells its format by a name: if the format is stated, Pillow loads those of all pictures."""

    name = "picture.jpg"


def encode_image(voxels: np.ndarray) -> bytes:
    """Encode (y, x) or (y, x, 3) uint8 as JPEG."""
    from PIL import Image

    target = _Jpeg()
    Image.fromarray(np.ascontiguousarray(voxels)).save(target, quality=_QUALITY)
    return target.getvalue()


def encode_map(numbers: np.ndarray, colours: Sequence[tuple[int, int, int, int]]) -> bytes:
    """Encode (y, x) uint8 as PNG; the colours of the numbers are red, green, blue and opacity, from 0 to 255."""
    from isal import isal_zlib

    height, width = numbers.shape
    palette = bytes(part for colour in colours for part in colour[:3])
    bits = 4 if len(colours) <= 16 else 8
    rows = np.zeros((height, 1 + -(-width * bits // 8)), np.uint8)  # each begins with the number of its filter
    if bits == 8:
        rows[:, 1:] = numbers
    else:
        rows[:, 1:] = numbers[:, ::2] << np.uint8(4)
        rows[:, 1 : 1 + width // 2] |= numbers[:, 1::2]
    head = struct.pack(">IIBBBBB", width, height, bits, _PALETTE, 0, 0, 0)
    parts = [
        (b"IHDR", head),
        (b"PLTE", palette),
        (b"tRNS", bytes(colour[3] for colour in colours)),
        (b"IDAT", isal_zlib.compress(rows, 2)),
        (b"IEND", b""),
    ]
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", isal_zlib.crc32(name + data))
        for name, data in parts
    )


def shrink_image(encoded: bytes) -> bytes:
    """Halve the sides of a picture of this module."""
    from PIL import Image

    with Image.open(BytesIO(encoded)) as picture:
        size = (max(1, picture.width // 2), max(1, picture.height // 2))
        if picture.mode != "P":
            return encode_image(np.asarray(picture.resize(size, Image.Resampling.BOX)))
        target = BytesIO()
        small = picture.resize(size, Image.Resampling.NEAREST)
        small.save(target, "PNG", transparency=picture.info.get("transparency", b""))
        return target.getvalue()


def lay_over(image: bytes, outlines: bytes | None = None) -> bytes:
    """Draw an encoded map, as opaque as its colours, over an encoded picture of the same size."""
    if outlines is None:
        return image
    from PIL import Image

    with Image.open(BytesIO(image)) as below, Image.open(BytesIO(outlines)) as above:
        both = Image.alpha_composite(below.convert("RGBA"), above.convert("RGBA"))
        return encode_image(np.asarray(both.convert("RGB")))


def picture_type(encoded: bytes) -> str:
    """MIME type of a picture of this module."""
    return "image/png" if encoded.startswith(_SIGNATURE) else "image/jpeg"

"""VIFF, the format of Khoros: any number of planar channels, of five pixel types.

Files are read as far as vigra does: uncompressed, one image per file, with or without colour maps. They are written in
little-endian order with vigra's header.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from ..spec import Limits
from ..support.picture_reader import PictureHeader, UnsupportedPicture, check_size, exactly
from ..support.picture_writers import picture_formats

__all__ = ["OUTPUTS", "VIFF_MAGIC", "read_viff_header"]

VIFF_MAGIC = b"\xab\x01"
_HEADER_BYTES = 1024
_FIELDS = 520  # after a comment
_RELEASE, _VERSION = 1, 3
_BYTE_ORDERS = {2: ">", 8: "<"}
_LITTLE_ENDIAN = 8
_TYPES = {1: "u1", 2: "i2", 4: "i4", 5: "f4", 9: "f8"}
_MAP_TYPES = {1: "u1", 2: "i2", 4: "i4", 5: "f4"}
_NO_MAP, _MAP_PER_BAND, _MAP_CYCLE, _SHARED_MAP, _GROUPED_MAP = range(5)
_EXPLICIT_PLACES = 2
_GENERIC_RGB = 15


def read_viff_header(data: bytes) -> PictureHeader:
    """Read the header. Raises ValueError for damage, and for variants that vigra does not read either."""
    header = exactly(data, 0, _HEADER_BYTES)
    release, version, machine = header[2:5]
    if (release, version) != (_RELEASE, _VERSION) or machine not in _BYTE_ORDERS:
        raise UnsupportedPicture(f"VIFF {version}.{release} of machine type {machine} is not supported")
    order = _BYTE_ORDERS[machine]
    fields = struct.unpack_from(f"{order}16I", header, _FIELDS)
    width, height, places, images, bands, pixel_type, encoding = (fields[i] for i in (0, 1, 7, 9, 10, 11, 12))
    map_scheme, map_type, map_width = fields[13:16]
    (map_height,) = struct.unpack_from(f"{order}I", header, _FIELDS + 64)
    if places == _EXPLICIT_PLACES or images > 1 or encoding:
        raise UnsupportedPicture("VIFF with several images, explicit locations or compression is not supported")
    if pixel_type not in _TYPES:
        raise UnsupportedPicture(f"VIFF with pixels of type {pixel_type} is not supported")
    stored = np.dtype(order + _TYPES[pixel_type])
    if map_scheme == _NO_MAP:
        return _plain(width, height, bands, stored)
    if map_scheme not in (_MAP_PER_BAND, _SHARED_MAP, _GROUPED_MAP) or map_type not in _MAP_TYPES:
        raise UnsupportedPicture(f"VIFF with colour maps of scheme {map_scheme} and type {map_type} is not supported")
    if stored.kind == "f" or (map_width > 1 and bands != 1):
        raise ValueError("the colour maps do not suit the pixels")
    maps = 1 if map_scheme == _SHARED_MAP else bands
    table = np.dtype(order + _MAP_TYPES[map_type])
    return _mapped(width, height, bands, stored, table, (maps * map_width, map_height))


def _plain(width: int, height: int, bands: int, stored: np.dtype) -> PictureHeader:
    def decode(data: bytes) -> np.ndarray:
        pixels = exactly(data, _HEADER_BYTES, width * height * bands * stored.itemsize)
        return np.moveaxis(np.frombuffer(pixels, stored).reshape(bands, height, width), 0, 2)

    check = check_size(_HEADER_BYTES + width * height * bands * stored.itemsize)
    return PictureHeader(width, height, bands, stored.newbyteorder("="), 1.0, decode, check)


def _mapped(
    width: int, height: int, bands: int, stored: np.dtype, table: np.dtype, map_shape: tuple[int, int]
) -> PictureHeader:
    """Read mapped pixels: each is an index into the maps of its band, or of all bands that one band is mapped to."""
    count = map_shape[0] * map_shape[1]
    channels = max(map_shape[0], bands)

    def decode(data: bytes) -> np.ndarray:
        maps = np.frombuffer(exactly(data, _HEADER_BYTES, count * table.itemsize), table).reshape(map_shape)
        start = _HEADER_BYTES + count * table.itemsize
        places = np.frombuffer(exactly(data, start, width * height * bands * stored.itemsize), stored)
        places = places.reshape(bands, height, width)
        if places.min() < 0 or places.max() >= map_shape[1]:
            raise ValueError("a pixel lies outside the colour map")
        mapped = [maps[min(i, map_shape[0] - 1)][places[min(i, bands - 1)]] for i in range(channels)]
        return np.stack(mapped, axis=2)

    expansion = float(channels * table.itemsize)
    check = check_size(_HEADER_BYTES + count * table.itemsize + width * height * bands * stored.itemsize)
    unchecked = "whether the colour maps hold all pixels"
    return PictureHeader(width, height, channels, table.newbyteorder("="), expansion, decode, check, unchecked)


def _store_xv(path: Path, plane: np.ndarray) -> None:
    height, width, bands = plane.shape
    pixel_type = next(n for n, name in _TYPES.items() if np.dtype(name) == plane.dtype)
    header = bytearray(_HEADER_BYTES)
    header[:5] = *VIFF_MAGIC, _RELEASE, _VERSION, _LITTLE_ENDIAN
    struct.pack_into("<2I", header, _FIELDS, width, height)
    struct.pack_into("<5I", header, _FIELDS + 28, 1, 0, 1, bands, pixel_type)  # implicit locations, one image
    struct.pack_into("<I", header, _FIELDS + 80, _GENERIC_RGB if bands == 3 else 0)
    with open(path, "wb") as file:
        file.write(header)
        for band in range(bands):
            file.write(np.ascontiguousarray(plane[..., band], plane.dtype.newbyteorder("<")).data)


_LIMITS = Limits(frozenset({"uint8", "int16", "int32", "float32", "float64"}), stretches=True, max_dims=2)

OUTPUTS = picture_formats(
    "xv", _store_xv, _LIMITS, "VIFF (Khoros): any number of channels, uncompressed", signatures=(VIFF_MAGIC,)
)

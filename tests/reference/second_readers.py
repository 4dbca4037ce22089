"""Files of every output format read back by something else than the code that wrote them.

A format is listed under its extension; the page docs/formats.md names its reader. Where no library reads a format, it
is read here, straight from its specification.
"""

from __future__ import annotations

import gzip
import itertools
import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image


@dataclass(frozen=True)
class SecondReader:
    """``read`` gives the array of a file in the file's own order of axes; it skips the test if a library is missing."""

    name: str
    read: Callable[[Path], np.ndarray]


def read_hdf5(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return file["exported_data"][()]


def read_with_pillow(path: Path) -> np.ndarray:
    # A Sun raster of one pixel begins like a brush of GIMP, which Pillow reads as well once all its plugins are loaded.
    with Image.open(path, formats=["SUN"] if path.suffix == ".ras" else None) as picture:
        if picture.mode != "P":
            return np.asarray(picture)
        colours = np.asarray(picture.convert("RGB"))
    # a palette of gray levels
    return colours[..., 0] if (colours == colours[..., :1]).all() else colours


def read_with_opencv(path: Path) -> np.ndarray:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None, f"OpenCV cannot read {path}"
    return pixels if pixels.ndim == 2 else pixels[..., ::-1]


def read_png(path: Path) -> np.ndarray:
    """A PNG without palette or interlacing, from the specification (Pillow reads 16-bit colour as 8-bit)."""
    data = path.read_bytes()
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    pixel = {0: 1, 2: 3, 4: 2, 6: 4}[colour] * depth // 8
    packed, at = b"", 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        packed += data[at + 8 : at + 8 + size] if data[at + 4 : at + 8] == b"IDAT" else b""
        at += size + 12
    lines = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, -1)
    above = [0] * (width * pixel)
    rows = []
    for line in lines.tolist():
        kind, row = line[0], line[1:]
        for i in range(len(row)):
            a, b, c = (row[i - pixel], above[i], above[i - pixel]) if i >= pixel else (0, above[i], 0)
            nearest = min((a, b, c), key=lambda v: abs(a + b - c - v))  # Paeth: a before b before c
            row[i] = (row[i] + (0, a, b, (a + b) // 2, nearest)[kind]) % 256
        rows.append(row)
        above = row
    pixels = np.array(rows, np.uint8).view(f">u{depth // 8}").reshape(height, width, -1)
    return pixels.astype(pixels.dtype.newbyteorder("="))


def read_viff(path: Path) -> np.ndarray:
    """An uncompressed VIFF of one image without maps, from the specification of Khoros 1.0."""
    data = path.read_bytes()
    assert data[:4] == b"\xab\x01\x01\x03"  # magic, file type, release, version
    order = {2: ">", 8: "<"}[data[4]]
    columns, rows = struct.unpack_from(f"{order}2i", data, 520)
    location, _, images, bands, storage, encoding, maps = struct.unpack_from(f"{order}7i", data, 548)
    assert (location, images, encoding, maps) == (1, 1, 0, 0)
    dtype = {1: "uint8", 2: "int16", 4: "int32", 5: "float32", 9: "float64"}[storage]
    pixels = np.frombuffer(data, np.dtype(dtype).newbyteorder(order), offset=1024)
    return np.moveaxis(pixels.reshape(bands, rows, columns), 0, -1).astype(dtype)


def read_n5(path: Path, name: str = "exported_data") -> np.ndarray:
    """A dataset of an N5 container, raw or gzip, from the specification of N5 2.0."""
    folder = path / name
    attributes = json.loads((folder / "attributes.json").read_text(encoding="utf-8"))
    shape, block = attributes["dimensions"], attributes["blockSize"]
    dtype = np.dtype(attributes["dataType"])
    result = np.zeros(shape, dtype)
    for corner in itertools.product(*(range(0, n, b) for n, b in zip(shape, block, strict=True))):
        file = folder.joinpath(*(str(c // b) for c, b in zip(corner, block, strict=True)))
        if not file.exists():
            continue  # a block of zeros
        data = file.read_bytes()
        mode, ndim = struct.unpack_from(">HH", data)
        assert (mode, ndim) == (0, len(shape))
        sizes = struct.unpack_from(f">{ndim}I", data, 4)
        voxels = data[4 + 4 * ndim :]
        if attributes["compression"]["type"] == "gzip":
            voxels = gzip.decompress(voxels)
        piece = np.frombuffer(voxels, dtype.newbyteorder(">")).reshape(sizes, order="F")
        inside = tuple(slice(c, min(c + s, n)) for c, s, n in zip(corner, sizes, shape, strict=True))
        result[inside] = piece[tuple(slice(0, i.stop - i.start) for i in inside)]
    return result.T


def read_zarr(path: Path, name: str = "s0") -> np.ndarray:
    zarr = pytest.importorskip("zarr", reason="zarr-python is not installed")
    return zarr.open_array(str(path / name), mode="r")[...]


_PILLOW = SecondReader("Pillow", read_with_pillow)
_OPENCV = SecondReader("OpenCV", read_with_opencv)
_TIFFFILE = SecondReader("tifffile", tifffile.imread)

SECOND_READERS: dict[str, SecondReader] = {
    "h5": SecondReader("h5py", read_hdf5),
    "npy": SecondReader("numpy", np.load),
    "tif": _TIFFFILE,
    "tiff": _TIFFFILE,
    "png": SecondReader("a reader in the tests, Pillow", read_png),
    "jpg": _PILLOW,
    "jpeg": _PILLOW,
    "bmp": _PILLOW,
    "gif": _PILLOW,
    "ras": _PILLOW,
    "hdr": _OPENCV,
    "pbm": _OPENCV,
    "pgm": _OPENCV,
    "pnm": _OPENCV,
    "ppm": _OPENCV,
    "n5": SecondReader("a reader in the tests", read_n5),
    "zarr": SecondReader("zarr-python, ome-zarr-models", read_zarr),
    "xv": SecondReader("a reader in the tests, GraphicsMagick", read_viff),
}

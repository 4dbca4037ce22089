"""Sun rasters: rows with and without padding, run lengths, colour maps, and what is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixelforest.box import Box
from pixelforest.engine.errors import InputError
from pixelforest.engine.formats import output_format
from pixelforest.engine.formats.images.picture import open_picture
from pixelforest.engine.formats.spec import ImageSpec

RNG = np.random.default_rng(7)
OLD, STANDARD, RUN_LENGTHS, RGB = range(4)


def raster(rows: bytes, width: int, height: int, depth: int, kind: int, table: bytes = b"", map_kind=None, length=None):
    """A file made by hand; ``rows`` as they are stored."""
    map_kind = (1 if table else 0) if map_kind is None else map_kind
    fields = (width, height, depth, len(rows) if length is None else length, kind, map_kind, len(table))
    return b"\x59\xa6\x6a\x95" + struct.pack(">7I", *fields) + table + rows


def read(path: Path, data: bytes) -> np.ndarray:
    path.write_bytes(data)
    with open_picture(path) as picture:
        pixels = picture.read(Box.whole(picture.info.shape))
        assert pixels.dtype == np.uint8
        assert pixels.shape == picture.info.shape
        return pixels


def padded(pixels: np.ndarray) -> bytes:
    rows = pixels.reshape(len(pixels), -1)
    return np.pad(rows, ((0, 0), (0, rows.shape[1] % 2))).tobytes()


@pytest.mark.parametrize("width", [4, 5])
@pytest.mark.parametrize("length", [None, 0], ids=["length", "no length"])
@pytest.mark.parametrize("kind", [OLD, STANDARD, RGB])
def test_colours_of_a_sun_raster_are_in_order(kind: int, length: int | None, width: int, tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (3, width, 3), dtype=np.uint8)
    stored = pixels if kind == RGB else pixels[..., ::-1]
    data = raster(padded(stored), width, 3, 24, kind, length=length)
    assert np.array_equal(read(tmp_path / "a.ras", data), pixels)
    with Image.open(tmp_path / "a.ras") as picture:
        assert np.array_equal(np.asarray(picture), pixels)


def test_rows_that_ilastik_did_not_pad(tmp_path: Path) -> None:
    gray = RNG.integers(0, 256, (3, 5, 1), dtype=np.uint8)
    assert np.array_equal(read(tmp_path / "a.ras", raster(gray.tobytes(), 5, 3, 8, STANDARD)), gray)


def test_little_endian_headers(tmp_path: Path) -> None:
    data = b"\x95\x6a\xa6\x59" + struct.pack("<7I", 2, 1, 8, 2, STANDARD, 0, 0) + b"\x05\x09"
    assert read(tmp_path / "a.ras", data).tolist() == [[[5], [9]]]


def test_colour_maps(tmp_path: Path) -> None:
    places = RNG.integers(0, 4, (3, 6), dtype=np.uint8)
    table = RNG.integers(0, 256, (3, 4), dtype=np.uint8)  # all reds, all greens, all blues
    data = raster(padded(places), 6, 3, 8, STANDARD, table.tobytes())
    assert np.array_equal(read(tmp_path / "a.ras", data), table.T[places])
    with Image.open(tmp_path / "a.ras") as picture:
        assert np.array_equal(np.asarray(picture.convert("RGB")), table.T[places])
    data = raster(padded(places), 6, 3, 8, STANDARD, table[0].tobytes(), map_kind=2)
    assert np.array_equal(read(tmp_path / "a.ras", data)[..., 0], table[0][places])
    with pytest.raises(InputError, match="outside the colour map"):
        read(tmp_path / "a.ras", raster(b"\x04\x00", 2, 1, 8, STANDARD, table.tobytes()))


def test_run_lengths(tmp_path: Path) -> None:
    # two plain bytes, 7 x 9, the escape byte itself, 3 x 128, one byte more
    data = raster(b"\x01\x02\x80\x06\x09\x80\x00\x80\x02\x80\x05", 14, 1, 8, RUN_LENGTHS)
    assert read(tmp_path / "a.ras", data).ravel().tolist() == [1, 2, *[9] * 7, 128, *[128] * 3, 5]
    with Image.open(tmp_path / "a.ras") as picture:
        assert np.asarray(picture).tolist() == [[1, 2, *[9] * 7, 128, *[128] * 3, 5]]


def test_bits_of_a_sun_raster_are_read(tmp_path: Path) -> None:
    data = raster(b"\xa0\x40\x00\x00", 10, 2, 1, STANDARD)
    pixels = read(tmp_path / "a.ras", data)[..., 0]
    with Image.open(tmp_path / "a.ras") as picture:
        assert np.array_equal(pixels, np.asarray(picture).astype(np.uint8) * 255)
    assert pixels[0].tolist() == [0, 255, 0, 255, 255, 255, 255, 255, 255, 0]


@pytest.mark.parametrize(
    "data",
    [
        raster(b"", 5, 5, 8, STANDARD),
        raster(b"\x01" * 9, 5, 2, 8, RUN_LENGTHS),
        raster(b"\x01" * 8, 2, 1, 32, STANDARD),
        raster(b"\x01" * 8, 2, 1, 8, 5),
        raster(b"\x01" * 8, 2, 1, 24, STANDARD, b"\x01" * 6),
        raster(b"\x01" * 8, 0, 1, 8, STANDARD),
        raster(b"\x01" * 8, 1 << 31, 1 << 31, 24, STANDARD),
        raster(b"\x01" * 8, 2, 2, 8, STANDARD)[:20],
    ],
    ids=["no pixels", "short runs", "32 bits", "unknown type", "map for RGB", "empty", "huge", "short header"],
)
def test_damaged_sun_rasters_are_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*a\.ras"):
        read(tmp_path / "a.ras", data)


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("width", [6, 7])
def test_a_written_sun_raster_is_read_by_others(width: int, bands: int, tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (4, width, bands), dtype=np.uint8)
    writer = output_format("ras").open(tmp_path / "a.ras", "", ImageSpec(pixels.shape, pixels.dtype, "yxc", (0,) * 3))
    writer.write(Box.whole(pixels.shape), pixels)
    (path,) = writer.finish()
    data = path.read_bytes()
    assert data == raster(padded(pixels[..., ::-1]), width, 4, 8 * bands, STANDARD)
    assert np.array_equal(read(tmp_path / "b.ras", data), pixels)

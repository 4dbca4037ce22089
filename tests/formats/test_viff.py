"""VIFF: all pixel types and both byte orders, colour maps, and what is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from pixelforest.box import Box
from pixelforest.engine.errors import InputError
from pixelforest.engine.formats import output_format
from pixelforest.engine.formats.images.picture import open_picture
from pixelforest.engine.formats.spec import ImageSpec

RNG = np.random.default_rng(9)
TYPES = {"uint8": 1, "int16": 2, "int32": 4, "float32": 5, "float64": 9}
FIELDS = {  # place of each field behind the comment
    "width": 0, "height": 1, "places": 7, "images": 9, "bands": 10, "type": 11, "encoding": 12, "maps": 13,
    "map_type": 14, "map_width": 15, "map_height": 16, "colours": 20,
}  # fmt: skip


def viff(body: bytes, *, order: str = "<", start: bytes = b"\xab\x01\x01\x03", **fields: int) -> bytes:
    header = bytearray(1024)
    header[:5] = *start, {"<": 8, ">": 2}.get(order, 4)
    for name, value in {"places": 1, "images": 1, **fields}.items():
        struct.pack_into(f"{order if order in '<>' else '<'}I", header, 520 + 4 * FIELDS[name], value)
    return bytes(header) + body


def read(path: Path, data: bytes) -> np.ndarray:
    path.write_bytes(data)
    with open_picture(path) as picture:
        pixels = picture.read(Box.whole(picture.info.shape))
        assert pixels.dtype == picture.info.dtype
        assert pixels.dtype.isnative
        return pixels


def noise(dtype: str, bands: int) -> np.ndarray:
    return RNG.integers(0, 120, (4, 7, bands)).astype(dtype)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("bands", [1, 5])
def test_types_and_byte_orders(bands: int, dtype: str, order: str, tmp_path: Path) -> None:
    pixels = noise(dtype, bands)
    body = np.moveaxis(pixels, 2, 0).astype(pixels.dtype.newbyteorder(order)).tobytes()
    found = read(tmp_path / "a.xv", viff(body, order=order, width=7, height=4, bands=bands, type=TYPES[dtype]))
    assert found.dtype == dtype
    assert np.array_equal(found, pixels)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("bands", [1, 3, 4])
def test_a_written_viff_is_read_by_others(bands: int, dtype: str, tmp_path: Path) -> None:
    pixels = noise(dtype, bands)
    writer = output_format("xv").open(tmp_path / "a.xv", "", ImageSpec(pixels.shape, pixels.dtype, "yxc", (0,) * 3))
    writer.write(Box.whole(pixels.shape), pixels)
    (path,) = writer.finish()
    body = np.moveaxis(pixels, 2, 0).astype(pixels.dtype.newbyteorder("<")).tobytes()
    colours = 15 if bands == 3 else 0
    assert path.read_bytes() == viff(body, width=7, height=4, bands=bands, type=TYPES[dtype], colours=colours)
    assert np.array_equal(read(tmp_path / "b.xv", path.read_bytes()), pixels)


@pytest.mark.parametrize(("map_type", "dtype"), [(1, "uint8"), (2, "int16"), (4, "int32"), (5, "float32")])
def test_one_band_through_a_map_of_colours(map_type: int, dtype: str, tmp_path: Path) -> None:
    places = RNG.integers(0, 6, (4, 7), dtype=np.uint8)
    table = RNG.integers(0, 120, (3, 6)).astype(dtype)
    fields = {"bands": 1, "type": 1, "maps": 3, "map_type": map_type, "map_width": 3, "map_height": 6}
    found = read(tmp_path / "a.xv", viff(table.tobytes() + places.tobytes(), width=7, height=4, **fields))
    assert found.dtype == dtype
    assert np.array_equal(found, table.T[places])
    with pytest.raises(InputError, match="outside the colour map"):
        read(tmp_path / "a.xv", viff(table.tobytes() + bytes([6] * 28), width=7, height=4, **fields))


@pytest.mark.parametrize("is_shared", [False, True])
def test_bands_through_maps_of_their_own_or_a_shared_one(is_shared: bool, tmp_path: Path) -> None:
    places = RNG.integers(0, 6, (2, 4, 7), dtype=np.int16)
    tables = RNG.integers(0, 120, (1 if is_shared else 2, 6), dtype=np.uint8)
    fields = {"bands": 2, "type": 2, "maps": 3 if is_shared else 1, "map_type": 1, "map_width": 1, "map_height": 6}
    found = read(tmp_path / "a.xv", viff(tables.tobytes() + places.tobytes(), width=7, height=4, **fields))
    assert np.array_equal(found[..., 0], tables[0][places[0]])
    assert np.array_equal(found[..., 1], tables[-1][places[1]])


GOOD = {"width": 2, "height": 1, "bands": 1, "type": 1}


@pytest.mark.parametrize(
    "data",
    [
        viff(b"\x01", **GOOD),
        viff(b"\x01\x02", **GOOD)[:1000],
        viff(b"\x01\x02", start=b"\xab\x01\x01\x02", **GOOD),
        viff(b"\x01\x02", order="vax", **GOOD),
        viff(b"\x01\x02", **{**GOOD, "type": 0}),
        viff(b"\x01\x02", **{**GOOD, "type": 6}),
        viff(b"\x01\x02", **{**GOOD, "bands": 0}),
        viff(b"\x01\x02", **{**GOOD, "height": 1 << 31}),
        viff(b"\x01\x02", places=2, **GOOD),
        viff(b"\x01\x02", images=2, **GOOD),
        viff(b"\x01\x02", encoding=1, **GOOD),
        viff(b"\x01\x02", maps=2, **GOOD),
        viff(b"\x01\x02", maps=1, map_type=7, **GOOD),
        viff(b"\x01\x02", maps=1, map_type=1, map_width=3, **{**GOOD, "bands": 2}),
        viff(b"\x01\x02", maps=1, map_type=1, map_width=1, **{**GOOD, "type": 5}),
        viff(b"\x01\x02", maps=1, map_type=1, map_width=1, map_height=1 << 31, **GOOD),
    ],
)
def test_damaged_viff_files_are_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*a\.xv"):
        read(tmp_path / "a.xv", data)

"""Zipped Zarr stores, arrays without OME metadata, and N5 of other compressions."""

from __future__ import annotations

import gzip
import json
import struct
import zipfile
from pathlib import Path

import imagecodecs
import numcodecs
import numpy as np
import pytest
import zarr
from support.zarr_stores import put_attributes, write_image

from pixelforest.box import Box
from pixelforest.engine.errors import InputError
from pixelforest.engine.formats.images.n5 import N5Reader, list_datasets
from pixelforest.engine.formats.images.ome_zarr import OmeZarrReader, list_stored_images
from pixelforest.engine.inputs.images import open_image
from pixelforest.engine.inputs.lanes import InputOptions

VOLUME = np.random.default_rng(6).integers(0, 60_000, (5, 23, 31), dtype=np.uint16)
INNER = Box((1, 3, 8), (4, 20, 31))


def put_in_zip(folder: Path, archive: Path, *, inside: str = "", compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(archive, "w", compression) as opened:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                opened.write(file, f"{inside}{file.relative_to(folder).as_posix()}")
    return archive


# ------------------------------------------------------------------------------------------------------ zip archives


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("name", "inside", "compression"),
    [("a.ozx", "", zipfile.ZIP_STORED), ("a.zarr.zip", "a.zarr/", zipfile.ZIP_DEFLATED)],
    ids=["ozx", "zarr.zip"],
)
def test_a_zipped_image_is_read_by_region(
    tmp_path: Path, version: int, name: str, inside: str, compression: int
) -> None:
    write_image(tmp_path / "image", VOLUME, version=version, chunks=(2, 8, 16))
    archive = put_in_zip(tmp_path / "image", tmp_path / name, inside=inside, compression=compression)
    with zarr.storage.ZipStore(archive, mode="r") as store:
        second = np.asarray(zarr.open_array(store=store, path=f"{inside}0", mode="r"))
    with OmeZarrReader(archive, "") as reader:
        assert (reader.info.axes, reader.info.chunks) == ("zyx", (2, 8, 16))
        assert np.array_equal(reader.read(INNER), second[INNER.slices()])
    assert np.array_equal(second, VOLUME)
    for argument in (f"{archive}", f"{archive}/0"):
        with open_image(argument, role_index=0, training=None, options=InputOptions()) as image:
            assert image.nickname == ("a" if argument == str(archive) else "a-0")
            assert np.array_equal(image.read(Box.whole(image.shape))[0, ..., 0], VOLUME)


def test_codecs_of_other_libraries_are_decoded_in_an_archive(tmp_path: Path) -> None:
    write_image(tmp_path / "image", VOLUME, chunks=(2, 8, 16), compressors=numcodecs.LZ4())
    archive = put_in_zip(tmp_path / "image", tmp_path / "a.ozx")
    with OmeZarrReader(archive, "") as reader:
        assert np.array_equal(reader.read(INNER), VOLUME[INNER.slices()])


def test_images_of_an_archive_are_listed(tmp_path: Path) -> None:
    for number in range(2):
        write_image(tmp_path / "image" / str(number), VOLUME + number)
    put_attributes(tmp_path / "image", **{"bioformats2raw.layout": 3})
    archive = put_in_zip(tmp_path / "image", tmp_path / "a.ozx")
    assert list_stored_images(archive) == ["0", "1"]
    with pytest.raises(InputError, match=r"several images; name one of its images: \S+/a\.ozx/0, \S+/a\.ozx/1"):
        OmeZarrReader(archive, "")
    with OmeZarrReader(archive, "1") as reader:
        assert np.array_equal(reader.read(INNER), VOLUME[INNER.slices()] + 1)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "image", VOLUME)
    archive = put_in_zip(tmp_path / "image", tmp_path / "a.ozx")
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a zip file"):
        OmeZarrReader(archive, "")
    archive.write_bytes(whole.replace(b'"shape"', b'"shade"'))  # the checksum of that file is wrong now
    with pytest.raises(InputError, match="crc-32"):
        OmeZarrReader(archive, "")


# ---------------------------------------------------------------------------------------------------------- plain Zarr


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("place", ["a.zarr", "a.zarr/raw", "a.zarr/group/raw"])
def test_a_plain_array_is_read_with_given_axes(tmp_path: Path, version: int, place: str) -> None:
    if place != "a.zarr":
        zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=version)
    array = zarr.create_array(
        tmp_path / place, shape=VOLUME.shape, dtype=VOLUME.dtype, chunks=(2, 8, 16), zarr_format=version
    )
    array[...] = VOLUME
    options = InputOptions(input_axes=("cyx",))
    with open_image(str(tmp_path / place), role_index=0, training=None, options=options) as image:
        assert image.axes == "cyx"
        assert image.scales is None
        assert np.array_equal(image.read(Box.whole(image.shape))[0, 0], np.moveaxis(VOLUME, 0, -1))


def test_names_of_dimensions_are_axes(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=VOLUME, zarr_format=3, dimension_names=("t", "y", "x"))
    with OmeZarrReader(tmp_path / "a.zarr", "") as reader:
        assert (reader.info.axes, reader.info.own_axes) == ("tyx", True)
    array = zarr.create_array(tmp_path / "b.zarr", data=VOLUME, zarr_format=2)
    array.attrs["_ARRAY_DIMENSIONS"] = ["c", "y", "x"]
    with OmeZarrReader(tmp_path / "b.zarr", "") as reader:
        assert (reader.info.axes, reader.info.own_axes) == ("cyx", True)


def test_the_only_array_of_a_group_is_read_and_several_are_listed(tmp_path: Path) -> None:
    root = tmp_path / "a.zarr"
    zarr.open_group(root, mode="w", zarr_format=3)
    zarr.create_array(root / "raw", data=VOLUME, zarr_format=3)
    with OmeZarrReader(root, "") as reader:
        assert np.array_equal(reader.read(INNER), VOLUME[INNER.slices()])
    zarr.create_array(root / "mask", data=VOLUME, zarr_format=3)
    with pytest.raises(InputError, match=r"name one of its images: \S+/raw, \S+/mask"):
        OmeZarrReader(root, "")
    assert list_stored_images(root) == ["raw", "mask"]


def test_an_array_in_an_image_that_is_no_level_of_it(tmp_path: Path) -> None:
    root = tmp_path / "a.zarr"
    write_image(root, VOLUME)
    zarr.create_array(root / "mask", data=VOLUME + 1, zarr_format=2)
    with OmeZarrReader(root / "mask", "") as reader:
        assert np.array_equal(reader.read(INNER), VOLUME[INNER.slices()] + 1)
    with OmeZarrReader(root / "0", "") as reader:
        assert reader.info.own_axes


# -------------------------------------------------------------------------------------------------------------- plates


def test_the_images_of_a_plate_are_those_of_its_wells(tmp_path: Path) -> None:
    root = tmp_path / "plate.zarr"
    put_attributes(root, plate={"wells": [{"path": "A/1"}, {"path": "B/2"}]})
    for well, fields in {"A/1": ["0", "1"], "B/2": ["7"]}.items():
        put_attributes(root / well, well={"images": [{"path": field} for field in fields]})
        for field in fields:
            write_image(root / well / field, VOLUME + int(field))
    assert list_stored_images(root) == ["A/1/0", "A/1/1", "B/2/7"]
    with pytest.raises(InputError, match=r"a plate .*/A/1/0, \S+/A/1/1, \S+/B/2/7$"):
        OmeZarrReader(root, "")
    assert list_stored_images(root / "A" / "1") == ["0", "1"]
    with OmeZarrReader(root / "B" / "2" / "7", "") as reader:
        assert np.array_equal(reader.read(INNER), VOLUME[INNER.slices()] + 7)


# ------------------------------------------------------------------------------------------------------------------ N5


def pack_lz4(data: bytes, *, frame: int = 1 << 10) -> bytes:
    """Write frames as LZ4BlockOutputStream does: those that do not shrink are stored, and an empty one is the last."""
    parts = []
    for start in range(0, len(data), frame):
        piece = data[start : start + frame]
        packed = bytes(imagecodecs.lz4_encode(piece, header=False))
        token, packed = (0x20, packed) if len(packed) < len(piece) else (0x10, piece)
        parts.append(struct.pack("<8sBIII", b"LZ4Block", token | 6, len(packed), len(piece), 0) + packed)
    return b"".join(parts) + struct.pack("<8sBIII", b"LZ4Block", 0x10 | 6, 0, 0, 0)


def write_n5(container: Path, voxels: np.ndarray, block: tuple[int, ...], pack, **attributes: object) -> None:
    """Write a dataset by the specification: axes reversed, blocks at the end smaller, big-endian."""
    root = container / "data"
    for corner in np.ndindex(*(-(-n // m) for n, m in zip(voxels.shape, block, strict=True))):
        part = voxels[tuple(slice(i * m, i * m + m) for i, m in zip(corner, block, strict=True))]
        file = root.joinpath(*map(str, reversed(corner)))
        file.parent.mkdir(parents=True, exist_ok=True)
        head = struct.pack(f">HH{part.ndim}I", 0, part.ndim, *reversed(part.shape))
        file.write_bytes(head + pack(part.astype(part.dtype.newbyteorder(">")).tobytes()))
    description = {"dimensions": voxels.shape[::-1], "blockSize": block[::-1], "dataType": voxels.dtype.name}
    (container / "attributes.json").write_text('{"n5": "1.0.0"}', encoding="utf-8")
    (root / "attributes.json").write_text(json.dumps({**description, **attributes}), encoding="utf-8")


@pytest.mark.parametrize(
    ("voxels", "is_old"),
    [(VOLUME, False), (VOLUME, True), (np.zeros_like(VOLUME), False), (VOLUME.astype(np.float32), False)],
    ids=["noise", "old attribute", "constant", "float32"],
)
def test_n5_of_lz4(tmp_path: Path, voxels: np.ndarray, is_old: bool) -> None:
    kind = {"compressionType": "lz4"} if is_old else {"compression": {"type": "lz4", "blockSize": 65536}}
    write_n5(tmp_path / "a.n5", voxels, (2, 8, 16), pack_lz4, **kind)
    with N5Reader(tmp_path / "a.n5", "") as reader:
        assert reader.info.chunks == (2, 8, 16)
        assert np.array_equal(reader.read(INNER), voxels[INNER.slices()])
        assert np.array_equal(reader.read(Box.whole(voxels.shape)), voxels)
        (tmp_path / "a.n5" / "data" / "0" / "0" / "0").unlink()
    with N5Reader(tmp_path / "a.n5", "data") as reader:
        assert not reader.read(Box((0, 0, 0), (2, 8, 16))).any()


@pytest.mark.parametrize(("kind", "pack"), [("raw", bytes), ("gzip", gzip.compress)])
def test_n5_of_the_older_attribute(tmp_path: Path, kind: str, pack) -> None:
    write_n5(tmp_path / "a.n5", VOLUME, (2, 8, 16), pack, compressionType=kind)
    assert list_datasets(tmp_path / "a.n5") == ("data",)
    with N5Reader(tmp_path / "a.n5", "data") as reader:
        assert np.array_equal(reader.read(INNER), VOLUME[INNER.slices()])


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:40], id="cut"),
        pytest.param(lambda data: data.replace(b"LZ4Block", b"LZ4Black"), id="mark"),
        pytest.param(lambda data: data[:4] + struct.pack(">3I", 99, 99, 99) + data[16:], id="too large"),
        pytest.param(lambda data: b"\0\3" + data[2:], id="mode"),
    ],
)
def test_damaged_blocks_of_lz4_are_refused(tmp_path: Path, damage) -> None:
    write_n5(tmp_path / "a.n5", VOLUME, (2, 8, 16), pack_lz4, compression={"type": "lz4"})
    file = tmp_path / "a.n5" / "data" / "0" / "0" / "0"
    file.write_bytes(damage(file.read_bytes()))
    with N5Reader(tmp_path / "a.n5", "data") as reader, pytest.raises(InputError, match="a block is"):
        reader.read(Box((0, 0, 0), (2, 8, 16)))

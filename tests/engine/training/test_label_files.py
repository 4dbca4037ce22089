"""Label images as programs save them: every one trains the same project."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from pixelforest.engine.errors import InputError, InputMismatch
from pixelforest.engine.inputs.images import open_image
from pixelforest.engine.inputs.lanes import InputOptions
from pixelforest.engine.project import LabelBlock
from pixelforest.engine.training.label_files import read_label_file

FLAT, VOLUME, MOVIE = (37, 45), (3, 37, 45), (4, 37, 45)
# QuPath's classes have these colours, in a palette of 256; the background is white.
PALETTE = [255, 255, 255, 200, 0, 0, 150, 200, 150, 0, 0, 0] + [0] * 252 * 3


def draw(shape: tuple[int, ...]) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    labels[..., 5:9, 3:20], labels[..., 20:30, 30:44], labels[..., 0, 0] = 1, 2, 3
    labels[..., 36, 44] = 2
    labels.reshape(-1, *shape[-2:])[1:, 6, 4] = 3  # planes differ
    return labels


def as_image(blocks: tuple[LabelBlock, ...], shape: tuple[int, ...]) -> np.ndarray:
    image = np.zeros((*shape, 1), np.uint8)
    for block in blocks:
        place = tuple(slice(a, a + n) for a, n in zip(block.start, block.values.shape, strict=True))
        image[place] += block.values  # they do not overlap
    return image[..., 0]


def axistags(axes: str) -> str:
    return json.dumps({"axes": [{"key": a, "typeFlags": 1 if a == "c" else 2, "resolution": 0} for a in axes]})


def save_hdf5(path: Path, labels: np.ndarray, axes: str, name: str = "exported_data") -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=labels, chunks=True, compression="gzip").attrs["axistags"] = axistags(axes)


def read(path: Path | str, shape: tuple[int, ...], axes: str, folder: Path) -> np.ndarray:
    """Read labels for an image of this shape and these axes, which it states."""
    save_hdf5(folder / "raw.h5", np.zeros(shape, np.uint8), axes, "data")
    options = InputOptions()
    with open_image(str(folder / "raw.h5"), role_index=0, training=None, options=options) as image:
        return as_image(read_label_file(str(path), image, ()), image.shape[:4])


# ------------------------------------------------------------------------------------------------------------- napari


@pytest.mark.filterwarnings("ignore:.*are stored as RGB with separate component planes:DeprecationWarning")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "int64", "uint32"])
@pytest.mark.parametrize(
    ("shape", "axes"), [(FLAT, "yx"), (VOLUME, "zyx"), (MOVIE, "tyx"), ((6, 37, 45), "tyx"), ((2, *VOLUME), "tzyx")]
)
def test_layers_of_napari(dtype: str, shape: tuple[int, ...], axes: str, tmp_path: Path) -> None:
    """napari writes the array without letters of its axes; tifffile takes three or four planes for colours."""
    labels = draw(shape)
    path = tmp_path / "Labels.tif"
    tifffile.imwrite(path, labels.astype(dtype), compression="zlib", compressionargs={"level": 1})
    found = read(path, shape, axes, tmp_path)
    assert np.array_equal(found.reshape(shape), labels)


def test_a_layer_of_napari_as_png(tmp_path: Path) -> None:
    Image.fromarray(draw(FLAT)).save(tmp_path / "Labels.png")
    assert np.array_equal(read(tmp_path / "Labels.png", FLAT, "yx", tmp_path)[0, 0], draw(FLAT))


# ------------------------------------------------------------------------------------------------------ Fiji, OME-TIFF


@pytest.mark.parametrize(("shape", "axes"), [(FLAT, "yx"), (VOLUME, "zyx"), (MOVIE, "tyx"), ((2, *VOLUME), "tzyx")])
@pytest.mark.parametrize("kind", ["imagej", "ome"])
def test_tiffs_that_state_their_axes(kind: str, shape: tuple[int, ...], axes: str, tmp_path: Path) -> None:
    labels, path = draw(shape), tmp_path / ("labels.ome.tif" if kind == "ome" else "labels.tif")
    metadata = {"axes": axes.upper()}
    tifffile.imwrite(path, labels.astype(np.uint16), metadata=metadata, photometric="minisblack", **{kind: True})
    assert np.array_equal(read(path, shape, axes, tmp_path).reshape(shape), labels)


# -------------------------------------------------------------------------------------------------------------- QuPath


def save_indexed_png(path: Path, labels: np.ndarray) -> None:
    picture = Image.fromarray(labels, "L").convert("P")
    picture.frombytes(labels.tobytes())
    picture.putpalette(PALETTE)
    picture.save(path)


def save_indexed_tiff(path: Path, labels: np.ndarray) -> None:
    colours = np.array(PALETTE, np.uint16).reshape(256, 3).T * 257
    tifffile.imwrite(path, labels, photometric="palette", colormap=colours)


def channels_of(labels: np.ndarray) -> np.ndarray:
    return np.stack([255 * (labels == k) for k in range(4)]).astype(np.uint8) * (np.arange(4) > 0)[:, None, None]


def save_channels(path: Path, labels: np.ndarray) -> None:
    tifffile.imwrite(path, channels_of(labels).astype(np.uint8), imagej=True, metadata={"axes": "CYX"})


def save_ome_channels(path: Path, labels: np.ndarray) -> None:
    tifffile.imwrite(
        path, channels_of(labels).astype(np.uint8), ome=True, metadata={"axes": "CYX"}, tile=(16, 16),
        photometric="minisblack", compression="lzw",
    )  # fmt: skip


def save_gif(path: Path, labels: np.ndarray) -> None:
    picture = Image.fromarray(labels, "L").convert("P")
    picture.frombytes(labels.tobytes())
    picture.putpalette(PALETTE)
    picture.save(path)


def save_few_bits(bits: int) -> Callable[[Path, np.ndarray], None]:
    def save(path: Path, labels: np.ndarray) -> None:
        import imagecodecs

        picture = Image.fromarray(labels, "L").convert("P")
        picture.frombytes(labels.tobytes())
        picture.putpalette(PALETTE[: 3 << bits])
        picture.save(path, bits=bits)
        assert imagecodecs.png_decode(path.read_bytes()).ndim == 3

    return save


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("labels.png", save_indexed_png),
        ("few_bits.png", save_few_bits(2)),
        ("more_bits.png", save_few_bits(4)),
        ("labels.tif", save_indexed_tiff),
        ("labels.bmp", save_gif),
        ("labels.gif", save_gif),
        ("channels.tif", save_channels),
        ("channels.ome.tif", save_ome_channels),
    ],
)
def test_exports_of_qupath(name: str, save: Any, tmp_path: Path) -> None:
    """Indices of a palette with the colours of the classes, or a channel for each label."""
    save(tmp_path / name, draw(FLAT))
    assert np.array_equal(read(tmp_path / name, FLAT, "yx", tmp_path)[0, 0], draw(FLAT))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_gray_values_of_few_bits_are_not_scaled(bits: int, tmp_path: Path) -> None:
    import struct
    import zlib

    labels = np.minimum(draw(FLAT), (1 << bits) - 1)
    planes = np.unpackbits(labels[..., None], axis=2)[..., 8 - bits :].reshape(37, -1)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in planes)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 45, 37, bits, 0, 0, 0, 0)
    data = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    (tmp_path / "labels.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(data))
    assert np.array_equal(read(tmp_path / "labels.png", FLAT, "yx", tmp_path)[0, 0], labels)


def test_a_truncated_palette_picture_is_refused(tmp_path: Path) -> None:
    save_indexed_png(tmp_path / "labels.png", np.random.default_rng(0).integers(0, 4, FLAT, np.uint8))
    whole = (tmp_path / "labels.png").read_bytes()
    (tmp_path / "labels.png").write_bytes(whole[:-40])
    with pytest.raises(InputError, match=r"cannot read .*labels\.png"):
        read(tmp_path / "labels.png", FLAT, "yx", tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a // 255, "has 4 channels; labels have one, or a channel for each"),
        (lambda a: np.roll(a, -1, axis=0), "channel 0 empty"),
        (lambda a: a | a[2], "has several labels at t=0, z=0, y=20, x=30; keep one for each voxel"),
    ],
)
def test_channels_that_are_no_labels_are_refused(change: Any, message: str, tmp_path: Path) -> None:
    channels = change(channels_of(draw(FLAT)).astype(np.uint8))
    if "several" in message:
        channels[0] = 0
    tifffile.imwrite(tmp_path / "labels.tif", channels, imagej=True, metadata={"axes": "CYX"})
    with pytest.raises(InputMismatch, match=message):
        read(tmp_path / "labels.tif", FLAT, "yx", tmp_path)


# ------------------------------------------------------------------------------------------------------------- ilastik


@pytest.mark.parametrize(
    ("shape", "axes"),
    [(FLAT, "yx"), (VOLUME, "zyx"), (MOVIE, "tyx"), ((2, *VOLUME), "tzyx")],
)
@pytest.mark.parametrize("order", ["as ilastik", "xyzct"])
@pytest.mark.parametrize("name", ["labels.h5", "labels.h5/exported_data"])
def test_exports_of_ilastik(name: str, order: str, shape: tuple[int, ...], axes: str, tmp_path: Path) -> None:
    """HDF5 with its axes in an attribute, with one channel, in any order."""
    stored = f"{axes}c" if order == "as ilastik" else "".join(a for a in order if a in f"{axes}c")
    labels = draw(shape)
    values = labels[..., np.newaxis].transpose([f"{axes}c".index(a) for a in stored])
    save_hdf5(tmp_path / "labels.h5", values, stored)
    assert np.array_equal(read(tmp_path / name, shape, axes, tmp_path).reshape(shape), labels)


def test_labels_of_an_image_with_channels(tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", draw(VOLUME))
    found = read(tmp_path / "labels.npy", (3, 37, 45, 2), "tyxc", tmp_path)
    assert np.array_equal(found[:, 0], draw(VOLUME))


@pytest.mark.parametrize("along", ["t", "z"])
def test_a_stack_of_pictures(along: str, tmp_path: Path) -> None:
    for number, plane in enumerate(draw(MOVIE)):
        save_indexed_png(tmp_path / f"plane_{number}.png", plane)
        Image.fromarray(plane).save(tmp_path / f"raw_{number}.png")
    options = InputOptions(stack_along=along)
    with open_image(str(tmp_path / "raw_*.png"), role_index=0, training=None, options=options) as image:
        blocks = read_label_file(str(tmp_path / "plane_*.png"), image, (), stack_along=along)
        assert np.array_equal(as_image(blocks, image.shape[:4]).reshape(MOVIE), draw(MOVIE))


def test_slices_may_be_time_points(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "labels.tif", draw(MOVIE), imagej=True, metadata={"axes": "ZYX"})
    assert np.array_equal(read(tmp_path / "labels.tif", MOVIE, "tyx", tmp_path)[:, 0], draw(MOVIE))


def test_x_and_y_are_where_the_file_says(tmp_path: Path) -> None:
    save_hdf5(tmp_path / "labels.h5", draw(MOVIE), "zxy")
    with pytest.raises(InputMismatch, match=r"has the size z=4 x y=45 x x=37, the image .* t=4 x y=37 x x=45; they"):
        read(tmp_path / "labels.h5", MOVIE, "tyx", tmp_path)

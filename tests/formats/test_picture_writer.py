"""Pictures written: orientation, stretching to 8 bit, sequences, and files recorded from ilastik."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixelforest.box import Box
from pixelforest.engine.errors import ExportError
from pixelforest.engine.formats import output_format
from pixelforest.engine.formats.images.picture import open_picture
from pixelforest.engine.formats.spec import ImageSpec
from pixelforest.engine.formats.support.picture_writers import fold_plane, slice_paths, step_axis, stretch_to_uint8

SHAPE = {"t": 2, "z": 3, "y": 4, "x": 5, "c": 1}


def write(name: str, path: Path, array: np.ndarray, axes: str, offset: tuple[int, ...] | None = None) -> list[Path]:
    spec = ImageSpec(array.shape, array.dtype, axes, offset or (0,) * array.ndim)
    writer = output_format(name).open(path, "", spec)
    writer.write(Box.whole(array.shape), array)
    return writer.finish()


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize(
    ("axes", "expected"),
    [("yx", "yx"), ("xy", "yx"), ("zx", "zx"), ("xz", "zx"), ("yz", "zy"), ("zy", "zy"), ("tx", "tx"), ("zt", "tz")],
)
def test_planes_keep_their_orientation(axes: str, expected: str) -> None:
    height, width = expected
    array = np.arange(SHAPE[axes[0]] * SHAPE[axes[1]]).reshape(SHAPE[axes[0]], SHAPE[axes[1]])
    plane = fold_plane(array, axes)
    assert plane.shape == (SHAPE[height], SHAPE[width], 1)
    assert np.array_equal(plane[..., 0], array if axes[0] == height else array.T)


def test_one_line_becomes_a_row() -> None:
    assert fold_plane(np.zeros((7, 1, 2)), "yxc").shape == (1, 7, 2)
    assert fold_plane(np.zeros((1, 1, 2)), "yxc").shape == (1, 1, 2)
    with pytest.raises(ExportError, match="not a plane"):
        fold_plane(np.zeros((2, 3, 4)), "zyx")


def test_values_are_stretched_to_8_bits() -> None:
    plane, used = stretch_to_uint8(np.array([[[-1.0], [0.0], [3.0]]], np.float32))
    assert plane.ravel().tolist() == [0, 64, 255]
    assert used == (-1.0, 3.0)
    plane, used = stretch_to_uint8(np.full((2, 3, 1), 7, np.int64))
    assert plane.max() == 0
    assert used == (7.0, 7.0)
    plane, used = stretch_to_uint8(np.array([[[np.nan], [0.0], [np.inf], [-np.inf], [2.0]]]))
    assert plane.ravel().tolist() == [0, 0, 255, 0, 255]
    assert used == (0.0, 2.0)
    assert stretch_to_uint8(np.full((1, 2, 1), np.nan))[0].tolist() == [[[0], [0]]]
    # half is rounded up: 127.5 -> 128 and 0.5 -> 1
    plane, _ = stretch_to_uint8(np.array([[[0], [1], [255], [510]]], np.int32))
    assert plane.ravel().tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(
    ("recorded", "name"),
    [
        ("fmt_png_probabilities.png", "png"),
        ("fmt_png_simple_segmentation.png", "png"),
        ("fmt_bmp_simple_segmentation.bmp", "bmp"),
    ],
)
def test_written_pictures_equal_those_of_ilastik(recorded: str, name: str, shared_folder, tmp_path: Path) -> None:
    folder = shared_folder / "golden" / "variants_2d3c" / "expected"
    if "probabilities" in recorded:
        array = np.load(folder / "fmt_numpy_probabilities.npy")
    else:
        array = pixels_of(folder / "fmt_png_simple_segmentation.png")[..., None]
    (file,) = write(name, tmp_path / f"a.{name}", array, "yxc")
    with Image.open(file) as ours, Image.open(folder / recorded) as theirs:
        assert ours.mode == theirs.mode
        assert np.array_equal(np.asarray(ours), np.asarray(theirs))


def test_stretching_says_which_range(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write("png", tmp_path / "a.png", np.linspace(-2, 6, 20, dtype=np.float32).reshape(4, 5), "yx")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "float32; the range -2 to 6 was stretched" in record.getMessage()


def test_stretching_a_sequence_goes_slice_by_slice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    array = np.stack([np.linspace(0, 1 + z, 20, dtype=np.float32).reshape(4, 5) for z in range(3)])
    files = write("png sequence", tmp_path / "a_{slice_index}.png", array, "zyx")
    assert all(pixels_of(f).max() == 255 for f in files)
    (record,) = caplog.records
    assert "each slice from its own range, together 0 to 3" in record.getMessage()


def test_what_a_format_holds_is_written_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write("png", tmp_path / "a.png", np.zeros((4, 5), np.uint16), "yx")
    assert not caplog.records


@pytest.mark.parametrize("name", ["jpg", "jpeg"])
def test_jpeg_has_full_colour_resolution(name: str, tmp_path: Path) -> None:
    (file,) = write(name, tmp_path / f"a.{name}", np.zeros((16, 16, 3), np.uint8), "yxc")
    with Image.open(file) as picture:
        assert [layer[1:3] for layer in picture.layer] == [(1, 1)] * 3
        assert picture.quantization[0][0] == 8  # quality 75


def test_jpeg_refuses_pictures_that_are_too_wide(tmp_path: Path) -> None:
    spec = ImageSpec((2, 70_000), np.dtype(np.uint8), "yx", (0, 0))
    with pytest.raises(ExportError, match="70000 pixels along x"):
        output_format("jpg").open(tmp_path / "a.jpg", "", spec)
    assert list(tmp_path.iterdir()) == []


# --- sequences ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((3, 4, 5), "zyx", "z"),
        ((3, 4, 5, 2), "zyxc", "z"),
        ((1, 3, 4, 5), "tzyx", "z"),
        ((4, 5, 3), "yxc", "y"),
        ((2, 4, 5), "cyx", "c"),
        ((5, 1, 4, 3, 1), "xtyzc", "x"),
    ],
)
def test_the_step_axis_is_the_first_long_one(shape: tuple[int, ...], axes: str, expected: str) -> None:
    assert step_axis(shape, axes) == expected


@pytest.mark.parametrize(
    ("shape", "axes"), [((4, 5), "yx"), ((2, 3, 4, 5), "tzyx"), ((2, 3, 4, 5), "czyx"), ((1, 4, 5), "zyx")]
)
def test_other_shapes_make_no_sequence(shape: tuple[int, ...], axes: str) -> None:
    with pytest.raises(ExportError, match="exactly three axes"):
        step_axis(shape, axes)


@pytest.mark.parametrize(
    ("pattern", "offset", "count", "first", "last"),
    [
        ("s_{slice_index}.png", 0, 9, "s_0.png", "s_8.png"),
        ("s_{slice_index}.png", 0, 10, "s_00.png", "s_09.png"),
        ("s_{slice_index}.png", 3, 9, "s_03.png", "s_11.png"),
        ("s_{slice_index}.png", 0, 100, "s_000.png", "s_099.png"),
        ("s_{slice_index:05d}.png", 7, 2, "s_00007.png", "s_00008.png"),
        ("{slice_index:x}/{other}_{slice_index}.png", 10, 2, "a/{other}_10.png", "b/{other}_11.png"),
    ],
)
def test_names_of_slices(pattern: str, offset: int, count: int, first: str, last: str) -> None:
    paths = slice_paths(Path(pattern), offset, count)
    assert len(paths) == count
    assert (paths[0], paths[-1]) == (Path(first), Path(last))


@pytest.mark.parametrize("pattern", ["a.png", "a_{slice_index:q}.png", "a_{slice_index:c}.png"])
def test_names_that_cannot_work(pattern: str) -> None:
    with pytest.raises(ExportError, match="slice_index"):
        slice_paths(Path(pattern), 0x10FFFF, 3)


def test_numbers_start_at_the_region(tmp_path: Path) -> None:
    """The step axis counts from its own start, also where axes were added in front (ilastik takes another's)."""
    array = np.arange(9 * 4 * 5, dtype=np.uint8).reshape(1, 9, 4, 5, 1)
    files = write("png sequence", tmp_path / "a_{slice_index}.png", array, "tzyxc", offset=(0, 3, 5, 0, 0))
    assert [f.name for f in files] == [f"a_{i:02d}.png" for i in range(3, 12)]
    assert np.array_equal(pixels_of(files[2]), array[0, 2, :, :, 0])


def test_a_sequence_may_step_through_channels(tmp_path: Path) -> None:
    array = np.arange(40, dtype=np.uint8).reshape(2, 4, 5)
    files = write("png sequence", tmp_path / "a_{slice_index}.png", array, "cyx")
    assert [np.array_equal(pixels_of(f), a) for f, a in zip(files, array, strict=True)] == [True, True]


def test_slices_are_stored_when_they_are_complete(tmp_path: Path) -> None:
    array = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    spec = ImageSpec(array.shape, array.dtype, "zyx", (0, 0, 0))
    writer = output_format("png sequence").open(tmp_path / "{slice_index}" / "a.png", "", spec)
    writer.write(Box((0, 0, 0), (2, 4, 5)), array[:2])
    parts = [p for p in tmp_path.rglob("*.part") if p.stat().st_size]
    assert len(parts) == 2
    with pytest.raises(ExportError, match="incomplete"):
        writer.finish()
    writer.write(Box((2, 0, 0), (3, 4, 5)), array[2:])
    assert writer.finish() == [tmp_path / str(i) / "a.png" for i in range(3)]


# --- PNM and GIF -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pbm", "pgm", "pnm", "ppm"])
@pytest.mark.parametrize(
    ("dtype", "channels", "largest", "header"),
    [
        ("uint8", 1, 200, b"P5\n# generated by pixelforest\n5 4\n200\n"),
        ("uint8", 3, 255, b"P6\n# generated by pixelforest\n5 4\n255\n"),
        ("uint8", 1, 0, b"P5\n# generated by pixelforest\n5 4\n1\n"),
        ("uint16", 1, 1000, b"P5\n# generated by pixelforest\n5 4\n1000\n"),
        ("uint16", 3, 255, b"P6\n# generated by pixelforest\n5 4\n255\n"),
    ],
    ids=["gray", "colour", "black", "16 bits", "16 bits of small values"],
)
def test_pnm_by_channels_and_largest_value(
    name: str, dtype: str, channels: int, largest: int, header: bytes, tmp_path: Path
) -> None:
    """The extension does not matter; a maxval below 256 means one byte a value, whatever their type was."""
    array = np.random.default_rng(1).integers(0, largest, (4, 5, channels), endpoint=True).astype(dtype)
    array[0, 0, 0] = largest
    (path,) = write(name, tmp_path / f"a.{name}", array, "yxc")
    stored = array.astype(">u2" if largest > 255 else "u1")
    assert path.read_bytes() == header + stored.tobytes()


def test_pillow_shows_the_largest_value_of_a_pnm_as_white(tmp_path: Path) -> None:
    (path,) = write("pgm", tmp_path / "a.pgm", np.array([[1, 2, 0]], np.uint8), "yx")
    assert pixels_of(path).tolist() == [[128, 255, 0]]


def test_gif_keeps_256_colours_and_says_when_there_are_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    colours = np.arange(768, dtype=np.uint8).reshape(16, 16, 3)
    (path,) = write("gif", tmp_path / "a.gif", colours, "yxc")
    with Image.open(path) as picture:
        assert np.array_equal(np.asarray(picture.convert("RGB")), colours)
    assert not caplog.records
    y, x = np.mgrid[0:64, 0:64].astype(np.uint8) * 4
    smooth = np.stack([y, x, (y // 2 + x // 2)], axis=2)
    volume = np.stack([smooth, smooth, smooth])
    files = write("gif sequence", tmp_path / "{slice_index}.gif", volume, "zyxc")
    with Image.open(files[2]) as picture:
        assert np.abs(np.asarray(picture.convert("RGB")).astype(int) - smooth).mean() < 12
    assert caplog.text.count("GIF holds 256 colours") == 1


def test_gif_of_few_gray_levels(tmp_path: Path) -> None:
    array = np.array([[3, 7, 255], [3, 3, 200]], np.uint8)
    (path,) = write("gif", tmp_path / "a.gif", array, "yx")
    with Image.open(path) as picture:
        assert np.array_equal(np.asarray(picture.convert("L")), array)
    with open_picture(path) as found:
        assert np.array_equal(found.read(Box.whole(found.info.shape))[..., 0], array)


def test_hdr_takes_float32_in_three_channels_only() -> None:
    limits = output_format("hdr").limits
    assert (limits.dtypes, limits.channels, limits.stretches) == ({"float32"}, {3}, False)

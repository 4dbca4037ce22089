"""TIFF written: tags as ilastik writes them, OME-TIFF stacks, sizes beyond 4 GB, a full disk."""

from __future__ import annotations

import errno
import importlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile

from pixelforest.box import Box
from pixelforest.engine.axes import to_canonical
from pixelforest.engine.errors import ExportError
from pixelforest.engine.formats import output_format
from pixelforest.engine.formats.images import multipage_tiff, tiff
from pixelforest.engine.formats.spec import ImageSpec
from pixelforest.engine.formats.support.tiff_series import list_series, read_series_axes
from pixelforest.engine.storage.atomic_write import MAX_HELD_FILES

RNG = np.random.default_rng(2)
OME = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"


def write(name: str, path: Path, array: np.ndarray, axes: str, **more) -> Path:
    writer = output_format(name).open(path, "", ImageSpec(array.shape, array.dtype, axes, (0,) * array.ndim, **more))
    writer.write(Box.whole(array.shape), array)
    (file,) = writer.finish()
    return file


def tags_of(path: Path) -> dict[str, object]:
    with tifffile.TiffFile(path) as file:
        assert file.byteorder == "<"
        return {tag.name: tag.value for tag in file.pages[0].tags}


@pytest.mark.parametrize(("bands", "photometric", "extra"), [(1, 1, None), (2, 1, (2,)), (3, 2, None), (4, 2, (2,))])
def test_tags_of_pictures(bands: int, photometric: int, extra, tmp_path: Path) -> None:
    array = RNG.random((9, 8, bands), np.float32)
    tags = tags_of(write("tif", tmp_path / "a.tif", array, "yxc"))
    assert (tags["Compression"], tags["PhotometricInterpretation"], tags["SamplesPerPixel"]) == (5, photometric, bands)
    assert tags.get("ExtraSamples") == extra
    assert "Predictor" not in tags
    assert "ImageDescription" not in tags
    assert "Software" not in tags
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif"), array[..., 0] if bands == 1 else array)


@pytest.mark.parametrize("source", ["probabilities", "simple_segmentation"])
def test_written_tiffs_equal_those_of_ilastik(source: str, shared_folder, tmp_path: Path) -> None:
    recorded = shared_folder / "golden" / "variants_2d3c" / "expected" / f"fmt_tiff_{source}.tiff"
    array = tifffile.imread(recorded)
    ours = tags_of(write("tiff", tmp_path / "a.tiff", array.reshape(*array.shape[:2], -1), "yxc"))
    theirs = tags_of(recorded)
    # Where things lie differs, and tifffile leaves out tags that have their default value.
    ours = {"NewSubfileType": 0, "PlanarConfiguration": 1, "SampleFormat": 1} | ours
    for name in set(theirs) - {"StripOffsets", "StripByteCounts", "RowsPerStrip"}:
        assert ours[name] == theirs[name], name
    assert np.array_equal(tifffile.imread(tmp_path / "a.tiff"), array)


def test_long_integers_are_stretched(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write("tif", tmp_path / "a.tif", np.array([[0, 10**12]]), "yx")
    assert tifffile.imread(tmp_path / "a.tif").tolist() == [[0, 255]]
    assert "0 to 1e+12" in caplog.text


def test_stacks_are_ome_with_fixed_axes(tmp_path: Path) -> None:
    array = RNG.integers(0, 999, (3, 5, 6, 2), dtype=np.int16)
    path = write("multipage tiff", tmp_path / "a.tiff", array, "zyxc")
    with tifffile.TiffFile(path) as file:
        assert file.is_ome
        assert not file.is_bigtiff
        assert len(file.pages) == 6
        assert read_series_axes(list_series(file)[0]).stored_axes.startswith("TZCYX")
        assert file.pages[0].compression == 1
        assert file.pages[0].dataoffsets[1:] == ()
        assert file.pages[0].software == "ilastik"
    assert np.array_equal(tifffile.imread(path), np.moveaxis(array, 3, 1))


def test_stack_equals_that_of_ilastik(shared_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shared_folder / "golden" / "variants_2d3c" / "expected"
    recorded = folder / "fmt_multipage_tiff_probabilities.tiff"
    monkeypatch.setattr(tifffile.tifffile, "__version__", "2026.3.3")  # the recording's, which names it
    ours = write("multipage tiff", tmp_path / "a.tiff", tifffile.imread(recorded), "cyx").read_bytes()
    theirs = recorded.read_bytes()
    assert len(ours) == len(theirs)
    first, last = ours.index(b"urn:uuid:"), ours.index(b"<Image ID")  # an identifier stands between
    assert ours[:first] == theirs[:first]
    assert ours[last:] == theirs[last:]


def test_pixel_sizes_and_units(tmp_path: Path) -> None:
    units = {"x": "Micron", "y": "um", "z": "parsec", "t": "sec"}
    sizes = {"x": 0.5, "y": 0.25, "t": 3.0}
    path = write(
        "multipage tiff",
        tmp_path / "a.tiff",
        np.zeros((2, 3, 4, 5), np.uint8),
        "tzyx",
        axis_units=units,
        resolution=sizes,
    )
    with tifffile.TiffFile(path) as file:
        pixels = ElementTree.fromstring(file.ome_metadata).find(f"{OME}Image/{OME}Pixels")
    assert pixels is not None
    assert {k: v for k, v in pixels.items() if k.startswith(("Physical", "Time"))} == {
        "PhysicalSizeX": "0.5",
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": "0.25",
        "PhysicalSizeYUnit": "µm",
        "PhysicalSizeZUnit": "pixel",
        "TimeIncrement": "3.0",
        "TimeIncrementUnit": "s",
    }


def test_bigtiff_where_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not tiff.needs_bigtiff(4_000_000_000, 1)
    assert tiff.needs_bigtiff(4_000_000_000, 1_000_000)
    assert tiff.needs_bigtiff(1 << 32, 1)
    for module in (tiff, multipage_tiff):
        monkeypatch.setattr(module, "needs_bigtiff", lambda nbytes, pages: True)
    array = RNG.integers(0, 255, (3, 5, 6), dtype=np.uint8)
    for name in ("tiff", "multipage tiff"):
        path = write(name, tmp_path / "a.tiff", array[:1] if name == "tiff" else array, "zyx")
        with tifffile.TiffFile(path) as file:
            assert file.is_bigtiff


@pytest.mark.skipif(os.name == "nt", reason="would really fill 5 GB there")
def test_stacks_beyond_4_gb_are_laid_out_without_memory(tmp_path: Path) -> None:
    """The file is sparse: only what is written takes room."""
    shape = (600, 2048, 2048, 2)
    writer = output_format("multipage tiff").open(
        tmp_path / "a.tiff", "", ImageSpec(shape, np.dtype(np.uint8), "zyxc", (0,) * 4)
    )
    piece = RNG.integers(0, 255, (1, 3, 5, 2), dtype=np.uint8)
    writer.write(Box((599, 2000, 2000, 0), (600, 2003, 2005, 2)), piece)
    (path,) = writer.finish()
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff
        found = tifffile.memmap(path, mode="r")[599, :, 2000:2003, 2000:2005]
    assert np.array_equal(found, np.moveaxis(piece[0], 2, 0))


@pytest.mark.parametrize("name", ["tiff", "multipage tiff", "png", "bmp", "jpg"])
def test_a_full_disk_stops_a_tiff(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = output_format(name)
    array = np.zeros((4, 5), np.uint8)
    full = OSError(errno.ENOSPC, "No space left on device")

    def fail(*args, **options):
        raise full

    writer = chosen.open(tmp_path / f"a.{chosen.extension}", "", ImageSpec(array.shape, array.dtype, "yx", (0, 0)))
    if name == "multipage tiff":
        monkeypatch.setattr(writer, "_write_plane", fail)
    else:
        monkeypatch.setattr(writer._pictures, "_store", fail)

    def write_all() -> None:
        writer.write(Box.whole(array.shape), array)
        writer.finish()

    with pytest.raises(ExportError, match=r"a\.\w+: the disk is full"):
        write_all()
    writer.abort()
    assert list(tmp_path.iterdir()) == []


# --- a stack for each position -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axes", "shape", "step"),
    [
        ("tzyx", (3, 2, 4, 5), "t"),
        ("tzyxc", (3, 2, 4, 5, 6), "t"),
        ("ztyxc", (3, 2, 4, 5, 1), "z"),
        ("czyx", (3, 2, 4, 5), "c"),
        ("tzycx", (1, 3, 4, 2, 5), "z"),
    ],
)
def test_sequences_of_stacks(axes: str, shape: tuple[int, ...], step: str, tmp_path: Path) -> None:
    array = RNG.integers(0, 60_000, shape, dtype=np.uint16)
    at = axes.index(step)
    spec = ImageSpec(shape, array.dtype, axes, tuple(7 if a == step else 2 for a in axes), resolution={"z": 2.5})
    writer = output_format("multipage tiff sequence").open(tmp_path / "a_{slice_index}.tiff", "", spec)
    boxes = list(Box.whole(shape).split((2, 2, 3, 3, 2)[: len(shape)]))
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(writer.write, box, array[box.slices()]) for box in boxes[::-1]]:
            done.result()
    files = writer.finish()
    assert [file.name for file in files] == [f"a_{i:02d}.tiff" for i in range(7, 10)]
    for i, file in enumerate(files):
        with tifffile.TiffFile(file) as tiff_file:
            series = list_series(tiff_file)[0]
            assert read_series_axes(series).stored_axes.startswith("TZCYX")
            found = series.asarray()
            assert 'PhysicalSizeZ="2.5"' in str(tiff_file.ome_metadata)
        expected = np.moveaxis(to_canonical(np.take(array, [i], axis=at), axes), 4, 2)
        assert np.array_equal(found.reshape(expected.shape), expected)


@pytest.mark.parametrize(("axes", "shape"), [("zyx", (3, 4, 5)), ("zyxc", (3, 4, 5, 1)), ("ctzyx", (2, 3, 4, 5, 6))])
def test_other_shapes_make_no_sequence_of_stacks(axes: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    spec = ImageSpec(shape, np.dtype(np.uint8), axes, (0,) * len(shape))
    with pytest.raises(ExportError, match="exactly four axes"):
        output_format("multipage tiff sequence").open(tmp_path / "{slice_index}.tiff", "", spec)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files are counted in /proc")
def test_a_sequence_of_stacks_keeps_few_files_open(tmp_path: Path) -> None:
    shape = (100, 2, 2, 2)
    spec = ImageSpec(shape, np.dtype(np.uint8), "tzyx", (0,) * 4)
    writer = output_format("multipage tiff sequence").open(tmp_path / "{slice_index}.tiff", "", spec)
    before = len(os.listdir("/proc/self/fd"))
    writer.write(Box.whole(shape), np.ones(shape, np.uint8))
    assert len(os.listdir("/proc/self/fd")) <= before + MAX_HELD_FILES
    assert len(writer.finish()) == 100
    assert len(os.listdir("/proc/self/fd")) <= before


def test_an_incomplete_sequence_of_stacks(tmp_path: Path) -> None:
    spec = ImageSpec((3, 2, 4, 5), np.dtype(np.uint8), "tzyx", (0,) * 4)
    writer = output_format("multipage tiff sequence").open(tmp_path / "{slice_index}.tiff", "", spec)
    writer.write(Box((0, 0, 0, 0), (2, 2, 4, 5)), np.ones((2, 2, 4, 5), np.uint8))
    with pytest.raises(ExportError, match="incomplete"):
        writer.finish()
    writer.abort()
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def ome_schema() -> Any:
    """OME's own schema, as the package ome-types brings it."""
    xmlschema = pytest.importorskip("xmlschema", reason="xmlschema is not installed")
    ome_types = pytest.importorskip("ome_types", reason="ome-types is not installed")
    return xmlschema.XMLSchema(Path(ome_types.__file__).parent / "ome-2016-06.xsd")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32", "float64"])
@pytest.mark.parametrize(
    "more", [{}, {"resolution": {"x": 0.5, "y": 0.25, "z": 2.0}, "axis_units": {"x": "um", "z": "µm"}}]
)
def test_the_description_of_a_stack_follows_omes_schema(
    dtype: str, more: dict[str, object], ome_schema: Any, tmp_path: Path
) -> None:
    array = (RNG.random((2, 3, 9, 8, 2)) * 100).astype(dtype)
    path = write("multipage tiff", tmp_path / "a.tiff", array, "tzyxc", **more)
    with tifffile.TiffFile(path) as file:
        text = file.ome_metadata
    assert text is not None
    assert list(ome_schema.iter_errors(text)) == []
    pixels = importlib.import_module("ome_types").from_xml(text).images[0].pixels
    sizes = (pixels.size_t, pixels.size_c, pixels.size_z, pixels.size_y, pixels.size_x)
    assert sizes == (2, 2, 3, 9, 8)
    assert pixels.physical_size_x == (0.5 if more else None)
    broken = text.replace("SizeX=", "SizeW=")
    assert list(ome_schema.iter_errors(broken))

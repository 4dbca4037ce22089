"""Prediction maps of uint16 without a stated range gave one object instead of 18, and nothing said why.

The numbers are ilastik's: thresholds are compared with the stored values. A line says so, and TIFF files of ours state
their range.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from pixelforest import cli
from pixelforest.box import Box
from pixelforest.engine.axes import axistags_json
from pixelforest.engine.formats import output_format
from pixelforest.engine.formats.images.tiff import open_tiff
from pixelforest.engine.formats.spec import ImageSpec

WARNING = "without a stated range"


@pytest.fixture
def maps(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Maps (y, x, c) uint8 of a recorded project with two thresholds, whose copy becomes the current folder."""
    monkeypatch.chdir(copy_golden("obj2d_pred_hyst"))
    with h5py.File("pred.h5") as file:
        values: np.ndarray = file["data"][()]
    return values


def count_objects(maps: str) -> int:
    inputs = ["--raw_data=raw.h5/data", f"--prediction_maps={maps}"]
    assert cli.main(["--headless", "--project=project.ilp", "--table_filename=objects.csv", *inputs]) == 0
    with open("objects.csv", newline="", encoding="utf-8") as file:
        return len(list(csv.reader(file))) - 1


def store_hdf5(values: np.ndarray, drange: tuple[float, float] | None = None) -> str:
    with h5py.File("maps.h5", "w") as file:
        data = file.create_dataset("data", data=values)
        data.attrs["axistags"] = axistags_json("yxc")
        if drange is not None:
            data.attrs["drange"] = np.array(drange, values.dtype)
    return "maps.h5/data"


def test_wide_integers_without_a_range_are_compared_as_they_are(
    maps: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    assert count_objects(store_hdf5(maps.astype(np.uint16) * 257)) == 1
    said = capsys.readouterr().err
    assert "maps.h5/data hold uint16 without a stated range" in said
    assert "thresholds 0.62 and 0.4 are compared with the stored values themselves (0 to 65535)" in said


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("change", "drange"),
    [
        pytest.param(lambda maps: maps, None, id="uint8"),
        pytest.param(lambda maps: maps.astype(np.uint16) * 257, (0, 65535), id="uint16 with a range"),
        pytest.param(lambda maps: maps.astype(np.float32) / 255, None, id="float32"),
    ],
)
def test_maps_whose_range_is_known_need_no_warning(
    maps: np.ndarray,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[np.ndarray], np.ndarray],
    drange: tuple[float, float] | None,
) -> None:
    assert count_objects(store_hdf5(change(maps), drange)) == 18
    assert WARNING not in capsys.readouterr().err


def spec_of(values: np.ndarray, axes: str, drange: tuple[float, float] | None, *, is_labels: bool = False) -> ImageSpec:
    return ImageSpec(values.shape, values.dtype, axes, (0,) * values.ndim, drange, is_labels=is_labels)


def store(name: str, path: Path, values: np.ndarray, spec: ImageSpec) -> Path:
    writer = output_format(name).open(path, "", spec)
    writer.write(Box.whole(values.shape), values)
    return writer.finish()[0]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["multipage tiff", "tif", "tiff"])
def test_our_tiff_files_state_their_range(maps: np.ndarray, capsys: pytest.CaptureFixture[str], name: str) -> None:
    wide = maps.astype(np.uint16) * 257
    fixed = output_format(name).fixed_axes
    values = wide if fixed is None else np.moveaxis(wide, 2, 0)[np.newaxis, np.newaxis]
    file = store(name, Path("maps.tif"), values, spec_of(values, fixed or "yxc", (0, 65535)))
    with open_tiff(file) as reader:
        assert reader.info.drange == (0, 65535)
    assert count_objects(f"{file}") == 18
    assert WARNING not in capsys.readouterr().err


@pytest.mark.sampled(30)
@pytest.mark.parametrize(
    ("dtype", "drange", "is_labels", "expected"),
    [
        ("uint16", (0.0, 1000.0), False, (0, 1000)),
        ("int32", (-5, 5), False, (-5, 5)),
        ("float32", (0.0, 0.25), False, (0, 0.25)),
        ("uint16", None, False, None),
        ("uint16", (7, 7), False, None),
        ("uint8", (0, 1), False, None),
        ("uint32", (0, 1), True, None),
    ],
)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["multipage tiff", "tif", "tif sequence"])
def test_ranges_and_pixels_come_back(
    tmp_path: Path,
    name: str,
    channels: int,
    dtype: str,
    drange: tuple[float, float] | None,
    is_labels: bool,
    expected: tuple[float, float] | None,
) -> None:
    values = np.arange(6 * 5 * channels).reshape(6, 5, channels).astype(dtype)
    axes = "yxc"
    if name == "multipage tiff":
        values, axes = np.moveaxis(values, 2, 0)[np.newaxis, np.newaxis], "tzcyx"
    elif name == "tif sequence":
        values, axes = np.stack([values, values]), "zyxc"
    spec = spec_of(values, axes, drange, is_labels=is_labels)
    file = store(name, tmp_path / ("a_{slice_index}.tif" if "sequence" in name else "a.tif"), values, spec)
    with open_tiff(file) as reader:
        assert reader.info.drange == expected
        first = values[0] if name == "tif sequence" else values
        assert np.array_equal(reader.read(Box.whole(reader.info.shape)).ravel(), first.ravel())


def test_imagej_is_told_what_to_show(tmp_path: Path) -> None:
    values = np.arange(30, dtype=np.uint16).reshape(6, 5, 1)
    file = store("tif", tmp_path / "a.tif", values, spec_of(values, "yxc", (0, 1000)))
    with tifffile.TiffFile(file) as tiff:
        assert tiff.is_imagej
        assert (tiff.imagej_metadata["min"], tiff.imagej_metadata["max"]) == (0, 1000)
        assert tiff.series[0].shape == (6, 5)


def test_the_contrast_of_other_programs_is_no_range(tmp_path: Path) -> None:
    """min and max of ImageJ are what somebody wanted to see; ilastik ignores them."""
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((6, 5), np.uint16), imagej=True, metadata={"min": 3.0, "max": 9.0})
    with open_tiff(tmp_path / "a.tif") as reader:
        assert reader.info.drange is None


@pytest.mark.parametrize("entry", ["uint8:0,9", "uint16:0", "uint16:a,9", "uint16:nan,9", "uint16:9,0", "uint16:0,inf"])
def test_an_entry_that_does_not_fit_is_not_used(tmp_path: Path, entry: str) -> None:
    """For example because another program changed the pixels and kept the text."""
    text = f"pixelforest_drange={entry}"
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((6, 5), np.uint16), description=text, metadata=None)
    with open_tiff(tmp_path / "a.tif") as reader:
        assert reader.info.drange is None

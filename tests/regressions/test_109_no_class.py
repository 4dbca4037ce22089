"""One NaN pixel left thousands of pixels without a class, and probabilities as uint8 were 0 and 1: nothing said so.

The numbers stay ilastik's; a warning counts the voxels, or names the option that was meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from pixelforest import cli

SIZE = (160, 200)
WITHOUT_CLASS = re.compile(r"spoilt\.npy: (\d+) voxels have no class")


@pytest.fixture
def image(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """A gray image (y, x, c) float32 for the project of the current folder."""
    monkeypatch.chdir(copy_golden("px2d_gray"))
    return np.asarray(Image.open("raw.png")).astype(np.float32).reshape(*SIZE, 1)


def run(image: np.ndarray, *options: str, sources: str = "Probabilities") -> None:
    np.save("spoilt.npy", image)
    words = [f"--export_source={sources}", "--output_format=hdf5", "--output_filename_format=out/{result_type}.h5"]
    assert cli.main(["--headless", "--project=project.ilp", *words, *options, "spoilt.npy"]) == 0


def get(result: str) -> np.ndarray:
    with h5py.File(f"out/{result}.h5") as file:
        values: np.ndarray = file["exported_data"][()]
    return values


def counted(text: str) -> list[int]:
    return [int(number) for number in WITHOUT_CLASS.findall(text)]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_voxels_without_a_class_are_counted(
    image: np.ndarray, capsys: pytest.CaptureFixture[str], value: float
) -> None:
    image[50, 60] = value
    run(image)
    without = int((get("Probabilities") == 0).all(axis=-1).sum())
    assert without > 1
    assert counted(capsys.readouterr().err) == [without]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("options", [("--threads=1",), ("--threads=2", "--memory=60M")], ids=["whole", "tiles"])
@pytest.mark.parametrize(
    ("sources", "conversion"),
    [
        ("Simple Segmentation", ()),
        ("Uncertainty,Simple Segmentation", ()),
        ("Probabilities", ("--export_dtype=uint8", "--export_drange=(0,255)")),
        ("Probabilities,Features", ()),
    ],
)
def test_the_count_does_not_depend_on_what_is_exported(
    image: np.ndarray,
    capsys: pytest.CaptureFixture[str],
    sources: str,
    conversion: Sequence[str],
    options: Sequence[str],
) -> None:
    image[[50, 120], [60, 150]] = np.nan
    run(image)
    expected = int((get("Probabilities") == 0).all(axis=-1).sum())
    capsys.readouterr()
    run(image, *conversion, *options, sources=sources)
    assert counted(capsys.readouterr().err) == [expected]


def test_only_what_is_exported_is_counted(image: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    image[50, 60] = np.nan
    run(image, "--cutout_subregion=[(48,55,0),(53,66,2)]")
    assert counted(capsys.readouterr().err) == [int((get("Probabilities") == 0).all(axis=-1).sum())]


def test_voxels_outside_of_the_mask_are_not_counted(image: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    image[50, 60] = np.nan
    mask = np.zeros((*SIZE, 1), np.uint8)
    mask[49:52, 58:63] = 1
    np.save("mask.npy", mask)
    np.save("spoilt.npy", image)
    words = ["--output_format=hdf5", "--output_filename_format=out/p.h5", "--prediction_mask=mask.npy"]
    assert cli.main(["--headless", "--project=project.ilp", *words, "--raw_data=spoilt.npy"]) == 0
    assert counted(capsys.readouterr().err) == [15]


def test_numbers_that_are_numbers_need_no_warning(image: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    run(image * 1e10)
    assert "no class" not in capsys.readouterr().err


def test_features_alone_have_no_classes_to_miss(image: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    image[50, 60] = np.nan
    run(image, sources="Features")
    assert "no class" not in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------ whole numbers


@pytest.mark.sampled(1)
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32"])
@pytest.mark.parametrize("source", ["Probabilities", "Uncertainty"])
def test_fractions_that_are_lost_are_said_with_the_option_that_keeps_them(
    image: np.ndarray, capsys: pytest.CaptureFixture[str], source: str, dtype: str
) -> None:
    """The option works as the line gives it."""
    run(image, f"--export_dtype={dtype}", sources=source)
    assert set(np.unique(get(source)).tolist()) <= {0, 1}
    said = capsys.readouterr().err
    assert f"{source} as {dtype}: values from 0 to 1 become whole numbers, so that only 0 and 1 are left" in said
    (option,) = re.findall(r"--export_drange=\(0,\d+\)", said)
    run(image, f"--export_dtype={dtype}", option, sources=source)
    values = get(source)
    assert values.min() >= 0
    assert len(np.unique(values)) > 20
    assert "whole numbers" not in capsys.readouterr().err


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("Probabilities", ("--export_dtype=float64",)),
        ("Simple Segmentation", ("--export_dtype=uint16",)),
        ("Features", ("--export_dtype=int32",)),
        ("Probabilities", ("--export_dtype=uint8", "--pipeline_result_drange=(0.0,1.0)", "--export_drange=(0,255)")),
    ],
)
def test_what_loses_nothing_or_was_meant_so_needs_no_warning(
    image: np.ndarray, capsys: pytest.CaptureFixture[str], source: str, options: Sequence[str]
) -> None:
    run(image, *options, sources=source)
    assert "whole numbers" not in capsys.readouterr().err

"""Odd names, counts and kinds of images were refused for wrong reasons, or taken for others, by a new project."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from pixelforest import cli
from pixelforest.engine.quotes import split_entries

NEW = ["train", "--new=new.ilp", "--trees=2"]
PIXELS = [*NEW, "--raw_data=raw.png", "--labels=points.csv"]
OBJECTS = [*NEW, "--object", "--raw_data=raw.png", "--segmentation_image=seg.png", "--labels=ids.csv", "--classes=A,B"]
POINTS = "x,y,class\n1,1,1\n9,9,2\n"


@pytest.fixture
def pixels(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    place = copy_golden("px2d_gray")
    (place / "points.csv").write_text(POINTS)
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def objects(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    place = copy_golden("obj2d_seg")
    (place / "ids.csv").write_text("object,class\n1,A\n2,B\n")
    monkeypatch.chdir(place)
    return place


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*PIXELS, "--classes=\udcff,B"], r"--classes: the name '\udcff' is not UTF-8"),
        ([*PIXELS, "--features="], "--features: there is no feature ''"),
        ([*PIXELS, "--autocontext", "--features_2="], "--features_2: there is no feature ''"),
        ([*PIXELS, "--classes_2="], "--classes_2 goes with --autocontext"),
        ([*NEW, "--raw_data=https://example.org/a.zarr", "--labels=points.csv"], "a new project refers to files"),
        (["train", "--project=project.ilp", "--output=new.ilp", "--classes="], "--classes goes with --new"),
    ],
)
def test_what_a_project_cannot_have_is_a_usage_error(
    words: list[str], message: str, pixels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    assert message in capsys.readouterr().err
    assert not (pixels / "new.ilp").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows allows no such names")
@pytest.mark.parametrize(("name", "message"), [("a:b.png", "has a ':'"), (os.fsdecode(b"\xff.png"), "is not UTF-8")])
def test_a_name_that_a_project_cannot_store_is_refused(
    name: str, message: str, pixels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        shutil.copy("raw.png", name)
    except OSError:
        pytest.skip("this file system allows no such names")
    assert cli.main([*NEW, f"--raw_data={name}", "--labels=points.csv"]) == 2
    assert message in capsys.readouterr().err


def test_names_of_classes_may_have_commas_within_quotes(pixels: Path) -> None:
    assert cli.main([*PIXELS, """--classes="A, 1",'B'"""]) == 0
    with h5py.File("new.ilp") as file:
        assert file["PixelClassification/LabelNames"][:].tolist() == [b"A, 1", b"B"]


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("", [""]),
        ("a,", ["a", ""]),
        ('"a, b" , c', ["a, b", "c"]),
        ("\"a'b\",'c\"d'", ["a'b", 'c"d']),
        ('"a,b', ['"a', "b"]),
        ('x"a,b"', ['x"a', 'b"']),
    ],
)
def test_lists_with_quotes_are_split_at_commas_outside_them(text: str, entries: list[str]) -> None:
    assert split_entries(text) == entries


def test_flat_images_and_volumes_are_refused_in_either_order(pixels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File("volume.h5", "w") as file:
        file["data"] = np.zeros((8, 64, 64), np.uint8)
    (pixels / "volume.csv").write_text("x,y,z,class\n1,1,1,1\n9,9,2,2\n")
    features = "--features=Gaussian Smoothing:0.7;Hessian of Gaussian Eigenvalues:1"
    for order in (1, -1):
        images, labels = ["raw.png", "volume.h5"][::order], ["points.csv", "volume.csv"][::order]
        assert cli.main([*NEW, features, "--raw_data", *images, "--labels", *labels]) == 1
        assert "either all or none of them several z slices" in capsys.readouterr().err


def test_a_table_without_rows_is_not_blamed_on_the_project(pixels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pixels / "points.csv").write_text("x,y,class\n")
    assert cli.main([*PIXELS, "--classes=A,B"]) == 1
    assert "there are no labels to train from in points.csv" in capsys.readouterr().err


def test_underscores_are_not_digits(pixels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pixels / "points.csv").write_text(POINTS + "1_2,3,1\n")
    assert cli.main(PIXELS) == 1
    assert "row 4: x is '1_2', not a number" in capsys.readouterr().err


def test_an_object_has_a_whole_number(objects: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (objects / "ids.csv").write_text("object,class\n1.4,A\n2,B\n")
    assert cli.main(OBJECTS) == 1
    assert "row 2: object is 1.4, not an integer" in capsys.readouterr().err
    (objects / "ids.csv").write_text("object,class\n1.0,A\n2,B\n")
    assert cli.main(OBJECTS) == 0


@pytest.mark.parametrize("extent", ["²", "9" * 5000, "1001", "-1"])
def test_an_extent_is_a_number_of_pixels(extent: str, objects: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*OBJECTS, f"--features=Mean Intensity in neighborhood:{extent}"]) == 2
    assert "have an extent, of 1 to 1000 pixels" in capsys.readouterr().err


def test_a_superscript_in_the_name_of_a_slice_is_no_number(pixels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("1²1.png", "1²2.png"):
        shutil.copy("raw.png", name)
    assert cli.main([*NEW, "--raw_data=1²*.png", "--labels=points.csv"]) == 1
    assert "has no column z, but 1²*.png has the size z=2" in capsys.readouterr().err

"""``pixelforest view``: a page about a result that exists."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from pixelforest import cli

LEGEND = ("Background", "Red cells", "Blue cells")


@pytest.fixture
def rgb(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = copy_golden("px2d_rgb")
    monkeypatch.chdir(folder)
    return folder


def classify(source: str, file_format: str, *words: str) -> None:
    argv = ["--project=project.ilp", f"--export_source={source}", f"--output_format={file_format}", "--quiet"]
    assert cli.main([*argv, "--output_filename_format=result", *words, "raw.png"]) == 0


def view(result: str, *words: str) -> str:
    assert cli.main(["view", result, "--raw=raw.png", "--output=v.html", "--quiet", *words]) == 0
    return Path("v.html").read_text(encoding="utf-8")


def shares(page: str) -> str:
    found = re.search("Pixels: ([^<]*)", page)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("source", "file_format", "name"),
    [
        ("Probabilities", "hdf5", "result.h5"),
        ("Probabilities", "tiff", "result.tiff"),
        ("Simple Segmentation", "single-scale OME-Zarr", "result.ome.zarr"),
        ("Simple Segmentation", "png", "result.png"),
    ],
)
def test_a_result_looks_as_in_the_page_of_its_run(rgb: Path, source: str, file_format: str, name: str) -> None:
    classify(source, file_format, "--report_html=r.html")
    (result,) = Path().glob("result*")
    page = view(str(result), "--project=project.ilp")
    assert shares(page) == shares(Path("r.html").read_text(encoding="utf-8"))
    assert ("Uncertainty, bright" in page) == (source == "Probabilities")
    assert page.count("<img ") == (4 if source == "Probabilities" else 3)


def test_classes_have_numbers_without_a_project(rgb: Path) -> None:
    classify("Simple Segmentation", "hdf5")
    page = view("result.h5")
    assert "Class 1 80." in shares(page)
    assert not any(name in page for name in LEGEND)


def test_integers_of_probabilities_are_scaled(rgb: Path) -> None:
    drange = ["--export_dtype=uint8", "--pipeline_result_drange=(0.0,1.0)", "--export_drange=(0,255)"]
    classify("Probabilities", "hdf5", *drange)
    page = view("result.h5", "--project=project.ilp")
    pictures = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', page)
    with Image.open(BytesIO(base64.b64decode(pictures[0]))) as picture:
        assert 0 < np.asarray(picture).mean() < 128


def test_ids_of_objects_share_colours(rgb: Path) -> None:
    ids = np.arange(120 * 140, dtype=np.uint32).reshape(120, 140)
    with h5py.File("ids.h5", "w") as file:
        file["ids"] = ids
    assert "Ids 1, 21, …" in view("ids.h5/ids")


def test_the_page_is_named_after_the_result(rgb: Path) -> None:
    classify("Simple Segmentation", "hdf5")
    assert cli.main(["view", "result.h5", "--raw=raw.png", "--quiet"]) == 0
    assert Path("result.html").is_file()


def test_other_sizes_and_values_are_refused(rgb: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File("other.h5", "w") as file:
        file["small"] = np.zeros((20, 30), np.uint8)
        file["floats"] = np.zeros((120, 140), np.float32)
    for name, words in (("small", "they must agree except for channels"), ("floats", "neither a segmentation nor")):
        assert cli.main(["view", f"other.h5/{name}", "--raw=raw.png"]) == 1
        assert words in capsys.readouterr().err
    assert cli.main(["view", "other.h5/small"]) == 2
    assert "--raw=IMAGE" in capsys.readouterr().err

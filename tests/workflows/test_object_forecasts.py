"""Object projects explained: what is said of them, and that what is wrong with their inputs is foretold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.forecast import explain

from pixelforest import cli


def put(name: str, shape: tuple[int, ...], dtype: type = np.uint8) -> str:
    with h5py.File(name, "w") as file:
        file["data"] = np.zeros(shape, dtype)
    return f"{name}/data"


def words(inputs: Mapping[str, str], *options: str) -> list[str]:
    roles = [word for role, path in inputs.items() for word in (f"--{role}", path)]
    return ["--project=project.ilp", "--ignore_training_axistags", "--output_filename_format=o", *options, *roles]


# What is wrong -> folder, inputs by role (a path, or the array that is put there), what the line must say
BAD: Mapping[str, tuple[str, Mapping[str, object], str]] = {
    "a role is missing": ("obj2d_pred", {"raw_data": "raw.h5/data"}, "there is no Prediction Maps"),
    "sizes differ": (
        "obj2d_seg",
        {"raw_data": "raw.png", "segmentation_image": ((200, 239), np.uint8)},
        "Shapes do not match",
    ),
    "a segmentation with channels": (
        "obj2d_seg",
        {"raw_data": "raw.png", "segmentation_image": ((200, 240, 2), np.uint8)},
        "has 2 channels",
    ),
    "labels that are no integers": (
        "obj2d_label",
        {"raw_data": "raw.h5/data", "label_image": ((140, 150), np.float32)},
        "ids are integers",
    ),
    "too few prediction maps": (
        "obj2d_pred",
        {"raw_data": "raw.h5/data", "prediction_maps": ((180, 200, 1), np.float32)},
        "channel",
    ),
    "other channels": (
        "obj2d_seg",
        {"raw_data": ((200, 240, 3), np.uint8), "segmentation_image": "seg.png"},
        "image of one channel",
    ),
    "one row": (
        "obj2d_seg",
        {"raw_data": ((1, 9), np.uint8), "segmentation_image": ((1, 9), np.uint8)},
        "one pixel along y",
    ),
    "a file that is not there": ("obj2d_seg", {"raw_data": "raw.png", "segmentation_image": "gone.png"}, "gone.png"),
}


@pytest.fixture
def case(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes a copy of a recorded folder the current one."""

    def enter(name: str) -> Path:
        folder = copy_golden(name)
        monkeypatch.chdir(folder)
        return folder

    return enter


@pytest.mark.sampled(1)
@pytest.mark.parametrize(("name", "inputs", "part"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("options", [[], ["--table_filename=t.csv"]], ids=["image", "table"])
def test_bad_inputs_are_foretold(
    case: Callable[[str], Path],
    name: str,
    inputs: Mapping[str, object],
    part: str,
    options: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = case(name)
    paths = {
        role: put(f"{role}.h5", *given) if isinstance(given, tuple) else str(given) for role, given in inputs.items()
    }
    before = sorted(folder.rglob("*"))
    assert cli.main(["--dry_run", *words(paths, *options)]) == 1
    foretold = capsys.readouterr().err
    assert part in foretold
    assert foretold.count("\n") == 1
    assert cli.main(words(paths, *options)) == 1
    assert capsys.readouterr().err == foretold
    assert sorted(folder.rglob("*")) == before


@pytest.mark.sampled(1)
@pytest.mark.parametrize("table", ["file/t.csv", "raw.png"])
def test_a_table_that_cannot_be_put_there_is_foretold(
    case: Callable[[str], Path], table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    case("obj2d_seg")
    Path("file").touch()
    argv = words({"raw_data": "raw.png", "segmentation_image": "seg.png"}, f"--table_filename={table}")
    assert cli.main(["--dry_run", *argv]) == 1
    foretold = capsys.readouterr().err
    assert "--table_filename" in foretold
    assert cli.main(argv) == 1
    assert capsys.readouterr().err == foretold


def test_thresholds_sources_and_columns_are_named(
    case: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    case("obj2d_pred_hyst")
    argv = words({"raw_data": "raw.h5/data", "prediction_maps": "pred.h5/data"}, "--table_filename=t.csv")
    document = explain(capsys, *argv)
    objects, (lane,) = document["project"]["objects"], document["lanes"]
    assert objects["made_from"] == "Prediction Maps"
    assert objects["thresholds"]["method"] == "hysteresis"
    assert objects["features_in_tables"] >= objects["features"] > 0
    assert lane["results"] == []
    assert cli.main(argv) == 0
    assert len(Path("t.csv").read_text(encoding="utf-8").splitlines()[0].split(",")) == lane["table"]["columns"]
    capsys.readouterr()
    assert cli.main(["explain", *argv]) == 0
    text = capsys.readouterr().out
    assert "thresholds:      hysteresis: cores " in text
    assert f"table:         {lane['table']['columns']} columns as csv" in text.lower()
    assert "replaces" in text


def test_a_project_with_pixels_and_objects(case: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    case("pcoc2d")
    document = explain(
        capsys, "--project=project.ilp", "--export_source=Object Identities,Pixel Probabilities", "raw.png"
    )
    (lane,) = document["lanes"]
    assert "pixel stage" in document["project"]["objects"]["made_from"]
    assert [result["name"] for result in lane["results"]] == ["Object Identities", "Pixel Probabilities"]
    assert lane["work"]["halo"]["y"] > 0
    assert lane["work"]["scratch_bytes"] > 0


def test_too_little_room_for_intermediate_volumes_is_foretold(
    case: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    case("obj2d_pred_ipht")
    usage = type(shutil.disk_usage("."))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**9, 10**9, 1000))
    argv = words({"raw_data": "raw.h5/data", "prediction_maps": "pred.h5/data"}, "--memory=300K", "--threads=1")
    assert cli.main(["--dry_run", *argv]) == 1
    output = capsys.readouterr()
    assert "pixels are kept; grown through the whole image by one process\n" in output.out
    foretold = output.err
    assert "let TMPDIR name a folder with more room" in foretold
    assert cli.main(argv) == 1
    assert capsys.readouterr().err == foretold

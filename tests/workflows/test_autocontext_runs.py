"""Runs of Autocontext projects: what is refused or reported, and what the commands about projects say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from support.golden import GOLDEN

from pixelforest import cli

EXPECTED = GOLDEN / "autocontext_2d" / "expected"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    copied = copy_golden("autocontext_2d")
    monkeypatch.chdir(copied)
    return copied


def refusal(capsys: Capture, *words: str, status: int = 1) -> str:
    """The one line of a run that is refused; nothing is written."""
    before = sorted(Path().rglob("*"))
    assert cli.main(["--headless", "--project=project.ilp", *words]) == status
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert sorted(Path().rglob("*")) == before
    return error


def test_the_default_result_is_the_probabilities_of_stage_2(folder: Path) -> None:
    assert cli.main(["--headless", "--project=project.ilp", "--output_filename_format=out.h5", "raw.png"]) == 0
    with h5py.File("out.h5") as found, h5py.File(EXPECTED / "probabilities_stage_2.h5") as recorded:
        assert np.array_equal(found["exported_data"][()], recorded["exported_data"][()])


def test_names_without_a_stage_are_refused_with_those_that_exist(folder: Path, capsys: Capture) -> None:
    error = refusal(capsys, "--export_source=Probabilities", "raw.png")
    assert "valid options are: Probabilities Stage 2, Simple Segmentation Stage 2, " in error
    assert error.rstrip().endswith("Input Stage 1, Probabilities All Stages")


def test_a_table_is_refused(folder: Path, capsys: Capture) -> None:
    assert "have no objects" in refusal(capsys, "--table_filename=t.csv", "raw.png", status=2)


def test_an_image_with_other_channels_is_refused(folder: Path, capsys: Capture) -> None:
    Image.fromarray(np.zeros((60, 70, 3), np.uint8)).save("rgb.png")
    assert "has 3 channel(s), but the project was trained on 1" in refusal(capsys, "rgb.png")


def test_an_image_that_is_too_small_for_stage_2_is_refused(folder: Path, capsys: Capture) -> None:
    """Scale 5.0 belongs to stage 2 alone."""
    Image.fromarray(np.zeros((14, 70), np.uint8)).save("small.png")
    assert "5.0" in refusal(capsys, "small.png")


def test_stages_that_do_not_fit_are_refused(folder: Path, capsys: Capture) -> None:
    with h5py.File("project.ilp", "r+") as file:
        names = file["PixelClassification/LabelNames"][()]
        del file["PixelClassification/LabelNames"]
        file["PixelClassification/LabelNames"] = np.append(names, b"Fourth")
    assert "stage 2 was trained on 20 feature columns" in refusal(capsys, "raw.png")


def test_a_project_without_a_second_classifier_and_its_labels_is_refused(folder: Path, capsys: Capture) -> None:
    with h5py.File("project.ilp", "r+") as file:
        del file["PixelClassification01/ClassifierForests"], file["PixelClassification01/LabelSets"]
    assert "stage 2 of project.ilp has no labels to train from" in refusal(capsys, "raw.png")


def test_a_mask_is_reported_to_have_no_effect(folder: Path, capsys: Capture) -> None:
    Image.fromarray(np.zeros((120, 128), np.uint8)).save("mask.png")
    words = ["--output_filename_format=out.h5", "--raw_data", "raw.png", "--prediction_mask", "mask.png"]
    assert cli.main(["--headless", "--project=project.ilp", *words]) == 0
    assert "mask.png has no effect" in capsys.readouterr().err
    with h5py.File("out.h5") as found, h5py.File(EXPECTED / "probabilities_stage_2.h5") as recorded:
        assert np.array_equal(found["exported_data"][()], recorded["exported_data"][()])


@pytest.mark.parametrize("dtype", ["int32", "uint32"])
def test_types_that_ilastik_does_not_convert_soundly_are_reported(dtype: str, folder: Path, capsys: Capture) -> None:
    with Image.open("raw.png") as image:
        np.save("raw.npy", np.asarray(image).astype(dtype))
    words = ["--input_axes=yx", "--output_filename_format=out.h5", "raw.npy"]
    assert cli.main(["--headless", "--project=project.ilp", *words]) == 0
    assert f"raw.npy is of type {dtype}" in capsys.readouterr().err


def test_info_describes_both_stages(folder: Path, capsys: Capture) -> None:
    assert cli.main(["info", "project.ilp"]) == 0
    text = capsys.readouterr().out
    assert "Background" in text
    assert "classes 1 Outside, 2 Inside; 4 features, 20 columns; 21 trees, " in text


def test_explain_names_the_classes_of_both_stages(folder: Path, capsys: Capture) -> None:
    assert cli.main(["explain", "--json", "--project=project.ilp", "raw.png"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["project"]["stages"] == [
        {"classes": ["Background", "Bright", "Dim"]},
        {"classes": ["Outside", "Inside"]},
    ]


def test_labels_of_the_training_image_are_those_of_their_stage(folder: Path) -> None:
    """Recorded blocks: ilastik itself exports zeros (docs/differences.md)."""
    names = "Labels Stage 1,Labels Stage 2"
    words = [f"--export_source={names}", "--output_filename_format={result_type}.h5", "raw.png"]
    assert cli.main(["--headless", "--project=project.ilp", *words]) == 0
    found = []
    for name in names.split(","):
        with h5py.File(f"{name}.h5") as file:
            found.append(file["exported_data"][()])
    assert found[0].any()
    assert found[1].any()
    assert not np.array_equal(*found)

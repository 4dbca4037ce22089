"""A format that cannot be written was refused after the training; --blocks with --shard named the wrong number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from pixelforest import cli
from pixelforest.engine import retraining

MISTAKES = {
    "--output_format=nothing": "nothing",
    "--export_source=Nothing": "Nothing",
    "--input_axes=qq": "qq",
    "--cutout_subregion=nonsense": "nonsense",
    "--export_dtype=uint8 --pipeline_result_drange=(0": "(0",
    "--output_filename_format=a{": "a{",
    "--table_filename=t.csv": "no objects",
    "--segmentation_image=raw.png": "not an input of this project",
    "--blocks=1/2 --output_format=png": "--blocks: one process writes png as a whole",
    "--finish --output_format=hdf5": "--finish: one process writes hdf5 as a whole",
    "--blocks=1/2 --shard=1/2 --output_format=n5": "give one of the two",
}


@pytest.fixture
def folder(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, where nothing is trained."""

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("it was trained first")

    monkeypatch.setattr(retraining, "train_project_file", refuse)
    monkeypatch.chdir(place := copy_golden("px2d_gray"))
    return place


@pytest.mark.parametrize("state", ["trained", "untrained"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_found_before_training(
    mistake: str, state: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if state == "untrained":
        with h5py.File("project.ilp", "r+") as file:
            del file["PixelClassification/ClassifierForests"]
    words = ["--project=project.ilp", *mistake.split(), *(["--retrain"] if state == "trained" else [])]
    assert cli.main([*words, *(["--raw_data=raw.png"] if "--segmentation" in mistake else ["raw.png"])]) in (1, 2)
    assert MISTAKES[mistake] in capsys.readouterr().err


def test_a_project_of_objects_is_looked_at_too(
    folder: Path,
    copy_golden: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(copy_golden("obj2d_seg"))
    words = ["--project=project.ilp", "--retrain", "--raw_data=raw.png", "--segmentation_image=seg.png"]
    assert cli.main([*words, "--output_format=nothing"]) == 2
    assert "nothing" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--blocks=1/2", "--finish"])
def test_blocks_and_shards_are_two_things(option: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--project=project.ilp", "--output_format=n5", option, "--shard=1/2", "raw.png"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line == (
        f"pixelforest: error: {option.partition('=')[0]} is for the blocks of one image, and --shard divides several "
        "images among jobs; give one of the two"
    )

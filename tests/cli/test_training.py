"""The command ``train``, and training in a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.golden import GOLDEN

from pixelforest.cli import main
from pixelforest.engine.workflows import read_project
from pixelforest.frontend.training_options import TRAINING_OPTIONS, training_help


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with its image, to be changed."""
    for name in ("project.ilp", "raw.png"):
        shutil.copy(GOLDEN / "px2d_gray" / name, tmp_path)
    return tmp_path / "project.ilp"


def test_train_writes_a_project_and_reports(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, before = project.with_name("new.ilp"), project.read_bytes()
    arguments = ["train", f"--project={project}", f"--output={out}", "--trees=40", "--seed=7"]
    assert main(arguments) == 0
    found = read_project(out).classifier
    assert found.tree_count == 40
    assert project.read_bytes() == before
    text = capsys.readouterr().out
    assert "701 labelled pixels, 56 features" in text
    assert "Background  396" in text
    assert "40 trees in 20 forests, seed 7" in text
    assert "out-of-bag error" in text
    assert main([*arguments, "--threads=1", "--quiet"]) == 0
    assert read_project(out).classifier == found


def test_a_trained_project_predicts(project: Path, tmp_path: Path) -> None:
    out, result = tmp_path / "new.ilp", tmp_path / "result.npy"
    assert main(["train", f"--project={project}", f"--output={out}"]) == 0
    shape = ["--output_format=numpy", f"--output_filename_format={result}", "--export_source=Simple Segmentation"]
    assert main([f"--project={out}", "--device=cpu", *shape, str(tmp_path / "raw.png")]) == 0
    assert result.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is no project to train"),
        (["--project=project.ilp"], "say where the trained project goes, with --output=Retrained.ilp"),
        (["--project=project.ilp", "--output=new.ilp", "--seed=0"], "--seed goes from 1 to 4294967295, not 0"),
        (["--project=project.ilp", "--output=new.ilp", "--trees=0"], "has 1 to 100000 trees, not 0"),
        (["--project=project.ilp", "--output=new.ilp", "image.png"], "takes no images without an option (image.png)"),
        (["--project=project.ilp", "--output=new.ilp", "--label_proportion=2"], "above 0, at most 1"),
        (["--project=project.ilp", "--export_source=Labels"], "unknown option --export_source"),
    ],
)
def test_command_lines_that_cannot_be_meant_are_refused(
    arguments: list[str],
    message: str,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(project.parent)
    assert main(["train", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (project.parent / "new.ilp").exists()


def test_help_lists_the_options_of_training(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: pixelforest train")
    assert all(option.name in training_help(80) for option in TRAINING_OPTIONS)


def test_a_folder_that_cannot_be_written_is_noticed_first(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", f"--project={project}", f"--output={project.parent / 'raw.png' / 'new.ilp'}"]) == 1
    captured = capsys.readouterr()
    assert "there is a file where a folder is needed; choose another folder with --output" in captured.err
    assert "Training" not in captured.out

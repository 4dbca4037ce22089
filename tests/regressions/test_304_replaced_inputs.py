"""Training replaced whatever file --new or --output named, such as the image; --report_json did so in a run, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pixelforest import cli

NEW = ["train", "--raw_data=raw.png", "--labels=points.csv", "--trees=2"]
TRAIN = ["train", "--project=project.ilp", "--trees=2"]
RUN = ["--project=project.ilp", "--device=cpu", "raw.png"]
POINTS = "x,y,class\n1,1,1\n9,9,2\n"


@pytest.fixture
def folder(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    place = copy_golden("px2d_gray")
    (place / "points.csv").write_text(POINTS)
    monkeypatch.chdir(place)
    return place


@pytest.mark.parametrize(
    ("words", "lost", "option"),
    [
        ([*NEW, "--new=raw.png"], "raw.png", "--new"),
        ([*NEW, "--new=points.csv"], "points.csv", "--new"),
        ([*TRAIN, "--output=raw.png"], "raw.png", "--output"),
        ([*NEW, "--new=new.ilp", "--report_json=raw.png"], "raw.png", "--report_json"),
        ([*TRAIN, "--output=new.ilp", "--report_json=project.ilp"], "project.ilp", "--report_json"),
        ([*RUN, "--report_json=raw.png"], "raw.png", "--report_json"),
        ([*RUN, "--report_html=raw.png"], "raw.png", "--report_html"),
        ([*RUN, "--report_json=project.ilp"], "project.ilp", "--report_json"),
        (["explain", *RUN, "--report_json=project.ilp"], "project.ilp", "--report_json"),
    ],
)
def test_a_file_of_another_kind_is_not_replaced(
    words: list[str], lost: str, option: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert cli.main(words) == 1
    message = capsys.readouterr().err
    assert f"cannot write {folder / lost}: there is a file " in message
    assert f"choose another name with {option}, or remove the file" in message
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_report_and_a_new_project_are_two_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is trained."""
    assert cli.main([*NEW, "--new=new.ilp", "--report_json=new.ilp"]) == 2
    assert "new.ilp is named by --report_json, too" in capsys.readouterr().err
    assert not (folder / "new.ilp").exists()


def test_files_of_the_same_kind_are_replaced(folder: Path) -> None:
    words = [*NEW, "--new=new.ilp", "--report_json=report.json"]
    (folder / "new.ilp").touch()
    (folder / "report.json").touch()
    for _ in range(2):
        assert cli.main(words) == 0
    assert cli.main([*RUN, "--report_json=report.json"]) == 0

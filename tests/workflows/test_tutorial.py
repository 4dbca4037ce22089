"""Every command of docs/tutorial.md runs and prints what the page says; pictures of the pages show what they make."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from support.golden import REPOSITORY

from pixelforest import cli


def load_builder(name: str) -> ModuleType:
    source = importlib.util.spec_from_file_location(name, REPOSITORY / "docs" / f"{name}.py")
    assert source is not None
    assert source.loader is not None
    builder = importlib.util.module_from_spec(source)
    source.loader.exec_module(builder)
    return builder


@pytest.mark.slow
def test_the_tutorial_runs(work_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = load_builder("build_tutorial_picture")
    points, commands = "", []
    for words, printed in page.follow_page():
        points = points or Path("points.csv").read_text(encoding="utf-8")
        capsys.readouterr()
        assert words[0] == "pixelforest"
        assert cli.main(words[1:]) == 0
        assert capsys.readouterr().out.endswith(printed)
        commands.append(words[1])
    assert commands == ["train", "--project=Cells.ilp"] * 2
    picture = page.draw(points)
    assert np.array_equal(np.asarray(picture), np.asarray(Image.open(page.PICTURE))), "draw the picture again"
    # What the text says about it: more round pixels are found with the second table, and more points are in it.
    first, second = (np.asarray(Image.open(name)) for name in ("first.png", "second.png"))
    assert np.unique(first).tolist() == np.unique(second).tolist() == [0, 127, 255]
    assert np.count_nonzero(second == 127) > 2 * np.count_nonzero(first == 127)


@pytest.mark.slow
def test_the_picture_of_training_shows_both_stages(work_folder: Path) -> None:
    page = load_builder("build_training_picture")
    for words in page.commands():
        assert cli.main(words) == 0
    assert np.array_equal(np.asarray(page.draw()), np.asarray(Image.open(page.PICTURE))), "draw the picture again"
    # What the text says about it: stage 2 follows its labels.
    labels, classes = (np.load(f"{name} Stage 2.npy") for name in page.NAMES)
    assert (classes[labels > 0] == labels[labels > 0]).mean() > 0.99


def test_the_picture_of_speeds_shows_the_table_of_the_readme() -> None:
    page = load_builder("build_speed_picture")
    drawn = page.draw()
    assert drawn.count("<rect") == 12
    assert page.PICTURE.read_text(encoding="utf-8") == drawn, "draw the picture again"

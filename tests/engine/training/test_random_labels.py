"""Random labels: ilastik's pixels, saved only where that is allowed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.golden import GOLDEN

from pixelforest.cli import main
from pixelforest.engine.errors import ClassifierMissing, UsageError
from pixelforest.engine.project import open_project, read_label_names
from pixelforest.engine.project.annotations import read_blocks_of_lane
from pixelforest.engine.project.lanes import read_lanes
from pixelforest.engine.training.random_labels import add_random_labels
from pixelforest.engine.training.samples import find_labelled
from pixelforest.engine.workflows import read_project

SHAPES = {"px2d_gray": (1, 1, 160, 200), "px3d": (1, 40, 48, 56), "px2dt": (4, 1, 80, 96)}


def copy(case: str, folder: Path) -> Path:
    for path in (GOLDEN / case).iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    return folder / "project.ilp"


def labels_of(path: Path) -> np.ndarray:
    """Labels of the only image (t, z, y, x)."""
    with open_project(path) as file:
        lanes = read_lanes(file)
        blocks = read_blocks_of_lane(file, lanes, 0, version="1.4.0", workflow="Pixel Classification")
        sizes = lanes[0].images["Raw Data"].sizes()
    shape = tuple(sizes.get(axis, 1) for axis in "tzyx")
    found = find_labelled(blocks, (*shape, 1), "")
    labels = np.zeros(shape, np.uint8)
    labels.reshape(-1)[found.places] = found.labels
    return labels


def drawn_by_ilastik(shape: tuple[int, ...], count: int, image: int) -> np.ndarray:
    """Follow the specification: pixels that are drawn again are drawn anew."""
    np.random.seed([1, image])  # the generator that ilastik seeds
    labels = np.zeros(shape, np.bool_)
    for _ in range(count):
        at = np.random.randint(0, labels.size)
        while labels.flat[at]:
            at = np.random.randint(0, labels.size)
        labels.flat[at] = True
    return labels


@pytest.mark.parametrize("case", SHAPES)
def test_pixels_are_those_of_ilastik_and_others_keep_their_labels(case: str, tmp_path: Path) -> None:
    path = copy(case, tmp_path)
    before = labels_of(path)
    add_random_labels(path, count=900, value=2)
    is_drawn = drawn_by_ilastik(before.shape, 900, 0)
    assert np.array_equal(labels_of(path), np.where(is_drawn, 2, before))
    with pytest.raises(ClassifierMissing):
        read_project(path)


def test_new_classes_get_names(tmp_path: Path) -> None:
    path = copy("px2d_gray", tmp_path)
    add_random_labels(path, count=5, value=4)
    with open_project(path) as file:
        assert read_label_names(file) == ("Background", "Cell", "Label 3", "Label 4")


def test_a_run_trains_from_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copy("px2d_gray", tmp_path)
    out = tmp_path / "out.npy"
    words = ["--output_format=numpy", f"--output_filename_format={out}", "--device=cpu", "--export_source=Labels"]
    words += ["--tree_count=4", "--generate-random-labels", "--random-label-count=50", str(tmp_path / "raw.png")]
    assert main([f"--project={path}", "--readonly=0", *words]) == 0
    captured = capsys.readouterr()
    assert "Labelled 50 random pixels of image 1" in captured.out
    assert "--readonly=0 has no effect" not in captured.err
    assert np.array_equal(np.load(out).reshape(160, 200), labels_of(path)[0, 0])
    assert main([f"--project={path}", *words[:-4], "--random-label-count=5", words[-1]]) == 0
    assert "--random_label_count has no effect without --generate_random_labels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 2, "to do so, add --readonly=0"),
        (
            ["--readonly=0", "--random-label-value=100"],
            2,
            "--random_label_value goes from 1 to 255, without 100, not 100",
        ),
        (["--readonly=0", "--random-label-value=0"], 2, "not 0"),
        (["--readonly=0", "--random-label-count=32001"], 2, "is 32001, but image 1 has 32000 pixels"),
        (["--readonly=0", "--output_format=none"], 2, "none"),
        (["--readonly=0", "--dry_run"], 0, "No random labels are added, since nothing is saved"),
    ],
)
def test_the_project_stays_as_it_is(
    words: list[str], status: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy("px2d_gray", tmp_path)
    before = path.read_bytes()
    assert main([f"--project={path}", "--generate_random_labels", *words, str(tmp_path / "raw.png")]) == status
    assert message in capsys.readouterr().err
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


def test_projects_of_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="goes with projects of Pixel Classification, not of Object Classification"):
        add_random_labels(copy("obj2d_seg", tmp_path), count=5, value=1)
    with pytest.raises(UsageError, match="random_label_count is 100000"):
        add_random_labels(copy("px2d_gray", tmp_path), count=100_000, value=1)

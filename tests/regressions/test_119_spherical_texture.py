"""A project was refused for object features of an unknown plugin that it computes and its classifier does not read."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest

from pixelforest import cli
from pixelforest.engine.project import ObjectProject
from pixelforest.engine.project.object_features import largest_margin
from pixelforest.engine.workflows import read_project

PLUGIN, NAMES = "Spherical Texture", ("Polarization Direction", "Spherical Texture")
COMPUTED, SELECTED = "ObjectExtraction/Features", "ObjectClassification/SelectedFeatures"
LINE = "the table lacks the columns of Polarization Direction, Spherical Texture (Spherical Texture)"


@pytest.fixture
def project(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recorded project, set up for no table, whose folder becomes the current one."""
    monkeypatch.chdir(copy_golden("obj2d_seg"))
    with h5py.File("project.ilp", "r+") as file:
        del file["ObjectClassification/ExportSettings"]
    return Path("project.ilp")


def put(project: Path, group: str, names: Sequence[str], margin: tuple[int, ...] | None = None) -> None:
    with h5py.File(project, "r+") as file:
        plugin = file.create_group(f"{group}/{PLUGIN}")
        for name in names:
            feature = plugin.create_group(name)
            if margin is not None:
                feature["margin"] = np.array(margin)


def run(table: str | None = None) -> int:
    words = ["--export_source=Object Predictions", "--output_format=hdf5", "--output_filename_format=predictions.h5"]
    words += [] if table is None else [f"--table_filename={table}"]
    return cli.main(
        ["--headless", "--project=project.ilp", *words, "--raw_data=raw.png", "--segmentation_image=seg.png"]
    )


def read_table(path: str) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def predictions() -> np.ndarray:
    with h5py.File("predictions.h5") as file:
        values: np.ndarray = file["exported_data"][()]
    return values


def test_features_that_are_only_computed_are_left_out_with_a_line(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("before.csv") == 0
    assert PLUGIN not in capsys.readouterr().err
    before = predictions()
    put(project, COMPUTED, NAMES)
    assert run("after.csv") == 0
    assert LINE in capsys.readouterr().err
    assert np.array_equal(predictions(), before)
    assert read_table("after.csv") == read_table("before.csv")


def test_images_alone_lack_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(project, COMPUTED, NAMES)
    assert run() == 0
    assert PLUGIN not in capsys.readouterr().err


def test_features_that_the_classifier_reads_are_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(project, COMPUTED, NAMES)
    put(project, SELECTED, NAMES[:1])
    assert run() == 1
    said = capsys.readouterr().err
    assert f"{SELECTED}: uses the object features of 'Spherical Texture', which are not supported" in said


def test_without_a_selection_the_classifier_reads_everything(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(project, COMPUTED, NAMES)
    with h5py.File(project, "r+") as file:
        del file[SELECTED]
    assert run() == 1
    assert f"{COMPUTED}: uses the object features of 'Spherical Texture'" in capsys.readouterr().err


def test_a_plugin_of_which_nothing_is_selected_is_no_obstacle(project: Path) -> None:
    put(project, COMPUTED, NAMES)
    put(project, SELECTED, ())
    assert run() == 0


@pytest.mark.parametrize("everything", [True, False])
def test_neighbourhoods_reach_as_far_as_unknown_features_make_them(project: Path, everything: bool) -> None:
    """One margin counts for all features of a project, the largest, whichever feature has it."""
    put(project, COMPUTED, NAMES, margin=(31, 3))
    found = read_project(project)
    assert isinstance(found, ObjectProject)
    own = largest_margin(found.features.computed)
    measured = found.features.measured(everything=everything)
    assert PLUGIN not in measured
    assert largest_margin(measured) == (31, max(3, own[1]))


def test_info_names_what_is_left_out(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(project, COMPUTED, NAMES)
    assert cli.main(["info", str(project)]) == 0
    assert "Spherical Texture: Polarization Direction, Spherical Texture (not known here" in capsys.readouterr().out

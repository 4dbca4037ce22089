"""Every recorded run of the object classification projects under tests/golden, through the command line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import pytest
from support.forecast import explain, foretold_files
from support.golden import GoldenCase, golden_cases, golden_folders
from support.recorded import Allowed, assert_same_cells, assert_same_dataset, read_table

from pixelforest import cli

FOLDERS = [folder for folder in golden_folders() if folder.name.startswith(("obj", "pcoc"))]
CASES = [case for folder in FOLDERS for case in golden_cases(folder)]
IMAGES = [case for case in CASES if "--table_only" not in case.args]
TABLES = [case for case in CASES if "--table_only" in case.args]


def test_all_kinds_of_object_projects_are_recorded() -> None:
    assert [folder.name for folder in FOLDERS] == [
        "obj2d_label",
        "obj2d_pred",
        "obj2d_pred_hyst",
        "obj2d_pred_ipht",
        "obj2d_seg",
        "obj2dt_pred_hyst_all",
        "obj2dt_seg",
        "obj3d_seg",
        "pcoc2d",
    ]


@pytest.fixture
def foretell(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    return partial(explain, capsys)


def run(
    case: GoldenCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, foretell: Callable[..., dict[str, Any]]
) -> list[str]:
    """Run a case in a copy of its folder, since these projects write tables beside their inputs; its arguments.

    What it writes is what was foretold.
    """
    copy = shutil.copytree(case.folder, tmp_path / "case", ignore=shutil.ignore_patterns("expected"))
    monkeypatch.chdir(copy)
    args = [word.replace("{out}", str(tmp_path / "out")) for word in case.args]
    before = set(tmp_path.rglob("*"))
    foretold = foretell(f"--project={case.project}", *args)
    assert (foretold["status"], set(tmp_path.rglob("*"))) == (case.exit_status, before)
    assert cli.main(["--headless", f"--project={case.project}", *args]) == case.exit_status
    new = set(tmp_path.rglob("*")) - before
    assert {path for path in new if path.is_file()} == foretold_files(foretold)
    for lane in foretold["lanes"]:
        if lane["table"] is not None:
            assert lane["table"]["columns"] == len(read_table(Path(lane["table"]["path"])))
    return args


@pytest.mark.golden
@pytest.mark.parametrize("case", IMAGES, ids=[case.name for case in IMAGES])
def test_a_recorded_image(
    case: GoldenCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, foretell: Callable[..., dict[str, Any]]
) -> None:
    args = run(case, tmp_path, monkeypatch, foretell)
    target = next(word.split("=", 1)[1] for word in args if word.startswith("--output_filename_format="))
    # Maps of the pixel stage are summed over several forests; objects have one forest.
    allowed = Allowed(forest_noise=case.outputs[0]["export_source"] == "Pixel Probabilities")
    with h5py.File(target, "r") as file, h5py.File(case.folder / case.outputs[0]["file"], "r") as recorded:
        found, expected = file["exported_data"], recorded["exported_data"]
        assert "".join(axis.label for axis in found.dims) == case.outputs[0]["axes"]
        assert_same_dataset(found, expected, allowed)


@pytest.mark.golden
@pytest.mark.parametrize("case", IMAGES[:1], ids=[case.name for case in IMAGES[:1]])
def test_the_table_that_the_project_is_set_up_to_write(
    case: GoldenCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, foretell: Callable[..., dict[str, Any]]
) -> None:
    run(case, tmp_path, monkeypatch, foretell)
    assert_same_cells(Path("raw-data_table.csv"), case.folder / "expected" / "objects_table.csv")


@pytest.mark.golden
@pytest.mark.parametrize("case", TABLES, ids=[case.name for case in TABLES])
def test_a_recorded_table(
    case: GoldenCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, foretell: Callable[..., dict[str, Any]]
) -> None:
    run(case, tmp_path, monkeypatch, foretell)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["objects.csv"], "no image"
    assert_same_cells(tmp_path / "out" / "objects.csv", case.folder / case.outputs[0]["file"])

"""Every recorded run of the pixel classification projects under tests/golden, through the command line."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest
from support.annotations import assert_annotations
from support.forecast import explain, foretold_files
from support.golden import GoldenCase, golden_cases, golden_folders
from support.recorded import Allowed, assert_same_dataset, assert_same_values

from pixelforest import cli

FOLDERS = [folder for folder in golden_folders() if folder.name.startswith(("px", "autocontext"))]
CASES = [case for folder in FOLDERS for case in golden_cases(folder)]


def test_all_kinds_of_pixel_projects_are_recorded() -> None:
    assert [folder.name for folder in FOLDERS] == [
        "autocontext_2d",
        "px2d_big",
        "px2d_gray",
        "px2d_gray16_partial",
        "px2d_mask",
        "px2d_rgb",
        "px2dt",
        "px3d",
        "px3d_mixed",
    ]


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_recorded_run_of_a_pixel_project(
    case: GoldenCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(case.folder)
    before = sorted(case.folder.rglob("*"))
    args = [word.replace("{out}", str(tmp_path)) for word in case.args]
    foretold = explain(capsys, f"--project={case.project}", *args)
    assert (foretold["status"], list(tmp_path.iterdir())) == (case.exit_status, [])
    assert cli.main(["--headless", f"--project={case.project}", *args]) == case.exit_status
    assert capsys.readouterr().err == ""
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == foretold_files(foretold)
    assert sorted(case.folder.rglob("*")) == before
    target = next(word.split("=", 1)[1] for word in args if word.startswith("--output_filename_format="))
    allowed = Allowed(
        forest_noise=case.outputs[0]["export_source"].startswith(("Probabilities", "Uncertainty")),
        cut=any(word.startswith("--cutout_subregion") for word in args),
    )
    with h5py.File(target, "r") as file:
        found = file["exported_data"]
        for record in case.outputs:
            with h5py.File(case.folder / record["file"], "r") as recorded:
                expected = recorded["exported_data"]
                assert "".join(axis.label for axis in found.dims) == record["axes"]
                if record["export_source"] == "Labels":  # of the training image
                    assert_annotations(found, expected, case.folder / case.project)
                elif "region" in record:  # a part of what was written
                    y0, x0, y1, x1 = record["region"]
                    assert_same_values(found[y0:y1, x0:x1], expected[()], allowed)
                else:
                    assert_same_dataset(found, expected, allowed)

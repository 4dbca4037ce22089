"""Runs of ilastik's own test projects that were recorded, where the folder beside the checkout holds them.

ilastik's projects and images are not part of this repository; without them everything here is skipped.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.annotations import assert_annotations
from support.golden import SHARED
from support.recorded import (
    NOTHING,
    Allowed,
    assert_same_attributes,
    assert_same_classes,
    assert_same_dataset,
    assert_same_picture,
    assert_same_values,
)

from pixelforest import cli

GROUPS = ("PixelClassification*", "api_Pixel*", "api_2464*", "variants_api", "Autocontext*", "api_Autocontext*")
# In this run ilastik added its eight forests in another order than in the run that recorded the probabilities: two
# voxels, which tie at 0.5 there, have the other class.
RECORDED_WITH_TIES = ("PixelClassification3d-simple_segmentation",)
SLOW = ("PixelClassification2d-features",)
# Runs on an image that the project was trained on.
ANNOTATED = {
    "api_PixelClass-labels": "PixelClassification",
    "api_PixelClass3D-labels": "PixelClassification",
    "api_2464_PixelClassification_xy_input_tif-labels": "PixelClassification",
    "api_Autocontext_2D-labels_stage_1": "PixelClassification",
    "api_Autocontext_2D-labels_stage_2": "PixelClassification01",
}
# ilastik refuses files that differ from the training images by axes of length 1; they are read here.
READ_HERE = ("variants_api-other_size", "variants_api-uint16_tif", "variants_api-vol_tif")


@dataclass(frozen=True)
class Run:
    """One recorded run, as cases.json has it."""

    folder: Path
    record: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.folder.name}-{self.record['name']}"

    def argv(self, out: Path) -> list[str]:
        record = self.record
        words = [f"--project={record['project']}", *(word.replace("{out}", str(out)) for word in record["args"])]
        for role, paths in record["inputs"].items():
            words += [f"--{role}"] if role else []
            words += [paths] if isinstance(paths, str) else paths
        return ["--headless", *words]


def recorded_runs(*, refused: bool) -> list[Any]:
    """The runs that were to succeed or, if ``refused``, to fail, as parameters of a test."""
    folders = sorted(folder for group in GROUPS for folder in (SHARED / "golden").glob(group))
    runs = [Run(folder, record) for folder in folders for record in json.loads((folder / "cases.json").read_text())]
    chosen = [run for run in runs if refused == bool(run.record.get("expect_status", run.record["exit_status"]))]
    marks = [[pytest.mark.golden, *([pytest.mark.slow] if run.name in SLOW else [])] for run in chosen]
    return [pytest.param(run, id=run.name, marks=mark) for run, mark in zip(chosen, marks, strict=True)]


@pytest.mark.parametrize("run", recorded_runs(refused=False))
def test_a_recorded_run_of_ilastiks_pixel_projects(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(run.folder)
    assert cli.main(run.argv(tmp_path)) == 0, capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        Path(output["file"]).name for output in run.record["outputs"]
    )
    for output in run.record["outputs"]:
        assert_as_recorded(tmp_path / Path(output["file"]).name, run, output)


def assert_as_recorded(path: Path, run: Run, output: dict[str, Any]) -> None:
    expected = run.folder / output["file"]
    if path.suffix != ".h5":
        assert_same_picture(path, expected)
        return
    ((name, about),) = output["datasets"].items()
    with h5py.File(path, "r") as file:
        found = file[name]
        assert found.chunks == tuple(about["chunks"])
        assert "".join(axis.label for axis in found.dims) == about["axes"]
        if not output["stored"]:
            assert (list(found.shape), str(found.dtype)) == (about["shape"], about["dtype"])
            assert sorted(found.attrs) == about["attrs"]
            assert hashlib.sha256(np.ascontiguousarray(found[()]).tobytes()).hexdigest() == about["sha256"]
            return
        with h5py.File(expected, "r") as recorded:
            if run.name in ANNOTATED:
                assert_annotations(found, recorded[name], run.folder / run.record["project"], ANNOTATED[run.name])
            elif run.name in RECORDED_WITH_TIES:
                with h5py.File(run.folder / "expected" / "probabilities.h5", "r") as probabilities:
                    assert_same_classes(found[()], recorded[name][()], probabilities["exported_data"][()])
                assert_same_attributes(found, recorded[name])
            else:
                noisy = run.record["export_source"].startswith(("Probabilities", "Uncertainty"))
                assert_same_dataset(found, recorded[name], Allowed(forest_noise=noisy))


@pytest.mark.parametrize("run", [each for each in recorded_runs(refused=True) if each.id in READ_HERE])
def test_a_run_that_only_ilastik_refuses(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(run.folder)
    assert cli.main(run.argv(tmp_path)) == 0
    assert "axes of length 1 make no difference" in "".join(capsys.readouterr())


@pytest.mark.parametrize("run", [each for each in recorded_runs(refused=True) if each.id not in READ_HERE])
def test_a_run_that_is_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(run.folder)
    status = cli.main(run.argv(tmp_path))
    error = capsys.readouterr().err
    assert status != 0
    assert error.startswith("pixelforest: error: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.golden
@pytest.mark.slow
@pytest.mark.parametrize("name", ["bench2d_2048", "bench3d_128"])
def test_projects_of_the_benchmarks(name: str, shared_folder: Path, tmp_path: Path) -> None:
    """All features of ilastik's dialog and 100 trees on larger images; every element as ilastik wrote it."""
    bench = shared_folder / "bench"
    argv = [f"--project={bench / name}.ilp", f"--output_filename_format={tmp_path}/out.h5", "--export_source"]
    assert cli.main([*argv, "Probabilities", f"{bench / name}.h5/data"]) == 0
    with h5py.File(tmp_path / "out.h5", "r") as file, h5py.File(bench / f"expected_{name}.h5", "r") as recorded:
        assert_same_values(file["exported_data"][()], recorded["exported_data"][()], NOTHING)

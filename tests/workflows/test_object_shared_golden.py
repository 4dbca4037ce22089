"""Runs of ilastik's own object classification projects that were recorded, where the folder beside the checkout holds
them. They are not part of this repository; without them everything here is skipped.
"""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.golden import SHARED
from support.recorded import NOTHING, Allowed, assert_same_dataset, assert_same_picture

from pixelforest import cli

GROUPS = ("ObjectClassification*", "trained_*", "variants_oc")
# ilastik wants a table to be set up in the project; here a path is enough.
ALLOWED_HERE = ("table_vanilla_fails",)


@dataclass(frozen=True)
class Run:
    """One recorded run, as cases.json has it."""

    folder: Path
    record: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.folder.name}-{self.record['name']}"

    def start(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
        """Run it in a copy of its folder; returns the exit status."""
        copy = shutil.copytree(self.folder, tmp_path / "case", ignore=shutil.ignore_patterns("expected"))
        monkeypatch.chdir(copy)
        record = self.record
        words = [f"--project={record['project']}"]
        words += [word.replace("{out}", str(tmp_path / "out")) for word in record["args"]]
        for role, path in record["inputs"].items():
            words += [f"--{role}", path]
        return cli.main(["--headless", *words])


def recorded_runs(*, refused: bool = False, decided: bool = False) -> list[Any]:
    """The runs that ilastik did or ``refused``; ``decided`` are those whose content is meant to differ."""
    folders = sorted(folder for group in GROUPS for folder in (SHARED / "golden").glob(group))
    runs = [Run(folder, record) for folder in folders for record in json.loads((folder / "cases.json").read_text())]
    chosen = [
        run for run in runs if refused == bool(run.record["exit_status"]) and decided == ("decided" in run.record)
    ]
    return [pytest.param(run, id=run.name, marks=pytest.mark.golden) for run in chosen]


@pytest.mark.parametrize("run", recorded_runs(decided=True))
def test_a_run_whose_content_was_decided_otherwise_has_the_same_files(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written_files(run, tmp_path, monkeypatch)


@pytest.mark.parametrize("run", recorded_runs())
def test_a_recorded_run_of_ilastiks_object_projects(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for found, path in written_files(run, tmp_path, monkeypatch).items():
        if path.suffix == ".csv":
            assert_same_columns(read_csv(found), read_csv(path))
        elif path.suffix == ".h5":
            assert_same_hdf5(found, path, Allowed(forest_noise="pixel_prob" in run.name))
        else:
            assert_same_picture(found, path)


def written_files(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[Path, Path]:
    """Pairs of the files that the run wrote, exactly those that it should, and the recorded ones."""
    assert run.start(tmp_path, monkeypatch) == 0
    out = tmp_path / "out"
    expected = {out / our_name(path): path for path in (run.folder / each["file"] for each in run.record["outputs"])}
    assert sorted(out.iterdir()) == sorted(expected)
    return expected


@pytest.mark.parametrize("run", recorded_runs(refused=True))
def test_a_run_that_ilastik_refused(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run.start(tmp_path, monkeypatch) == (0 if run.record["name"] in ALLOWED_HERE else 1)
    assert (tmp_path / "out").exists() == (run.record["name"] in ALLOWED_HERE)


def our_name(path: Path) -> str:
    """ilastik puts ``_table`` into the name of a CSV file; here it is called as it was asked for."""
    return path.name.removesuffix("_table.csv") + ".csv" if path.suffix == ".csv" else path.name


def assert_same_hdf5(found: Path, expected: Path, allowed: Allowed = NOTHING) -> None:
    with h5py.File(found, "r") as ours, h5py.File(expected, "r") as theirs:
        if "exported_data" in theirs:
            assert_same_dataset(ours["exported_data"], theirs["exported_data"], allowed)
            return
        a, b = ours["table"][()], theirs["table"][()]
        assert_same_columns({name: a[name] for name in a.dtype.names}, {name: b[name] for name in b.dtype.names})
        names: list[str] = []
        theirs["images"].visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in names:
            piece, recorded = ours["images"][name], theirs["images"][name]
            assert piece.dtype == recorded.dtype
            assert np.array_equal(piece[()], recorded[()])
            assert dict(piece.attrs) == dict(recorded.attrs)


def assert_same_columns(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    """Every column ilastik has is there, with the same cells. Ours may have more digits: a feature that the project
    computes is written in full precision by ilastik if the user did not choose it for the table."""
    assert set(theirs) <= set(ours)
    for name, cells in theirs.items():
        try:
            a, b = ours[name].astype("f8"), cells.astype("f8")
        except ValueError:
            assert np.array_equal(ours[name], cells), name
        else:
            assert np.array_equal(a.astype("f4"), b.astype("f4"), equal_nan=True), name


def read_csv(path: Path) -> dict[str, np.ndarray]:
    with open(path, newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    return {name: np.array(column) for name, column in zip(head, zip(*rows, strict=True), strict=True)}

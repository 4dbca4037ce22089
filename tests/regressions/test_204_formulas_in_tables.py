"""Names of classes such as `=HYPERLINK(…)` came into CSV tables without a word, and spreadsheets ran them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from pixelforest import cli
from pixelforest.engine.export.formulas import defuse_column, describe_formulas, is_formula
from pixelforest.engine.formats.table_spec import TableColumn

CopyGolden = Callable[[str], Path]
NAMES = ('=HYPERLINK("http://x","y")', "@SUM(1)", "-1.5")
FORMULAS = ("=1+1", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "-", "+", "-inf", "-1.5.2", "=")
PLAIN = ("", "Round", "-1.5", "+3", "-2e-7", "-.5", "1=2", "a+b", "'=1", " =1")


@pytest.fixture
def objects(copy_golden: CopyGolden, work_folder: Path) -> Path:
    """A project whose classes have the names above."""
    folder = copy_golden("obj2d_seg")
    with h5py.File(folder / "project.ilp", "r+") as file:
        del file["ObjectClassification/LabelNames"]
        file["ObjectClassification/LabelNames"] = np.array([name.encode() for name in NAMES])
    return folder


def run(folder: Path, *options: str) -> int:
    argv = [f"--project={folder / 'project.ilp'}", *options, "--raw_data", str(folder / "raw.png")]
    return cli.main([*argv, "--segmentation_image", str(folder / "seg.png")])


def classes_of(path: Path) -> set[str]:
    with open(path, newline="", encoding="utf-8") as file:
        return {row["Predicted Class"] for row in csv.DictReader(file)}


def test_formulas_are_written_as_ilastik_writes_them_with_one_warning(
    objects: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(objects, "--table_filename=t.csv") == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "--safe_csv" in line]
    assert len(warnings) == 1
    assert NAMES[0] in warnings[0]
    assert NAMES[2] not in warnings[0]
    assert classes_of(Path("t.csv")) == set(NAMES)


def test_safe_csv_puts_an_apostrophe_before_formulas(objects: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(objects, "--table_filename=t.csv", "--safe-csv") == 0
    assert capsys.readouterr().err == ""
    assert classes_of(Path("t.csv")) == {f"'{NAMES[0]}", f"'{NAMES[1]}", NAMES[2]}


def test_safe_csv_changes_no_number(objects: Path) -> None:
    assert run(objects, "--table_filename=a.csv") == 0
    assert run(objects, "--table_filename=b.csv", "--safe-csv") == 0
    texts = [Path(name).read_text(encoding="utf-8") for name in ("a.csv", "b.csv")]
    assert texts[0] != texts[1]
    assert texts[0] == texts[1].replace("'=", "=").replace("'@", "@").replace("\"'", '"')


@pytest.mark.parametrize(
    "options", [("--table_filename=t.h5", "--safe-csv"), ("--safe-csv", "--export_object_prediction_img")]
)
def test_safe_csv_without_a_csv_table_says_so(
    objects: Path, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(objects / "project.ilp", "r+") as file:
        del file["ObjectClassification/ExportSettings"]
    run(objects, *options, "--dry_run")
    assert "--safe_csv has no effect" in "".join(capsys.readouterr())


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_are_defused(text: str) -> None:
    assert is_formula(text)
    column = defuse_column(TableColumn(text, np.dtype(np.int64), ("a", text)))
    assert (column.name, column.texts) == (f"'{text}", ("a", f"'{text}"))


@pytest.mark.parametrize("text", PLAIN)
def test_texts_that_are_none(text: str) -> None:
    assert not is_formula(text)
    assert describe_formulas([text]) == ""
    column = TableColumn(text, np.dtype(np.int64), (text,))
    assert defuse_column(column) == column


def test_a_line_names_a_few() -> None:
    line = describe_formulas([f"={i}" for i in range(9)])
    assert "'=2'" in line
    assert "and 6 more" in line

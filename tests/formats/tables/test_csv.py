"""The text of CSV cells: the digits ilastik's tables have, whatever the version of NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pixelforest.engine.formats.table_spec import TableColumn
from pixelforest.engine.formats.tables.csv import TABLE


def text(tmp_path: Path, values: np.ndarray) -> list[str]:
    writer = TABLE.open(tmp_path / "t.csv", [TableColumn("a", values.dtype)], {})
    writer.write([values])
    return writer.finish().read_bytes().decode().split("\n")[1:-1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.59, "0.59"),
        (10.166607, "10.166607"),
        (78425290.0, "78425290.0"),
        (15701941.0, "15701941.0"),
        (1e-5, "1e-05"),
        (1e-4, "0.0001"),
        (-8.0627776e-17, "-8.0627776e-17"),
        (1e15, "1000000000000000.0"),
        (1e16, "1e+16"),
        (-0.0, "-0.0"),
        (0.0, "0.0"),
        (11086.0, "11086.0"),
        (np.nan, "nan"),
        (-np.inf, "-inf"),
        (1.1754942e-38, "1.1754942e-38"),
    ],
)
def test_single_precision(tmp_path: Path, value: float, expected: str) -> None:
    assert text(tmp_path, np.array([value], np.float32)) == [expected]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(156.3577981651376, "156.3577981651376"), (109.0, "109.0"), (12345678.9, "12345678.9"), (1e-7, "1e-07")],
)
def test_double_precision(tmp_path: Path, value: float, expected: str) -> None:
    assert text(tmp_path, np.array([value])) == [expected]


def test_every_number_comes_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 3000, dtype=np.uint64).astype(np.uint32)
    values = bits.view(np.float32)
    back = np.array([np.float32(cell) for cell in text(tmp_path, values)])
    assert np.array_equal(back, values, equal_nan=True)


def test_signs_of_zero_stay_apart(tmp_path: Path) -> None:
    assert text(tmp_path, np.array([0.0, -0.0, 0.0], np.float32)) == ["0.0", "-0.0", "0.0"]


def test_the_form_of_the_file(tmp_path: Path) -> None:
    columns = [TableColumn("id", np.dtype(np.int64)), TableColumn("Predicted Class", np.dtype(np.int64), ("A", "0"))]
    writer = TABLE.open(tmp_path / "t.csv", columns, {})
    writer.write([np.array([3, 4]), np.array([0, 1])])
    assert writer.finish().read_bytes() == b"id,Predicted Class\n3,A\n4,0\n"


def test_names_that_would_fall_apart_are_quoted(tmp_path: Path) -> None:
    columns = [TableColumn("Probability of a,b", np.dtype(np.int64), ('say "x"', "plain"))]
    writer = TABLE.open(tmp_path / "t.csv", columns, {})
    writer.write([np.array([0, 1])])
    assert writer.finish().read_text() == '"Probability of a,b"\n"say ""x"""\nplain\n'

"""What every format of tables must do: values there and back, rows in pieces, nothing half-written."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pixelforest.engine.errors import ExportError
from pixelforest.engine.formats import table_format, table_formats
from pixelforest.engine.formats.spec import TableColumn, TableFormat

COLUMNS = (
    TableColumn("object_id", np.dtype(np.int64)),
    TableColumn("Predicted Class", np.dtype(np.int64), ("Zelle", "größer")),
    TableColumn("single", np.dtype(np.float32)),
    TableColumn("double", np.dtype(np.float64)),
    TableColumn("large", np.dtype(np.uint64)),
)
FORMATS = [pytest.param(f, id=f.name) for f in table_formats()]


def values(count: int, first: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(count)
    ids = np.arange(first, first + count, dtype=np.int64)
    single = rng.normal(size=count).astype(np.float32)
    single[::7] = np.nan
    return [ids, ids % 2, single, rng.normal(size=count) * 1e-9, np.full(count, 2**64 - 1, np.uint64)]


def read(path: Path, table: TableFormat) -> dict[str, list[Any]]:
    """The columns of a file as Python values."""
    if table.name == "csv":
        with open(path, newline="", encoding="utf-8") as file:
            head, *rows = csv.reader(file)
        kinds = (int, str, np.float32, float, int)
        return {name: [kind(row[i]) for row in rows] for i, (name, kind) in enumerate(zip(head, kinds, strict=True))}
    if table.name == "hdf5":
        with h5py.File(path) as file:
            rows = file["table"][()]
        found = {name: rows[name].tolist() for name in rows.dtype.names}
        return {name: [v.decode() if isinstance(v, bytes) else v for v in column] for name, column in found.items()}
    parquet = pytest.importorskip("pyarrow.parquet")
    return dict(parquet.read_table(path).to_pydict())


@pytest.fixture(params=FORMATS)
def table(request: pytest.FixtureRequest) -> TableFormat:
    found: TableFormat = request.param
    if found.find_missing():
        pytest.skip(f"{found.find_missing()} is not installed")
    return found


def path_of(folder: Path, table: TableFormat) -> Path:
    return folder / f"t.{table.extensions[0]}"


@pytest.mark.parametrize("pieces", [(5,), (4000, 3000, 1), (1, 0, 2), (0,), ()])
def test_values_there_and_back(table: TableFormat, tmp_path: Path, pieces: tuple[int, ...]) -> None:
    path = path_of(tmp_path, table)
    writer = table.open(path, COLUMNS, {})
    written: list[list[np.ndarray]] = []
    for count in pieces:
        written.append(values(count, sum(len(w[0]) for w in written)))
        writer.write(written[-1])
    assert not path.exists()
    assert writer.finish() == path
    found = read(path, table)
    assert list(found) == [column.name for column in COLUMNS]
    for i, column in enumerate(COLUMNS):
        expected = np.concatenate([w[i] for w in written]) if written else np.empty(0, column.dtype)
        if column.texts is not None:
            assert found[column.name] == [column.texts[v] for v in expected.tolist()]
        else:
            assert np.array_equal(
                np.array(found[column.name], column.dtype), expected, equal_nan=column.dtype.kind == "f"
            )


def test_columns_in_any_layout(table: TableFormat, tmp_path: Path) -> None:
    wide = np.arange(60, dtype=np.float32).reshape(20, 3)
    columns = [TableColumn(f"c_{i}", np.dtype(np.float32)) for i in range(3)]
    writer = table.open(path_of(tmp_path, table), columns, {})
    writer.write(list(wide.T))
    writer.finish()
    assert path_of(tmp_path, table).stat().st_size > 0


def test_giving_up_leaves_what_was_there(table: TableFormat, tmp_path: Path) -> None:
    path = path_of(tmp_path / "new", table)
    writer = table.open(path, COLUMNS, {})
    writer.write(values(3))
    writer.abort()
    writer.abort()
    assert list(tmp_path.iterdir()) == []
    path.parent.mkdir()
    path.write_text("before")
    writer = table.open(path, COLUMNS, {})
    writer.abort()
    assert path.read_text() == "before"
    assert list(path.parent.iterdir()) == [path]


def test_folders_are_made_and_files_replaced(table: TableFormat, tmp_path: Path) -> None:
    path = path_of(tmp_path / "a" / "b", table)
    for count in (5, 2):
        writer = table.open(path, COLUMNS, {})
        writer.write(values(count))
        writer.finish()
    assert len(read(path, table)["object_id"]) == 2
    assert list(path.parent.iterdir()) == [path]


def test_a_table_in_a_folder_that_cannot_be_made(table: TableFormat, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ExportError, match="cannot write"):
        table.open(path_of(tmp_path / "file", table), COLUMNS, {})


def test_a_folder_of_that_name(table: TableFormat, tmp_path: Path) -> None:
    path_of(tmp_path, table).mkdir()
    with pytest.raises(ExportError, match="there is a folder of that name"):
        table.open(path_of(tmp_path, table), COLUMNS, {})


@pytest.mark.parametrize(
    ("name", "expected"),
    [("t.csv", "csv"), ("t.h5", "hdf5"), ("t.HDF5", "hdf5"), ("t.parquet", "parquet"), ("t.txt", "csv"), ("t", "csv")],
)
def test_the_extension_chooses_the_format(name: str, expected: str) -> None:
    assert table_format(Path(name)).name == expected

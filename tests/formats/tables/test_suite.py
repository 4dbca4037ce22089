"""The public suite of ``pixelforest.testing``, for every format of tables."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pixelforest.engine.formats import table_format, table_formats
from pixelforest.engine.formats.table_spec import TableFormat
from pixelforest.testing.formats import TableFormatSuite


class TestTableFormats(TableFormatSuite):
    formats = table_formats()

    def read(self, path: Path, table: TableFormat) -> dict[str, list[Any]]:
        """The columns of a file as Python values."""
        if table.name == "csv":
            with open(path, newline="", encoding="utf-8") as file:
                head, *rows = csv.reader(file)
            kinds = (int, str, np.float32, float, int)
            return {
                name: [kind(row[i]) for row in rows] for i, (name, kind) in enumerate(zip(head, kinds, strict=True))
            }
        if table.name == "hdf5":
            with h5py.File(path) as file:
                rows = file["table"][()]
            found = {name: rows[name].tolist() for name in rows.dtype.names}
            decoded = {name: [v.decode() if isinstance(v, bytes) else v for v in found[name]] for name in found}
            return decoded
        parquet = pytest.importorskip("pyarrow.parquet")
        return dict(parquet.read_table(path).to_pydict())


@pytest.mark.parametrize(
    ("name", "expected"),
    [("t.csv", "csv"), ("t.h5", "hdf5"), ("t.HDF5", "hdf5"), ("t.parquet", "parquet"), ("t.txt", "csv"), ("t", "csv")],
)
def test_the_extension_chooses_the_format(name: str, expected: str) -> None:
    assert table_format(Path(name)).name == expected

"""HDF5 tables: their compound type, compression, and the pictures beside the rows."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from pixelforest.box import Box
from pixelforest.engine.errors import ExportError
from pixelforest.engine.formats.table_spec import TableColumn
from pixelforest.engine.formats.tables.hdf5 import TABLE

COLUMNS = [TableColumn("id", np.dtype(np.int64)), TableColumn("class", np.dtype(np.int64), ("A", "längst"))]


def test_types_and_compression(tmp_path: Path) -> None:
    compression = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
    writer = TABLE.open(tmp_path / "t.h5", COLUMNS, compression)
    writer.write([np.array([7]), np.array([1])])
    writer.add_image("0/raw", (3, 2), np.dtype(np.uint8), axes="xy", kind="image")
    with h5py.File(writer.finish()) as file:
        table = file["table"]
        assert table.dtype == np.dtype([("id", "<i8"), ("class", "S7")])
        assert (table.compression, table.compression_opts, table.shuffle) == ("gzip", 4, True)
        assert table[0]["class"].decode() == "längst"
        assert file["images/0/raw"].compression == "gzip"


@pytest.mark.parametrize("compression", [{}, {"compression": "lzf"}])
def test_pictures_of_objects_are_written_beside_the_table(tmp_path: Path, compression: dict[str, object]) -> None:
    writer = TABLE.open(tmp_path / "t.h5", COLUMNS, compression)
    picture = np.arange(6, dtype=np.uint16).reshape(3, 2)
    writer.add_image("0/labeling", picture.shape, picture.dtype, axes="xy", kind="labeling")
    for x in range(3):
        writer.write_image("0/labeling", Box((x, 0), (x + 1, 2)), picture[x : x + 1])
    writer.add_image("1/labeling", (), np.dtype(np.uint8), axes="", kind="labeling")
    writer.write_image("1/labeling", Box((), ()), np.uint8(1))
    with h5py.File(writer.finish()) as file:
        found = file["images/0/labeling"]
        assert np.array_equal(found[()], picture)
        assert found.attrs["type"] == "labeling"
        assert [axis["key"] for axis in json.loads(found.attrs["axistags"])["axes"]] == ["x", "y"]
        assert file["images/1/labeling"][()] == 1


def test_more_columns_than_the_file_can_describe(tmp_path: Path) -> None:
    columns = [TableColumn(f"a column with a rather long name {i:06}", np.dtype(np.float32)) for i in range(3000)]
    with pytest.raises(ExportError, match="cannot write the table"):
        TABLE.open(tmp_path / "t.h5", columns, {})
    assert list(tmp_path.iterdir()) == []

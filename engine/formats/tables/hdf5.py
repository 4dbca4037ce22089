"""Tables in HDF5 in ilastik's layout: a compound dataset ``table``, and pictures of the objects in ``images``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]  # ships neither stubs nor a py.typed marker
import numpy as np

from ....box import Box
from ...axes import axistags_json
from ...errors import ExportError, setting
from ...storage.atomic_write import Target, export_errors
from ..support.signature import HDF5_SIGNATURE, begins_with
from ..table_spec import TableColumn, TableFormat, TableWriter

OPTION = setting("table_filename")
ROWS_AT_ONCE = 4096
CHUNK_BYTES = 1 << 18
IMAGES = "images"
# A picture larger than this is stored in chunks, so that it can be written and read in pieces.
WHOLE_IMAGE_BYTES = 1 << 22


class Hdf5TableWriter(TableWriter):
    """Writer that appends rows to a resizable dataset; pictures are datasets of their own."""

    def __init__(self, path: Path, columns: Sequence[TableColumn], compression: Mapping[str, object]) -> None:
        self._columns = tuple(columns)
        self._compression = dict(compression)
        self._target = Target(path, OPTION)
        self._file: Any = None
        self._rows = 0
        dtype = np.dtype([(column.name, _stored_dtype(column)) for column in self._columns])
        rows = max(1, CHUNK_BYTES // max(1, dtype.itemsize))
        try:
            with self._writing():
                self._file = h5py.File(self._target.temporary, "w")
                self._table = self._file.create_dataset(
                    "table", shape=(0,), maxshape=(None,), chunks=(rows,), dtype=dtype, **self._compression
                )
        except ExportError:
            self.abort()
            raise

    def write(self, columns: Sequence[np.ndarray]) -> None:
        count = len(columns[0])
        with self._writing():
            self._table.resize((self._rows + count,))
            for start in range(0, count, ROWS_AT_ONCE):
                stop = min(start + ROWS_AT_ONCE, count)
                rows = np.empty(stop - start, self._table.dtype)
                for column, values in zip(self._columns, columns, strict=True):
                    piece = values[start:stop]
                    rows[column.name] = piece if column.texts is None else _encoded(column.texts)[piece]
                self._table[self._rows + start : self._rows + stop] = rows
        self._rows += count

    def add_image(self, name: str, shape: Sequence[int], dtype: np.dtype, *, axes: str, kind: str) -> None:
        with self._writing():
            size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            chunks = {"chunks": True} if size > WHOLE_IMAGE_BYTES else {}
            # A picture without extent along any axis takes no filter.
            packing = self._compression if len(shape) else {}
            found = self._file.create_dataset(f"{IMAGES}/{name}", shape=tuple(shape), dtype=dtype, **packing, **chunks)
            found.attrs["type"] = kind
            found.attrs["axistags"] = axistags_json(axes)

    def write_image(self, name: str, box: Box, data: np.ndarray) -> None:
        with self._writing():
            self._file[f"{IMAGES}/{name}"][box.slices()] = data

    def finish(self) -> Path:
        with self._writing():
            self._close()
        return self._target.commit()

    def abort(self) -> None:
        with suppress(Exception):
            self._close()
        self._target.discard()

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with export_errors(self._target.path, OPTION):
                yield
        except (RuntimeError, ValueError, TypeError) as error:  # HDF5's errors for a full disk, or too many columns
            raise ExportError(f"cannot write the table {self._target.path}: {' '.join(str(error).split())}") from error


def _stored_dtype(column: TableColumn) -> np.dtype:
    return column.dtype if column.texts is None else _encoded(column.texts).dtype


def _encoded(texts: tuple[str, ...]) -> np.ndarray:
    encoded = [text.encode() for text in texts]
    return np.array(encoded, f"S{max(1, *map(len, encoded))}" if len(encoded) > 0 else "S1")


def _open(path: Path, columns: Sequence[TableColumn], compression: Mapping[str, object]) -> Hdf5TableWriter:
    return Hdf5TableWriter(path, columns, compression)


def _is_result(path: Path, internal_path: str) -> bool:
    """Return True for an HDF5 file with only a table and its pictures, since the whole file is replaced."""
    if not begins_with(HDF5_SIGNATURE)(path, internal_path):
        return False
    try:
        with h5py.File(path, "r", locking=False) as file:
            link = file.get("table", getlink=True)
            is_table = isinstance(link, h5py.HardLink) and file["table"].dtype.names is not None
            return bool(is_table and set(file) <= {"table", IMAGES})
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError):
        return False


TABLE = TableFormat(
    "hdf5",
    ("h5", "hdf5"),
    _open,
    "a compound dataset 'table', with pictures of the objects if the project asks",
    holds_images=True,
    is_result=_is_result,
)

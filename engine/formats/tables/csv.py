"""Comma-separated tables in ilastik's text form: the shortest digits that reproduce a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np

from ....kernels.shared.table_text import DOUBLE, SIGNED, SINGLE, TEXT, UNSIGNED, format_cells
from ...errors import ExportError, setting
from ...storage.atomic_write import Target, export_errors
from ..support.signature import begins_with
from ..table_spec import TableColumn, TableFormat, TableWriter

OPTION = setting("table_filename")
ROWS_AT_ONCE = 2048


class CsvWriter(TableWriter):
    """Writer that converts rows to text as they arrive; only the current rows are held."""

    def __init__(self, path: Path, columns: Sequence[TableColumn]) -> None:
        self._columns = tuple(columns)
        self._target = Target(path, OPTION)
        self._stream: IO[bytes] | None = None
        try:
            with export_errors(path, OPTION):
                self._stream = open(self._target.temporary, "wb")  # noqa: SIM115
                # Lines end in \n on every system, as in ilastik's files.
                self._stream.write(_header(tuple(column.name for column in self._columns)))
        except ExportError:
            self.abort()
            raise

    def write(self, columns: Sequence[np.ndarray]) -> None:
        assert self._stream is not None
        for start in range(0, len(columns[0]), ROWS_AT_ONCE):
            rows = slice(start, min(start + ROWS_AT_ONCE, len(columns[0])))
            cells, texts = np.empty((len(columns), rows.stop - rows.start), np.uint64), list[bytes]()
            kinds = [
                _fill_cells(own, column, values[rows], texts)
                for own, column, values in zip(cells, self._columns, columns, strict=True)
            ]
            for piece in format_cells(cells, kinds, texts):
                with export_errors(self._target.path, OPTION):
                    self._stream.write(piece)

    def finish(self) -> Path:
        with export_errors(self._target.path, OPTION):
            self._close()
        return self._target.commit()

    def abort(self) -> None:
        with suppress(OSError):
            self._close()
        self._target.discard()

    def _close(self) -> None:
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.close()


@lru_cache(16)  # tables of a job have the same columns
def _header(names: tuple[str, ...]) -> bytes:
    return (",".join(map(_field, names)) + "\n").encode()


def _fill_cells(cells: np.ndarray, column: TableColumn, values: np.ndarray, texts: list[bytes]) -> int:
    """Fill in the cells of a column for ``format_cells``, add its texts to those of all columns; returns its kind."""
    kind = (values.dtype.kind, values.dtype.itemsize)
    if column.texts is not None:
        cells[:] = values.astype(np.uint64) + np.uint64(len(texts))
        texts += [_field(text).encode() for text in column.texts]
        return TEXT
    if kind[0] == "i":
        cells.view(np.int64)[:] = values
        return SIGNED
    if kind[0] == "u":
        cells[:] = values
        return UNSIGNED
    if kind == ("f", 4):
        cells[:] = values.astype(np.float32, copy=False).view(np.uint32)
        return SINGLE
    if kind == ("f", 8):
        cells.view(np.float64)[:] = values
        return DOUBLE
    cells[:] = np.arange(len(texts), len(texts) + len(values), dtype=np.uint64)
    texts += [(_number(value) if kind[0] == "f" else str(value.item())).encode() for value in values]
    return TEXT


def _number(value: np.floating) -> str:
    """Format a number with the shortest digits that reproduce it in its type; an exponent from 1e16, and below 1e-4."""
    text = str(value)
    if "e" in text and 1e-4 <= abs(value) < 1e16:  # newer versions of NumPy write float32 so from 1e7 on
        return str(np.format_float_positional(value, unique=True, trim="0"))
    return text


def _field(text: str) -> str:
    """Format a text; in quotation marks only if it would otherwise be read as several fields or lines."""
    if any(mark in text for mark in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _open(path: Path, columns: Sequence[TableColumn], compression: Mapping[str, object]) -> CsvWriter:
    return CsvWriter(path, columns)


# ilastik names the first columns f0, f1, … in a table without any object.
TABLE = TableFormat(
    "csv",
    ("csv",),
    _open,
    "comma-separated text",
    is_result=begins_with(b"object_id,", b"f0,f1,f2,f3,f4"),
    is_plain_text=True,
)

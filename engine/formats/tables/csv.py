"""Comma-separated tables in ilastik's text form: the shortest digits that reproduce a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np

from ...errors import ExportError, setting
from ...storage.atomic_write import Target, export_errors
from ..support.signature import begins_with
from ..table_spec import TableColumn, TableFormat, TableWriter

OPTION = setting("table_filename")
ROWS_AT_ONCE = 4096


class CsvWriter(TableWriter):
    """Writer that converts rows to text as they arrive; only the current rows are held."""

    def __init__(self, path: Path, columns: Sequence[TableColumn]) -> None:
        self._columns = tuple(columns)
        self._target = Target(path, OPTION)
        self._stream: IO[str] | None = None
        try:
            with export_errors(path, OPTION):
                # ``newline``: lines end in \n on every system, as in ilastik's files
                self._stream = open(self._target.temporary, "w", encoding="utf-8", newline="")  # noqa: SIM115
                self._stream.write(",".join(_field(column.name) for column in self._columns) + "\n")
        except ExportError:
            self.abort()
            raise

    def write(self, columns: Sequence[np.ndarray]) -> None:
        assert self._stream is not None
        count = len(columns[0])
        for start in range(0, count, ROWS_AT_ONCE):
            piece = slice(start, start + ROWS_AT_ONCE)
            texts = [_texts(column, values[piece]) for column, values in zip(self._columns, columns, strict=True)]
            lines = "\n".join(map(",".join, zip(*texts, strict=True)))
            with export_errors(self._target.path, OPTION):
                self._stream.write(lines + "\n")

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


def _texts(column: TableColumn, values: np.ndarray) -> list[str]:
    """Format the cells of a column. Most columns have few different values, so each value is formatted once."""
    if column.texts is not None:
        names = [_field(text) for text in column.texts]
        return [names[i] for i in values.tolist()]
    if values.dtype.kind != "f":
        return list(map(str, values.tolist()))
    bits = values.view(f"u{values.dtype.itemsize}")  # so that -0.0 differs from 0.0
    different, place = np.unique(bits, return_inverse=True)
    texts = [_number(value) for value in different.view(values.dtype)]
    return [texts[i] for i in place.tolist()]


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

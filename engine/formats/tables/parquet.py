"""Tables in Apache Parquet, through pyarrow, an optional dependency installed with the extra [parquet]."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np

from ...errors import ExportError, setting
from ...storage.atomic_write import Target, export_errors
from ..support.signature import begins_with
from ..table_spec import TableColumn, TableFormat, TableWriter

OPTION = setting("table_filename")
EXTRA = "pixelforest[parquet]"
ROWS_AT_ONCE = 1 << 16


class ParquetWriter(TableWriter):
    """Writer of one group of rows per call; larger ones are split."""

    def __init__(self, path: Path, columns: Sequence[TableColumn]) -> None:
        import pyarrow as pa  # type: ignore[import-not-found,import-untyped,unused-ignore]
        import pyarrow.parquet as pq  # type: ignore[import-not-found,import-untyped,unused-ignore]

        self._columns = tuple(columns)
        self._target = Target(path, OPTION)
        self._arrow = pa
        self._schema = pa.schema(
            [(c.name, pa.string() if c.texts is not None else pa.from_numpy_dtype(c.dtype)) for c in self._columns]
        )
        self._writer: Any = None
        self._stream: IO[bytes] | None = None
        try:
            with self._writing():
                self._writer = pq.ParquetWriter(self._sink(), self._schema)
        except ExportError:
            self.abort()
            raise

    def write(self, columns: Sequence[np.ndarray]) -> None:
        with self._writing():
            for start in range(0, len(columns[0]), ROWS_AT_ONCE):
                piece = slice(start, start + ROWS_AT_ONCE)
                arrays = [
                    self._array(column, values[piece]) for column, values in zip(self._columns, columns, strict=True)
                ]
                self._writer.write_table(self._arrow.table(arrays, schema=self._schema))

    def finish(self) -> Path:
        with self._writing():
            self._close()
        return self._target.commit()

    def abort(self) -> None:
        with suppress(Exception):
            self._close()
        self._target.discard()

    def _array(self, column: TableColumn, values: np.ndarray) -> Any:
        if column.texts is None:
            return self._arrow.array(np.ascontiguousarray(values))
        return self._arrow.array([column.texts[i] for i in values.tolist()], self._arrow.string())

    def _sink(self) -> str | IO[bytes]:
        """Return the temporary file as pyarrow accepts it: by name, or opened if its name is not UTF-8."""
        text = str(self._target.temporary)
        try:
            text.encode()
            return text
        except UnicodeEncodeError:
            self._stream = open(self._target.temporary, "wb")  # noqa: SIM115  # closed with the writer
            return self._stream

    def _close(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with export_errors(self._target.path, OPTION):
                yield
        except self._arrow.ArrowException as error:
            raise ExportError(f"cannot write the table {self._target.path}: {' '.join(str(error).split())}") from error


def _open(path: Path, columns: Sequence[TableColumn], compression: Mapping[str, object]) -> ParquetWriter:
    return ParquetWriter(path, columns)


def _find_missing() -> str:
    return "" if find_spec("pyarrow") else EXTRA


TABLE = TableFormat(
    "parquet",
    ("parquet",),
    _open,
    "Apache Parquet, for pandas, polars and the like",
    find_missing=_find_missing,
    is_result=begins_with(b"PAR1"),
)

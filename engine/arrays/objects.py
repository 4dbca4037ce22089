"""Objects of an image: their images and their table, in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...frozen import frozen
from ..errors import ExportError, setting
from ..export.tables import TableExport, TablePlan, TableSettings, check_contents
from ..formats import table_format
from ..formats.table_spec import TableColumn, TableFormat, TableWriter
from ..storage.atomic_write import check_file_place
from .arguments import naming_arguments


class Table(Mapping[str, np.ndarray]):
    """Table of objects: one row per object, one array per column, as in the files that the command line writes.

    Columns of classes contain their names. ``dict(table)`` is what polars and other libraries make tables of.

    Examples
    --------
    >>> objects = model.predict_objects(image)
    >>> objects.table.row_count == int(objects.labels.max())
    True
    >>> list(objects.table)[:3]
    ['object_id', 'timestep', 'labelimage_oid']
    >>> objects.table["Size in pixels"].dtype
    dtype('float32')
    >>> objects.table.write("cells.csv").name
    'cells.csv'
    """

    def __init__(self, columns: Sequence[TableColumn], values: Sequence[np.ndarray]) -> None:
        self._columns, self._values = tuple(columns), tuple(values)
        self._index = {column.name: i for i, column in enumerate(self._columns)}

    def __getitem__(self, name: str) -> np.ndarray:
        index = self._index[name]
        texts, values = self._columns[index].texts, self._values[index]
        return values if texts is None else np.array(texts)[values]

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"<Table of {self.row_count} objects, {len(self)} columns>"

    @property
    def row_count(self) -> int:
        """Number of objects."""
        return len(self._values[0]) if self._values else 0

    def to_pandas(self) -> Any:
        """Return the table as a ``pandas.DataFrame``.

        Raises
        ------
        ExportError
            If pandas is not installed.
        """
        try:
            import pandas as pd  # type: ignore[import-not-found,import-untyped,unused-ignore]
        except ImportError as error:
            raise _missing("pandas", "pandas", error) from None
        return pd.DataFrame(dict(self))

    def to_arrow(self) -> Any:
        """Return the table as a ``pyarrow.Table``.

        Raises
        ------
        ExportError
            If pyarrow is not installed.
        """
        try:
            import pyarrow as pa  # type: ignore[import-not-found,import-untyped,unused-ignore]
        except ImportError as error:
            raise _missing("pyarrow", "parquet", error) from None
        return pa.table(dict(self))

    def write(self, path: str | Path) -> Path:
        """Write the table to a file; an existing one is replaced once the new one is complete.

        Parameters
        ----------
        path
            Path of the file. Its extension selects the format: ``.h5``, ``.parquet``, and CSV for any other.

        Returns
        -------
        pathlib.Path
            The path.

        Raises
        ------
        ExportError
            If the file cannot be written.
        """
        with naming_arguments():
            place = Path(path).expanduser()
            chosen = table_format(place)
            missing = chosen.find_missing()
            if missing:
                raise ExportError(
                    f"{setting('table_filename')}: the format {chosen.name} needs more than is installed; pip install "
                    f"'{missing}'"
                )
            check_file_place(place, setting("table_filename"))
            check_contents(place, chosen)
            writer = chosen.open(place, self._columns, {})
            try:
                writer.write(self._values)
                return writer.finish()
            except BaseException:
                writer.abort()
                raise


def _missing(package: str, extra: str, error: ImportError) -> ExportError:
    return ExportError(f"{package} cannot be imported ({error}); pip install 'pixelforest[{extra}]'")


@frozen(eq=False)
class Objects:
    """Objects of an image.

    Parameters
    ----------
    labels
        Id of the object at every voxel, from 1 in each time point; 0 is the background.
    predictions
        Number of the class at every voxel, from 1; 0 is the background.
    probabilities
        Probability of every class at every voxel, along the axis c.
    table
        One row per object.
    """

    labels: Any
    predictions: Any
    probabilities: Any
    table: Table


class _Collector(TableWriter):
    """Writer that keeps the rows in memory."""

    def __init__(self, columns: Sequence[TableColumn]) -> None:
        self.columns = tuple(columns)
        self._parts: list[Sequence[np.ndarray]] = []

    def write(self, columns: Sequence[np.ndarray]) -> None:
        self._parts.append(columns)

    def finish(self) -> Path:
        return Path()

    def abort(self) -> None:
        """Do nothing: nothing is stored."""

    def table(self) -> Table:
        """Return the rows written so far as a table."""
        parts = self._parts or [[np.zeros(0, column.dtype) for column in self.columns]]
        columns = zip(*parts, strict=True)
        return Table(
            self.columns,
            [
                np.concatenate(pieces).astype(column.dtype, copy=False)
                for column, pieces in zip(self.columns, columns, strict=True)
            ],
        )


class TableInMemory(TableExport):
    """Export of a table into memory; with every feature that the project computes as a column."""

    def __init__(self) -> None:
        memory = TableFormat(name="memory", extensions=(), open=lambda path, columns, options: self._open(columns))
        super().__init__(TablePlan(TableSettings("", memory), Path()))

    def _open(self, columns: Sequence[TableColumn]) -> TableWriter:
        self._collector = _Collector(columns)
        return self._collector

    @property
    def table(self) -> Table:
        """The table as far as it has been filled."""
        return self._collector.table()

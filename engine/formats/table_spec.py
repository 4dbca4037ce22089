"""Specification of a format of tables: columns, writer, and the description that the registry lists.

A file of tables/ sets ``TABLE`` (a TableFormat), and so may a plug-in's module. For images see spec.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ...box import Box
from ...frozen import frozen


@frozen
class TableColumn:
    """One column of a table.

    Parameters
    ----------
    name
        Unique name.
    dtype
        Of its values; for a categorical column an integer type.
    texts
        Categories that the values are indices of; None for a column of numbers.
    """

    name: str
    dtype: np.dtype
    texts: tuple[str, ...] | None = None


class TableWriter(ABC):
    """Writer of one table, rows in order. Nothing exists under the final name before ``finish``."""

    @abstractmethod
    def write(self, columns: Sequence[np.ndarray]) -> None:
        """Append rows.

        Parameters
        ----------
        columns
            For each column (rows,), all of equal length, in the column's dtype.

        Raises
        ------
        ExportError
            If they cannot be written.
        """

    def write_image(self, name: str, box: Box, data: np.ndarray) -> None:
        """Store a part of a picture that ``add_image`` created under this name.

        Parameters
        ----------
        name
            Path inside the file.
        box
            Region in the picture's axes.
        data
            Its voxels, in the picture's axes and dtype.

        Raises
        ------
        ExportError
            If they cannot be written.
        NotImplementedError
            If the format holds no images.
        """
        raise NotImplementedError("this format holds no images")

    def add_image(self, name: str, shape: Sequence[int], dtype: np.dtype, *, axes: str, kind: str) -> None:
        """Create a picture that belongs to the table, to be filled by ``write_image``.

        Parameters
        ----------
        name
            Path inside the file.
        shape, dtype, axes
            Of the picture.
        kind
            "image" or "labeling".

        Raises
        ------
        ExportError
            If it cannot be written.
        NotImplementedError
            If the format holds no images.
        """
        raise NotImplementedError("this format holds no images")

    @abstractmethod
    def finish(self) -> Path:
        """Complete the file and put it under its final name.

        Returns
        -------
        Path
            The final name.

        Raises
        ------
        ExportError
            If the file cannot be completed.
        """

    @abstractmethod
    def abort(self) -> None:
        """Remove everything temporary; existing data under the final name are untouched. Never raises."""


def _is_no_result(path: Path, internal_path: str) -> bool:
    return False


@frozen
class TableFormat:
    """Description of how tables are written into files with one of these extensions.

    Parameters
    ----------
    name
        Name of the format.
    extensions
        Lower case, without the dot.
    open
        (final path, columns, compression by h5py's names) -> TableWriter. Raises ExportError.
    summary
        One line for the list of formats.
    holds_images
        True if pictures of the objects can be stored with the rows.
    find_missing
        Returns the package to install before this format can be written, as for pip; "" if none.
    is_result
        As for OutputFormat.
    is_plain_text
        True if spreadsheets interpret its cells like typed text, formulas included.
    """

    name: str
    extensions: tuple[str, ...]
    open: Callable[[Path, Sequence[TableColumn], Mapping[str, object]], TableWriter]
    summary: str = ""
    holds_images: bool = False
    find_missing: Callable[[], str] = lambda: ""
    is_result: Callable[[Path, str], bool] = _is_no_result
    is_plain_text: bool = False

    @property
    def knows_results(self) -> bool:
        """True if the format can tell its tables from other files."""
        return self.is_result is not _is_no_result

    def __reduce__(self) -> tuple[Callable[[Path], TableFormat], tuple[Path]]:
        """Pickle an extension: the process that reads it finds the format by itself."""
        from . import table_format

        return table_format, (Path(f"table.{self.extensions[0]}"),)

"""The table of a lane's objects on its way into a file: where it goes, in which format, and with what beside it.

Which columns it has is decided by the workflow. ``plan_table`` refuses what cannot work before anything is computed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np

from ...records import dataclass, field
from ..box import Box
from ..errors import ExportError
from ..formats import table_format, table_formats
from ..formats.spec import TableColumn, TableFormat, TableWriter
from ..formats.target import check_file_place
from .filenames import (
    LANE_PLACEHOLDERS,
    LaneNames,
    advise_on_collision,
    check_protected,
    file_key,
    fill_template,
    lane_values,
    template_fields,
)
from .images import ExportPlan, LaneImage

__all__ = ["TableExport", "TablePlan", "TableRequest", "check_tables", "open_table", "plan_table", "resolve_table"]

log = logging.getLogger("pixelforest.export")

_SEPARATORS = tuple(each for each in (os.sep, os.altsep) if each)

_OPTION = "--table_filename"


class StoredTable(Protocol):
    """What a project stores about its table (engine/project/table_settings.py)."""

    @property
    def file_type(self) -> str: ...
    @property
    def file_path(self) -> str: ...
    @property
    def features(self) -> tuple[str, ...]: ...
    @property
    def compression(self) -> Mapping[str, object]: ...
    @property
    def margin(self) -> int: ...
    @property
    def includes_raw(self) -> bool: ...


@dataclass(frozen=True)
class TableRequest:
    """The table that is wanted, for every lane alike.

    template      its path, relative to the current directory; {dataset_dir} and {nickname} are filled in
    is_numbered   the lane's number from 0 is put before the extension
    features      ids or display names of the features that become columns; None: all that are computed
    has_images    pictures of the objects are stored beside the rows
    margin, includes_raw, compression   see project.table_settings.TableSettings
    """

    template: str
    format: TableFormat
    is_numbered: bool = False
    features: frozenset[str] | None = None
    has_images: bool = False
    margin: int = 0
    includes_raw: bool = False
    compression: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class TablePlan:
    """The table of one lane: what is wanted, and its final path."""

    request: TableRequest
    path: Path


def resolve_table(filename: str | None, stored: StoredTable | None, *, lane_count: int) -> TableRequest | None:
    """The table that is written: as the command line says, else as the project was set up; None if neither does.

    filename  the path the user gave; it is the file's exact name, its extension chooses the format, and every computed
              feature becomes a column. A project's own path is changed as ilastik changes it, and its list counts
    Raises ExportError for a format that is not installed.
    """
    if filename is not None:
        template = str(Path(filename).expanduser()) if filename.startswith("~") else filename
        chosen, features = table_format(Path(template)), None
    elif stored is not None:
        chosen = next(f for f in table_formats() if stored.file_type in f.extensions)
        template = _with_suffix(stored.file_path, "_table") if stored.file_type == "csv" else stored.file_path
        features = frozenset(stored.features)
    else:
        return None
    missing = chosen.find_missing()
    if missing:
        raise ExportError(f"tables of the format {chosen.name} need more than is installed; pip install '{missing}'")
    of_project = stored is not None and stored.file_type in chosen.extensions
    return TableRequest(
        template=template,
        format=chosen,
        is_numbered=lane_count > 1 and filename is not None and not LANE_PLACEHOLDERS & template_fields(template),
        features=features,
        has_images=of_project and chosen.holds_images,
        margin=stored.margin if stored is not None and of_project else 0,
        includes_raw=stored is not None and of_project and stored.includes_raw,
        compression=dict(stored.compression) if stored is not None and of_project else {},
    )


def plan_table(
    request: TableRequest, image: LaneImage, *, lane: int, protected: Mapping[Path, str] | None = None
) -> TablePlan:
    """Decide where a lane's table goes. Raises ExportError.

    lane        its number from 0
    protected   files that must not be written to, and what they are
    """
    values = lane_values(dataset_dir=image.dataset_dir, nickname=image.nickname)
    text = fill_template(request.template, values)
    if request.is_numbered:
        text = _with_suffix(text, f"-{lane}")
    if not Path(text).name or "\x00" in text:
        raise ExportError(f"the table path {request.template!r} has no file name")
    if text.endswith(_SEPARATORS):
        raise ExportError(
            f"the table path {request.template!r} is that of a folder; add a file name, as in {text}{{nickname}}.csv"
        )
    path = Path.cwd() / text
    check_protected([path], protected or {}, option=_OPTION)
    check_file_place(path, _OPTION)
    return TablePlan(request, path)


def check_tables(
    tables: Sequence[tuple[int, TablePlan]],
    exports: Sequence[tuple[int, ExportPlan]],
    names: Mapping[int, LaneNames] | None = None,
) -> None:
    """Refuse tables that would overwrite each other or an image: (lane number from 0, plan)."""
    names = names or {}
    images = {file_key(file): lane for lane, plan in exports for file in plan.files}
    taken: dict[str, int] = {}
    for lane, table in tables:
        key = file_key(table.path)
        where = f"the table of lane {lane + 1} would be written to {table.path}, where"
        if key in images:
            raise ExportError(f"{where} an image of lane {images[key] + 1} goes; choose another {_OPTION}")
        if key in taken:
            advice = advise_on_collision(names.get(taken[key]), names.get(lane), _OPTION)
            raise ExportError(f"{where} the table of lane {taken[key] + 1} goes; {advice}")
        taken[key] = lane


def open_table(plan: TablePlan) -> TableExport:
    """A table whose columns are still open."""
    return TableExport(plan)


class TableExport:
    """A table being written; ``start`` comes before everything else."""

    def __init__(self, plan: TablePlan) -> None:
        self.plan = plan
        self.request = plan.request
        self._writer: TableWriter | None = None
        self.row_count = 0

    def start(self, columns: Sequence[TableColumn]) -> None:
        """Begin the file. Raises ExportError if the place cannot be written to."""
        self._writer = self.request.format.open(self.plan.path, columns, self.request.compression)

    def write(self, columns: Sequence[np.ndarray]) -> None:
        """Append rows, one array a column. Raises ExportError."""
        assert self._writer is not None
        self._writer.write(columns)
        self.row_count += len(columns[0])

    def add_image(self, name: str, data: np.ndarray, *, axes: str, kind: str) -> None:
        """Store a whole picture under a name inside the file. Raises ExportError."""
        assert self._writer is not None
        self._writer.add_image(name, data.shape, data.dtype, axes=axes, kind=kind)
        self._writer.write_image(name, Box.whole(data.shape), data)

    def add_large_image(self, name: str, shape: Sequence[int], dtype: np.dtype, *, axes: str, kind: str) -> None:
        """Make room for a picture that ``write_image`` fills piece by piece. Raises ExportError."""
        assert self._writer is not None
        self._writer.add_image(name, shape, dtype, axes=axes, kind=kind)

    def write_image(self, name: str, box: Box, data: np.ndarray) -> None:
        """Fill a part of a picture. Raises ExportError."""
        assert self._writer is not None
        self._writer.write_image(name, box, data)

    def finish(self) -> Path:
        """Complete the file, put it in place, and return it. Raises ExportError."""
        assert self._writer is not None
        return self._writer.finish()

    def abort(self) -> None:
        """Leave nothing behind; what stood there before stays. Never raises."""
        if self._writer is not None:
            with suppress(Exception):
                self._writer.abort()


def _with_suffix(path: str, suffix: str) -> str:
    """A path with something put before the extension of its file name."""
    parsed = Path(path)
    extension = parsed.suffix
    return f"{path.removesuffix(extension)}{suffix}{extension}" if extension else f"{path}{suffix}"

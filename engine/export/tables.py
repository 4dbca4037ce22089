"""Export of the table of a lane's objects: its path, its format, and additional pictures.

Its columns are decided by the workflow. ``plan_table`` refuses tables that cannot work before anything is computed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ...box import Box
from ...frozen import frozen
from ..errors import ExportError, setting
from ..formats import table_format
from ..formats.table_spec import TableColumn, TableFormat, TableWriter
from ..requests import TableRequest
from ..storage.atomic_write import check_file_place, copy_file, export_errors, other_contents
from ..storage.object_storage import is_url
from ..storage.special_files import is_special
from .filenames import (
    LANE_PLACEHOLDERS,
    LaneNames,
    Protected,
    advise_on_collision,
    check_protected,
    file_key,
    fill_template,
    lane_values,
    template_fields,
)
from .images import ExportPlan, LaneImage

if TYPE_CHECKING:
    from .stored_places import StoredPlace

__all__ = [
    "TableExport",
    "TablePlan",
    "TableSettings",
    "check_tables",
    "open_table",
    "plan_table",
    "resolve_table",
]

log = logging.getLogger("pixelforest.export")

_SEPARATORS = tuple(each for each in (os.sep, os.altsep) if each)

_OPTION = setting("table_filename")


class StoredTable(Protocol):
    """Table settings stored in a project (engine/project/table_settings.py)."""

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


@frozen
class TableSettings:
    """Settings of the table, the same for every lane.

    template      its path, relative to the current directory; {dataset_dir} and {nickname} are filled in
    is_numbered   True if the lane's number from 0 is added before the extension
    features      ids or display names of the features that become columns; None: all that are computed
    has_images    True if pictures of the objects are stored with the rows
    margin, includes_raw, compression   see project.table_settings.StoredTableSettings
    stored_place  set if the path is the project's choice; None: the user's
    has_ilastik_name  True if the table also gets the name that ilastik would give it
    is_defused    True if texts that a spreadsheet treats as formulas get an apostrophe
    """

    template: str
    format: TableFormat
    is_numbered: bool = False
    features: frozenset[str] | None = None
    has_images: bool = False
    margin: int = 0
    includes_raw: bool = False
    compression: Mapping[str, object] = field(default_factory=dict)
    stored_place: StoredPlace | None = None
    has_ilastik_name: bool = False
    is_defused: bool = False


@frozen
class TablePlan:
    """Plan of the table of one lane: its settings and the final path.

    outside        see ExportPlan
    ilastik_path   a copy of the table under the name that ilastik gives it; None: no copy
    """

    settings: TableSettings
    path: Path
    outside: str = ""
    ilastik_path: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Paths that will be written."""
        return (self.path,) if self.ilastik_path is None else (self.path, self.ilastik_path)


def resolve_table(request: TableRequest, stored: StoredTable | None, *, lane_count: int) -> TableSettings | None:
    """Resolve the table: by the request, else by the project's settings; None without either.

    Raises ExportError for a format that is not installed, or a stored path of another system.
    """
    filename = request.table_filename
    place = None
    if filename is not None:
        template = str(Path(filename).expanduser()) if filename.startswith("~") else filename
        chosen, features = table_format(Path(template)), None
    elif stored is not None:
        chosen = table_format(Path(f"table.{stored.file_type}"))
        from .stored_places import StoredPlace

        place = StoredPlace(stored.file_path, "table path", _OPTION, may_be_url=request.allow_project_urls)
        place.check_template()
        template, features = _stored_template(stored, chosen), frozenset(stored.features)
    else:
        return None
    missing = chosen.find_missing()
    if missing:
        raise ExportError(f"tables of the format {chosen.name} need more than is installed; pip install '{missing}'")
    of_project = stored is not None and stored.file_type in chosen.extensions
    return TableSettings(
        template=template,
        format=chosen,
        is_numbered=lane_count > 1 and filename is not None and not LANE_PLACEHOLDERS & template_fields(template),
        features=features,
        has_images=of_project and chosen.holds_images,
        margin=stored.margin if stored is not None and of_project else 0,
        includes_raw=stored is not None and of_project and stored.includes_raw,
        compression=dict(stored.compression) if stored is not None and of_project else {},
        stored_place=place,
        has_ilastik_name=request.started_as_ilastik and filename is not None and chosen.name == "csv",
        is_defused=request.safe_csv and chosen.is_plain_text,
    )


def _stored_template(stored: StoredTable, chosen: TableFormat) -> str:
    """Change the stored path as ilastik does; a path without an extension of the format gets one."""
    name = Path(stored.file_path).name
    stem, suffix = os.path.splitext(name)
    if stored.file_path.endswith(_SEPARATORS):  # refused when the path is filled in
        return stored.file_path
    if suffix.lower().removeprefix(".") not in chosen.extensions:
        return f"{stored.file_path}.{chosen.extensions[0]}"
    if stored.file_type != "csv":
        return stored.file_path
    return f"{stored.file_path.removesuffix(name)}{stem}_table{suffix}"


def plan_table(
    settings: TableSettings, image: LaneImage, *, lane: int, protected: Protected | None = None
) -> TablePlan:
    """Plan the path of a lane's table. Raises ExportError.

    lane        its number from 0
    protected   files that must not be written to
    """
    values = lane_values(dataset_dir=image.dataset_dir, nickname=image.nickname)
    text = fill_template(settings.template, values)
    if settings.is_numbered:
        text = _with_suffix(text, f"-{lane}")
    if not Path(text).name or "\x00" in text:
        raise ExportError(f"the table path {settings.template!r} has no file name")
    if text.endswith(_SEPARATORS):
        raise ExportError(
            f"the table path {settings.template!r} is that of a folder; add a file name, as in {text}{{nickname}}.csv"
        )
    if is_url(text):
        raise ExportError(f"tables are written to files, not to {text}; choose a path with {_OPTION}")
    path, place, outside = Path.cwd() / text, settings.stored_place, ""
    twin = _ilastik_path(path) if settings.has_ilastik_name else None
    files = [path] if twin is None else [path, twin]
    check_protected(files, protected or {}, option=_OPTION)
    if place is not None:
        outside = place.describe_outside(text, image.dataset_dir)
        place.check_path(
            path,
            named=(Path.cwd(), image.dataset_dir),
            is_folder=False,
            is_result=lambda path: settings.format.is_result(path, ""),
            format_name=settings.format.name,
        )
    for file in files:
        check_file_place(file, _OPTION)
        if place is None:
            check_contents(file, settings.format)
    if twin is not None:
        log.info("the table %s is also given the name that ilastik gives it, %s", path, twin)
    return TablePlan(settings, path, outside, twin)


def check_contents(file: Path, chosen: TableFormat) -> None:
    """Refuse to replace a file of another kind. Any CSV table may be: one of another program, or an edited one."""
    if not chosen.knows_results or is_special(file) or not file.is_file():
        return
    from ..storage.file_kinds import holds_table_text

    with export_errors(file, _OPTION):
        is_table = (
            file.stat().st_size == 0 or chosen.is_result(file, "") or (chosen.is_plain_text and holds_table_text(file))
        )
    if not is_table:
        raise other_contents(file, _OPTION)


def _ilastik_path(path: Path) -> Path | None:
    """Name that ilastik gives a CSV table; None if it gives none, or the table is not a regular file."""
    if not path.suffix or (path.exists() and not path.is_file()):
        return None
    return path.with_name(f"{path.stem}_table{path.suffix}")


def check_tables(
    tables: Sequence[tuple[int, TablePlan]],
    exports: Sequence[tuple[int, ExportPlan]],
    names: Mapping[int, LaneNames] | None = None,
) -> None:
    """Refuse tables that would overwrite each other or an image: (lane number from 0, plan)."""
    if not tables:
        return
    names = names or {}
    images = {file_key(file): lane for lane, plan in exports for file in plan.files}
    taken: dict[str, int] = {}
    for lane, table in tables:
        for file in table.files:
            key = file_key(file)
            where = f"the table of lane {lane + 1} would be written to {file}, where"
            if key in images:
                raise ExportError(f"{where} an image of lane {images[key] + 1} goes; choose another {_OPTION}")
            if key in taken:
                advice = advise_on_collision(names.get(taken[key]), names.get(lane), _OPTION)
                raise ExportError(f"{where} the table of lane {taken[key] + 1} goes; {advice}")
            taken[key] = lane


def open_table(plan: TablePlan) -> TableExport:
    """Open a table whose columns are not yet known."""
    return TableExport(plan)


class TableExport:
    """A table being written; ``start`` comes before everything else."""

    def __init__(self, plan: TablePlan) -> None:
        self.plan = plan
        self.settings = plan.settings
        self._writer: TableWriter | None = None
        self.row_count = 0

    def start(self, columns: Sequence[TableColumn]) -> None:
        """Start the file. Raises ExportError if the path cannot be written to."""
        if self.settings.is_defused:
            from .formulas import defuse_column

            columns = [defuse_column(column) for column in columns]
        self._writer = self.settings.format.open(self.plan.path, columns, self.settings.compression)

    def write(self, columns: Sequence[np.ndarray]) -> None:
        """Append rows, one array per column. Raises ExportError."""
        assert self._writer is not None
        self._writer.write(columns)
        self.row_count += len(columns[0])

    def add_image(self, name: str, data: np.ndarray, *, axes: str, kind: str) -> None:
        """Store a whole picture under a name inside the file. Raises ExportError."""
        assert self._writer is not None
        self._writer.add_image(name, data.shape, data.dtype, axes=axes, kind=kind)
        self._writer.write_image(name, Box.whole(data.shape), data)

    def add_large_image(self, name: str, shape: Sequence[int], dtype: np.dtype, *, axes: str, kind: str) -> None:
        """Create a picture that ``write_image`` fills piece by piece. Raises ExportError."""
        assert self._writer is not None
        self._writer.add_image(name, shape, dtype, axes=axes, kind=kind)

    def write_image(self, name: str, box: Box, data: np.ndarray) -> None:
        """Fill a part of a picture. Raises ExportError."""
        assert self._writer is not None
        self._writer.write_image(name, box, data)

    def finish(self) -> list[Path]:
        """Complete the file, put it in place, also under ilastik's name, and return the paths. Raises ExportError."""
        assert self._writer is not None
        files, twin = [self._writer.finish()], self.plan.ilastik_path
        if twin is not None and self.plan.path.is_file():
            copy_file(self.plan.path, twin, _OPTION)
            files.append(twin)
        return files

    def abort(self) -> None:
        """Remove everything temporary; existing files at the path are untouched. Never raises."""
        if self._writer is not None:
            with suppress(Exception):
                self._writer.abort()


def _with_suffix(path: str, suffix: str) -> str:
    """Insert a text before the extension of a path's file name."""
    parsed = Path(path)
    extension = parsed.suffix
    return f"{path.removesuffix(extension)}{suffix}{extension}" if extension else f"{path}{suffix}"

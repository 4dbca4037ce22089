"""Export settings stored in a project: defaults for settings not given on the command line.

Values are returned as stored; their meaning and validity are decided in ``engine/export``.
"""

from __future__ import annotations

from math import isfinite

from ...frozen import frozen
from .hdf5 import ProjectFile

GROUP = "Prediction Export"
MAX_DIMENSIONS = 5


@frozen
class StoredExportSettings:
    """Stored settings; a field is None where the project stores nothing.

    input_range, export_range   (low, high) as the int or float numbers stored; the kind matters for the arithmetic
    region_start, region_stop   per axis of the pipeline's order, None for an axis taken whole
    """

    filename_format: str | None = None
    format: str | None = None
    internal_path: str | None = None
    axis_order: str | None = None
    dtype: str | None = None
    input_range: tuple[float, float] | None = None
    export_range: tuple[float, float] | None = None
    region_start: tuple[int | None, ...] | None = None
    region_stop: tuple[int | None, ...] | None = None


def read_export_settings(file: ProjectFile, group: str = GROUP) -> StoredExportSettings:
    """Read the settings stored in ``group``; all None if there is no such group."""
    if not file.has_applet(group):
        return StoredExportSettings()

    def text(name: str) -> str | None:
        return file.text(f"{group}/{name}") or None

    return StoredExportSettings(
        filename_format=text("OutputFilenameFormat"),
        format=text("OutputFormat"),
        internal_path=text("OutputInternalPath"),
        axis_order=text("OutputAxisOrder"),
        dtype=text("ExportDtype"),
        input_range=_read_range(file, group, "Input"),
        export_range=_read_range(file, group, "Export"),
        region_start=_read_corner(file, f"{group}/RegionStart"),
        region_stop=_read_corner(file, f"{group}/RegionStop"),
    )


def _read_range(file: ProjectFile, group: str, name: str) -> tuple[float, float] | None:
    low, high = file.number(f"{group}/{name}Min"), file.number(f"{group}/{name}Max")
    for end, value in (("Min", low), ("Max", high)):
        if value is not None and not isfinite(value):
            raise file.error(f"{group}/{name}{end}", f"is {value}, where a finite number belongs; the file is damaged")
    return None if low is None or high is None else (low, high)


def _read_corner(file: ProjectFile, path: str) -> tuple[int | None, ...] | None:
    stored = file.array(path, "integers", max_bytes=1 << 10)
    if stored is None or stored.size == 0:
        return None
    if stored.ndim != 1 or stored.size > MAX_DIMENSIONS or (stored < -1).any():
        raise file.error(path, f"is not a corner of a region: {stored.reshape(-1)[:8].tolist()}")
    return tuple(None if value == -1 else int(value) for value in stored)

"""Export settings by precedence: command line, settings stored in the project, defaults.

No image is used here. Settings that depend on one (the region, ranges taken from the result) are resolved in images.py
for each lane.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ...frozen import frozen
from ..axes import CANONICAL, is_axis_order
from ..errors import ExportError, Setting, UsageError, setting
from ..formats import output_format, output_formats
from ..formats.spec import OutputFormat
from ..quotes import split_entries
from ..requests import EXPORT_DTYPES, OME_ZARR_VERSIONS, ExportRequest
from ..storage.object_storage import is_url
from .convert import Conversion, Range
from .filenames import RESULT_MARK, adapt_template
from .region import Cutout, parse_list, parse_region

if TYPE_CHECKING:
    from .stored_places import StoredPlace

__all__ = [
    "Defaults",
    "ExportSettings",
    "StoredSettings",
    "choose_results",
    "complete_conversion",
    "parse_range",
    "resolve_settings",
]

log = logging.getLogger("pixelforest.export")

_STORED_DTYPES = (*EXPORT_DTYPES, "uint64", "int64")  # ilastik's dialog offers two more than its command line
DEFAULT_INTERNAL_PATH = "exported_data"


class StoredSettings(Protocol):
    """Settings that a project stores (engine/project/export_settings.py); None where it stores nothing."""

    @property
    def filename_format(self) -> str | None: ...
    @property
    def format(self) -> str | None: ...
    @property
    def internal_path(self) -> str | None: ...
    @property
    def axis_order(self) -> str | None: ...
    @property
    def dtype(self) -> str | None: ...
    @property
    def input_range(self) -> Range | None: ...
    @property
    def export_range(self) -> Range | None: ...
    @property
    def region_start(self) -> tuple[int | None, ...] | None: ...
    @property
    def region_stop(self) -> tuple[int | None, ...] | None: ...


@frozen
class Defaults:
    """Defaults for projects without export settings; the configuration file may replace both."""

    format: str = "compressed hdf5"
    filename_format: str = "{dataset_dir}/{nickname}_{result_type}"


@frozen
class ExportSettings:
    """Settings for the export of one result, the same for every lane.

    source                      the result's name
    base_dir                    folder that a relative output path is relative to
    dtype                       None: the result's own
    axis_order                  None: that of the input file
    input_range, export_range   both None: values keep their range; one None: it is taken from the result
    overwrite                   True if an existing store may be replaced (files always are)
    ome_zarr_version            "": the default one
    stored_place                set if the path is the project's choice; None: the user's, or the default
    is_dataset_stored           True if ``internal_path`` is the project's choice
    """

    source: str
    format: OutputFormat
    filename_format: str
    base_dir: Path
    internal_path: str = DEFAULT_INTERNAL_PATH
    cutout: Cutout | None = None
    dtype: np.dtype | None = None
    axis_order: str | None = None
    input_range: Range | None = None
    export_range: Range | None = None
    clip: bool = False
    overwrite: bool = False
    ome_zarr_version: str = ""
    stored_place: StoredPlace | None = None
    is_dataset_stored: bool = False


def resolve_settings(
    request: ExportRequest,
    stored: StoredSettings,
    defaults: Defaults,
    *,
    results: Sequence[str],
    project_dir: Path,
    cwd: Path,
) -> tuple[ExportSettings, ...]:
    """Resolve the settings of every requested result, in the order of the request.

    results   names that the workflow offers; the first is exported if none is requested
    Raises UsageError for invalid options, ExportError for settings that do not exist or cannot be combined.
    """
    # A result that a flag requests has the flag's name, instead of the result's, in the names of its files.
    marks = {
        source: f"-{flag.removeprefix('export_').replace('_', '-')}"
        for flag, source in request.image_flags.items()
        if source in results
    }
    if request.export_source is not None or not marks:
        chosen_results = choose_results(request.export_source, results)
        marks |= {source: RESULT_MARK for source in chosen_results if source not in marks}
    chosen = _choose_format(request, stored, defaults)
    input_range, export_range = _choose_ranges(request, stored)
    template, base_dir, place = _choose_template(request, stored, project_dir, cwd, defaults=defaults)
    templates = {
        mark: adapt_template(
            template,
            is_sequence=chosen.sequence,
            has_several_results=len(marks) > 1,
            default=defaults.filename_format,
            mark=mark,
        )
        for mark in dict.fromkeys(marks.values())
    }
    internal_path = request.output_internal_path or stored.internal_path or DEFAULT_INTERNAL_PATH
    if request.output_internal_path and not chosen.container:
        log.info("%s has no effect with the output format %s", setting("output_internal_path"), chosen.name)
    return tuple(
        ExportSettings(
            source=source,
            format=chosen,
            filename_format=templates[mark],
            base_dir=base_dir,
            internal_path=internal_path,
            cutout=_choose_cutout(request, stored),
            dtype=_choose_dtype(request, stored),
            axis_order=_choose_axis_order(request, stored),
            input_range=input_range,
            export_range=export_range,
            clip=request.clip,
            overwrite=request.overwrite,
            ome_zarr_version=_choose_version(request),
            stored_place=place,
            is_dataset_stored=not request.output_internal_path
            and stored.internal_path not in (None, DEFAULT_INTERNAL_PATH),
        )
        for source, mark in marks.items()
    )


def choose_results(sources: str | None, results: Sequence[str]) -> tuple[str, ...]:
    """Choose the results of a comma-separated list, as the workflow spells them; without a list its first one."""
    if sources is None:
        return (results[0],)
    names = {name.casefold(): name for name in results}
    chosen: list[str] = []
    for text in split_entries(sources):
        name = names.get(" ".join(text.split()).casefold())
        if name is None:
            raise ExportError(
                f"invalid option for {setting('export_source')}: {text!r}; valid options are: {', '.join(results)}"
            )
        if name not in chosen:
            chosen.append(name)
    return tuple(chosen)


def parse_range(text: str, option: Setting) -> Range:
    """``(0.0,1.0)`` as two numbers; ints stay ints, which decides the arithmetic. Raises UsageError, ExportError."""
    values = parse_list(text, option)
    if len(values) != 2 or any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
        raise ExportError(
            f"didn't understand {option}: {text!r}; expected two numbers, e.g. '(0.0, 1.0)' or '(0, 255)'"
        )
    return values[0], values[1]


def complete_conversion(settings: ExportSettings, dtype: np.dtype, drange: Range | None) -> Conversion:
    """Complete the conversion of a result of this type and known range.

    If only one of the two ranges is given the other is the result's: the known range of its values, or the full range
    of its type. Raises ExportError if neither is known.
    """
    target = settings.dtype or dtype
    given, wanted = settings.input_range, settings.export_range
    if given is None and wanted is None:
        return Conversion(dtype, target, clip=settings.clip)
    if given is None:
        given = _natural_range(dtype, drange)
        if given is None:
            raise ExportError(
                f"{setting('export_drange')} needs {setting('pipeline_result_drange')} for {settings.source}: the "
                "range of its values "
                f"({dtype}) is not known"
            )
    if wanted is None:
        wanted = _natural_range(target, drange)
        if wanted is None:
            raise ExportError(
                f"{setting('pipeline_result_drange')} needs {setting('export_drange')} for {settings.source}: the "
                "range of the exported "
                f"values ({target}) is not known"
            )
    if given[0] == given[1]:
        raise ExportError(
            f"the range of {settings.source} that is mapped to {wanted} is empty: from {given[0]} to {given[1]}; "
            f"give two numbers with {setting('pipeline_result_drange')} (the project stores them as InputMin and "
            "InputMax)"
        )
    try:
        return Conversion(dtype, target, given, wanted, settings.clip)
    except ValueError as error:
        raise ExportError(str(error)) from None


def _natural_range(dtype: np.dtype, drange: Range | None) -> Range | None:
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return int(info.min), int(info.max)
    return drange


def _choose_format(request: ExportRequest, stored: StoredSettings, defaults: Defaults) -> OutputFormat:
    if request.output_format is not None:
        return output_format(request.output_format)
    name = stored.format or defaults.format
    try:
        return output_format(name)
    except UsageError:
        origin = "the project" if stored.format else "the configuration file"
        raise ExportError(
            f"{origin} asks for the output format {name!r}, which is not supported; "
            f"choose one with {setting('output_format')}: {', '.join(output_formats())}"
        ) from None


def _choose_template(
    request: ExportRequest, stored: StoredSettings, project_dir: Path, cwd: Path, *, defaults: Defaults
) -> tuple[str, Path, StoredPlace | None]:
    """Choose the template, its base folder, and its restrictions if it is the project's choice.

    Raises ExportError for a stored template that is no path on this system or names a server.
    """
    if request.output_filename_format is not None:
        text = request.output_filename_format
        return (str(Path(text).expanduser()) if text.startswith("~") else text), cwd, None
    if stored.filename_format is None:
        return defaults.filename_format, project_dir, None
    if stored.filename_format == Defaults().filename_format:  # every project stores it, whether the user saw it or not
        return stored.filename_format, project_dir, None
    from .stored_places import StoredPlace

    place = StoredPlace(
        stored.filename_format,
        "output path",
        setting("output_filename_format"),
        may_be_url=request.allow_project_urls,
        is_explained=request.dry_run,
    )
    place.check_template()
    if is_url(place.template):
        place.check_url(place.template)
    return place.template, project_dir, place


def _choose_cutout(request: ExportRequest, stored: StoredSettings) -> Cutout | None:
    if request.cutout_subregion is not None:
        return parse_region(request.cutout_subregion)
    start, stop = stored.region_start, stored.region_stop
    if start is None or stop is None:
        return None
    if len(start) != len(stop):
        raise ExportError(
            f"the region stored in the project (RegionStart, RegionStop) is damaged: it goes from {start} to {stop}"
        )
    # in ilastik a stop of 0 means the end
    return Cutout(start, tuple(s or None for s in stop), "the region stored in the project (RegionStart, RegionStop)")


def _choose_dtype(request: ExportRequest, stored: StoredSettings) -> np.dtype | None:
    if request.export_dtype is not None:
        _check_choice("export_dtype", request.export_dtype, EXPORT_DTYPES)
        return np.dtype(request.export_dtype)
    if stored.dtype is None:
        return None
    if stored.dtype not in _STORED_DTYPES:
        raise ExportError(
            f"the project (ExportDtype) asks for the unknown pixel type {stored.dtype!r}; "
            f"choose one with {setting('export_dtype')}"
        )
    return np.dtype(stored.dtype)


def _choose_version(request: ExportRequest) -> str:
    if request.ome_zarr_version:
        _check_choice("ome_zarr_version", request.ome_zarr_version, OME_ZARR_VERSIONS)
    return request.ome_zarr_version or ""


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UsageError(f"{setting(name)}: invalid choice {value!r}; choose from {', '.join(choices)}")


def _choose_axis_order(request: ExportRequest, stored: StoredSettings) -> str | None:
    order = request.output_axis_order or stored.axis_order
    if order is None:
        return None
    if not is_axis_order(order.lower()):
        origin = (
            f"{setting('output_axis_order')}"
            if request.output_axis_order
            else "the axis order stored in the project (OutputAxisOrder)"
        )
        raise ExportError(
            f"invalid axes specified for {origin}: {order!r}; use letters of {CANONICAL}, each at most once"
        )
    return order.lower()


def _choose_ranges(request: ExportRequest, stored: StoredSettings) -> tuple[Range | None, Range | None]:
    """The two ranges; one of them is None only if the other was asked for on the command line."""
    given = (
        parse_range(request.pipeline_result_drange, setting("pipeline_result_drange"))
        if request.pipeline_result_drange
        else None
    )
    wanted = parse_range(request.export_drange, setting("export_drange")) if request.export_drange else None
    is_asked = given is not None or wanted is not None
    given, wanted = given or stored.input_range, wanted or stored.export_range
    if not is_asked and (given is None or wanted is None):
        return None, None
    return given, wanted

"""Plan of the export of one result of one lane: all decisions that do not need voxels; tile_sinks.py writes the file.

Exports that cannot work are refused. Boxes are canonical (t, z, y, x, c) in the coordinates of the whole result.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ...box import Box
from ...frozen import frozen
from ..axes import CANONICAL, box_from_canonical, pipeline_axes
from ..errors import ExportError, Text, setting
from ..formats import output_formats
from ..formats.spec import ImageSpec, Limits, OutputFormat, Scales
from ..formats.support.picture_writers import slice_paths, step_axis
from ..storage.object_storage import is_url
from ..storage.special_files import is_special
from ..tiling.groups import ChunkGrid
from .convert import Conversion, Range, convert_range
from .filenames import (
    PLACEHOLDERS,
    LaneNames,
    Protected,
    check_collisions,
    check_protected,
    fill_template,
    force_extension,
    placeholder_values,
    template_fields,
)
from .region import describe_region, resolve_region
from .settings import ExportSettings, complete_conversion

__all__ = [
    "ExportPlan",
    "LaneImage",
    "ResultInfo",
    "check_exports",
    "check_place",
    "plan_export",
]

log = logging.getLogger("pixelforest.export")

_MAX_SPREAD = 65535  # more steps than a forest has different probabilities, and exact in float32


@frozen
class ResultInfo:
    """Facts about a result before it is computed.

    drange        stored with the data, in its own type: the range of its values as far as known
    value_range   real range, where ilastik stores another one; None: ``drange``
    is_labels     True if values are numbers of classes or objects
    is_scalar     True if a voxel has one value by definition, so that an array needs no axis for channels
    is_local      True if a voxel depends on its surroundings only, as far as the halo of the work plan reaches
    channel_names names of the channels, if they have any
    """

    name: str
    dtype: np.dtype
    channels: int
    drange: Range | None = None
    display_mode: str | None = None
    value_range: Range | None = None
    is_labels: bool = False
    is_scalar: bool = False
    is_local: bool = False
    channel_names: tuple[str, ...] = ()


class LaneImage(Protocol):
    """Facts about the main image of a lane (inputs.InputImage) that an export needs."""

    @property
    def axes(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def nickname(self) -> str: ...
    @property
    def dataset_dir(self) -> Path: ...
    @property
    def axis_units(self) -> Mapping[str, str]: ...
    @property
    def resolution(self) -> Mapping[str, float]: ...
    @property
    def scales(self) -> Scales | None: ...


@frozen
class ExportPlan:
    """Complete plan of one export.

    region        canonical box of the result that is exported
    path          final path; for a sequence with {slice_index} in it; a str: a URL
    files         paths or URLs that will be written
    warnings      lines that were logged while planning
    outside       line about a path stored in the project that leads elsewhere; not logged yet, since it is the same for
                  every image
    """

    result: ResultInfo
    format: OutputFormat
    region: Box
    conversion: Conversion
    spec: ImageSpec
    path: Path | str
    internal_path: str
    files: tuple[Path | str, ...]
    warnings: tuple[str, ...] = ()
    outside: str = ""

    @property
    def shown_path(self) -> str:
        """Path as shown in the log, with the dataset inside a container."""
        return f"{self.path}/{self.internal_path}" if self.format.container else str(self.path)

    @property
    def bytes_per_voxel(self) -> int:
        """Memory per voxel of a tile: as computed, converted, and compressed."""
        return self.result.channels * (self.result.dtype.itemsize + 2 * self.spec.dtype.itemsize)

    @property
    def held_bytes(self) -> int:
        """Memory that is held until the end."""
        return 0 if self.format.streams else self.spec.nbytes

    @property
    def grid(self) -> ChunkGrid | None:
        """Chunks of the file; None: nothing is kept. A chunk is complete only with all of its channels."""
        unit = self.format.unit(self.spec) if self.format.streams else None
        if unit is None:
            return None
        sizes = dict(zip(self.spec.axes, unit, strict=True))
        shape = tuple(sizes.get(a, 1) for a in "zyx")
        return ChunkGrid(shape, self.region.shape[4] * self.spec.dtype.itemsize)


def plan_export(
    result: ResultInfo,
    image: LaneImage,
    settings: ExportSettings,
    *,
    protected: Protected | None = None,
    is_place_checked: bool = True,
) -> ExportPlan:
    """Plan the export of a result of an image. Raises ExportError for an export that cannot work.

    protected         files that must not be written to
    is_place_checked  False if the caller calls ``check_place`` itself
    """
    warnings: list[str] = []
    shape = (*image.shape[:4], result.channels)
    internal_axes = pipeline_axes(dict(zip(CANONICAL, image.shape, strict=True)))
    region, reading, notes = resolve_region(
        settings.cutout, pipeline_axes=internal_axes, file_axes=image.axes, shape=shape
    )
    warnings += notes
    if settings.cutout is not None:
        log.info("exporting %s (%s)", describe_region(region, internal_axes), reading)
    axes = _choose_axes(settings, image, region)
    conversion = complete_conversion(settings, result.dtype, result.value_range or result.drange)
    warnings += _warn_of_lost_fractions(result, conversion)
    spec = _make_spec(result, image, region, axes, conversion, settings)
    _check_format(settings.format, spec)
    if settings.format.fixed_axes and settings.axis_order not in (None, settings.format.fixed_axes):
        warnings.append(
            f"{settings.format.name} always has axes {settings.format.fixed_axes.upper()}; "
            f"the order {settings.axis_order} is not used"
        )
    values = placeholder_values(
        dataset_dir=image.dataset_dir,
        nickname=image.nickname,
        result_type=result.name,
        region=region,
        pipeline_axes=internal_axes,
        output_axes=axes,
    )
    absent = template_fields(settings.filename_format) & PLACEHOLDERS - values.keys() - {"slice_index"}
    if absent:
        shown = ", ".join(f"{{{name}}}" for name in sorted(absent))
        warnings.append(f"{shown} stays in the output path as it is: the result has only the axes {internal_axes}")
    internal_path = _choose_internal_path(settings, values)
    path, files, outside = _choose_path(settings, values, spec)
    check_protected(files, protected or {})
    _check_stored_place(settings, image, files, internal_path)
    warnings += [
        f"{file} is the project's choice, so no server was asked whether it takes the result"
        for file in files
        if isinstance(file, str) and not may_be_asked(settings)
    ]
    plan = ExportPlan(
        result=result,
        format=settings.format,
        region=region,
        conversion=conversion,
        spec=spec,
        path=path,
        internal_path=internal_path,
        files=files,
        warnings=tuple(map(Text, warnings)),
        outside=outside,
    )
    if is_place_checked:
        check_place(plan, settings)
    for text in plan.warnings:
        log.warning("%s", text)
    return plan


def check_place(plan: ExportPlan, settings: ExportSettings) -> None:
    """Raise ExportError if a result cannot be put where it is planned, as far as that is known without writing."""
    for file in plan.files:
        if isinstance(file, Path):
            plan.format.check_place(file, plan.internal_path, plan.spec)
        elif may_be_asked(settings):
            plan.format.check_url(file, plan.internal_path, plan.spec)


def may_be_asked(settings: ExportSettings) -> bool:
    """Return False if no server is contacted because only the project names it and nothing will be written."""
    return settings.stored_place is None or not settings.stored_place.is_explained


def check_exports(plans: Sequence[tuple[int, ExportPlan]], names: Mapping[int, LaneNames] | None = None) -> None:
    """Refuse exports of different lanes that would overwrite each other: (lane number from 0, plan)."""
    check_collisions(
        [
            (lane, file, plan.internal_path if plan.format.container else "")
            for lane, plan in plans
            for file in plan.files
        ],
        names,
    )


def _warn_of_lost_fractions(result: ResultInfo, conversion: Conversion) -> list[str]:
    """Warn if values from 0 to 1 are reduced to 0 and 1, as ilastik does without a message."""
    target, known = conversion.target, result.value_range or result.drange
    is_lost = conversion.source.kind == "f" and target.kind in "iu" and conversion.input_range is None
    if not is_lost or known is None or not (known[0] >= 0 and known[1] <= 1):
        return []
    top = min(int(np.iinfo(target).max), _MAX_SPREAD)
    return [
        f"{result.name} as {target}: values from {known[0]:g} to {known[1]:g} become whole numbers, so that only 0 and "
        f"1 are left; {setting('export_drange', f'(0,{top})')} spreads them"
    ]


def _choose_axes(settings: ExportSettings, image: LaneImage, region: Box) -> str:
    """Choose the axes of the file: those of the format, else the requested ones, else those of the input with c."""
    axes = settings.format.fixed_axes or settings.axis_order or (image.axes if "c" in image.axes else f"{image.axes}c")
    for axis, size in zip(CANONICAL, region.shape, strict=True):
        if axis not in axes and size != 1:
            raise ExportError(
                f"the output axis order {axes} lacks {axis}, but the result has {size} positions along it; "
                f"add {axis} to {setting('output_axis_order')} or cut out one position with "
                f"{setting('cutout_subregion')}"
            )
    return axes


def _make_spec(
    result: ResultInfo, image: LaneImage, region: Box, axes: str, conversion: Conversion, settings: ExportSettings
) -> ImageSpec:
    stored = box_from_canonical(region, axes)
    return ImageSpec(
        shape=stored.shape,
        dtype=conversion.target,
        axes=axes,
        offset=stored.start,
        drange=convert_range(result.drange, conversion),
        display_mode=result.display_mode,
        axis_units={a: u for a, u in image.axis_units.items() if a in axes},
        resolution={a: n for a, n in image.resolution.items() if a in axes and n},
        is_labels=result.is_labels,
        scales=image.scales,
        version=settings.ome_zarr_version,
        may_replace=settings.overwrite,
    )


def _check_format(chosen: OutputFormat, spec: ImageSpec) -> None:
    """Refuse a result that the format cannot hold, naming the formats that can."""
    problems = _find_problems(chosen.limits, spec, is_sequence=chosen.sequence)
    if not problems:
        if chosen.sequence:
            step_axis(spec.shape, spec.axes, max_dims=chosen.limits.max_dims)
        return
    # Formats without an extension are not files and would need another output path, too.
    able = [f.name for f in output_formats().values() if f.extension and _holds(f, spec)]
    raise ExportError(
        f"the format {chosen.name} cannot hold this result ({'; '.join(problems)}); formats that can: {', '.join(able)}"
    )


def _holds(candidate: OutputFormat, spec: ImageSpec) -> bool:
    """Return True if the format stores the result in one file, unchanged."""
    dtypes = candidate.limits.dtypes
    return (
        not candidate.sequence
        and (dtypes is None or spec.dtype.name in dtypes)
        and not _find_problems(candidate.limits, spec, is_sequence=False)
    )


def _find_problems(limits: Limits, spec: ImageSpec, *, is_sequence: bool) -> list[str]:
    sizes = dict(zip(spec.axes, spec.shape, strict=True))
    channels = sizes.pop("c", 1)
    long_axes = [a for a, n in sizes.items() if n > 1]
    if is_sequence and next((a for a, n in zip(spec.axes, spec.shape, strict=True) if n > 1), "") == "c":
        channels, long_axes = 1, [*long_axes, "c"]  # one file per channel
    problems = []
    if limits.dtypes is not None and not limits.stretches and spec.dtype.name not in limits.dtypes:
        problems.append(f"pixel type {spec.dtype}")
    if limits.channels is not None and channels not in limits.channels:
        allowed = " or ".join(str(n) for n in sorted(limits.channels))
        problems.append(f"{channels} channels, where it holds {allowed}")
    if limits.max_dims is not None and len(long_axes) > limits.max_dims:
        problems.append(f"{len(long_axes)} dimensions ({', '.join(long_axes)}), where it holds {limits.max_dims}")
    return problems


def _check_stored_place(
    settings: ExportSettings, image: LaneImage, files: Sequence[Path | str], internal_path: str
) -> None:
    """Raise ExportError if the path is the project's choice and not allowed."""
    place, chosen = settings.stored_place, settings.format
    if settings.is_dataset_stored and chosen.container:
        from .stored_places import check_stored_dataset

        check_stored_dataset(internal_path, is_folder=chosen.is_folder)
    for file in files if place is not None else ():
        assert place is not None
        if isinstance(file, str):
            place.check_url(file)
            continue
        place.check_path(
            file,
            named=(settings.base_dir, image.dataset_dir),
            is_folder=chosen.is_folder,
            is_result=lambda path: chosen.is_result(path, internal_path),
            format_name=chosen.name,
        )


def _choose_path(
    settings: ExportSettings, values: Mapping[str, object], spec: ImageSpec
) -> tuple[Path | str, tuple[Path | str, ...], str]:
    """Choose the path and the files; returns also a line about a stored path that leads elsewhere, or ""."""
    text = fill_template(settings.filename_format, values)
    if not text or "\x00" in text:
        raise ExportError(f"the output path {settings.filename_format!r} has no file name")
    if is_url(text) or not is_special(settings.base_dir / text):
        text = force_extension(text, settings.format.extension)
    if is_url(text):
        if settings.format.open_url is None:
            able = [f.name for f in output_formats().values() if f.open_url is not None]
            raise ExportError(
                f"the format {settings.format.name} is written to files, not to {text}; formats that are written to a "
                f"URL: {', '.join(able)}"
            )
        return text, (text,), ""
    path = settings.base_dir / text
    place = settings.stored_place
    outside = "" if place is None else place.describe_outside(text, Path(str(values["dataset_dir"])))
    if not settings.format.sequence:
        return path, (path,), outside
    axis = spec.axes.index(step_axis(spec.shape, spec.axes, max_dims=settings.format.limits.max_dims))
    return path, tuple(slice_paths(path, spec.offset[axis], spec.shape[axis])), outside


def _choose_internal_path(settings: ExportSettings, values: Mapping[str, object]) -> str:
    if not settings.format.container:
        return ""
    text = fill_template(settings.internal_path, values).strip("/")
    if not text or any(part in ("", ".", "..") for part in text.split("/")):
        raise ExportError(f"{setting('output_internal_path')}: {settings.internal_path!r} is not the name of a dataset")
    return text

"""Region of a result to export: ``--cutout_subregion`` and the region stored in a project.

A region may be written in three ways, distinguished by the number of entries.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from ...box import Box
from ...frozen import frozen
from ..axes import CANONICAL, box_to_canonical
from ..errors import ExportError, Setting, UsageError, setting

__all__ = ["Cutout", "describe_region", "parse_list", "parse_region", "resolve_region"]

CUTOUT = setting("cutout_subregion")


@frozen
class Cutout:
    """A region as written. None means the beginning or the end of an axis.

    origin   source of the region for messages: the option, or the project
    """

    start: tuple[int | None, ...]
    stop: tuple[int | None, ...]
    origin: Setting | str = CUTOUT


def parse_list(text: str, option: Setting) -> list[Any]:
    """A list as the export options take it: JSON in which ``( )`` and ``None`` may be used. Raises UsageError."""
    literal = re.sub(r"\bNone\b", "null", text.replace("(", "[").replace(")", "]"))

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a number")

    try:
        value = json.loads(literal, parse_constant=refuse)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, list):
        raise UsageError(
            f"{option}: expected a list encoded as a string, e.g. '[0, 1]' or '(0, 255)', but got {text!r}"
        )
    return value


def parse_region(text: str, option: Setting = CUTOUT) -> Cutout:
    """``[(0,0,0),(50,100,None)]`` as a Cutout. Raises UsageError, or ExportError for a list of the wrong shape."""
    corners = parse_list(text, option)
    example = "e.g. '[(0,0,0), (50,100,1)]'"
    if len(corners) != 2 or not all(isinstance(corner, list) for corner in corners):
        raise ExportError(f"{option} must include separate start and stop tuples, {example}, but it is {text!r}")
    for entry in corners[0] + corners[1]:
        if entry is not None and (isinstance(entry, bool) or not isinstance(entry, int)):
            raise UsageError(f"{option}: {entry!r} is not a position; use whole numbers or None, {example}")
    start, stop = corners
    if len(start) != len(stop):
        raise ExportError(
            f"{option} start and stop coordinates must have the same dimensionality, "
            f"but there are {len(start)} and {len(stop)}"
        )
    if 0 in stop:
        raise UsageError(f"{option}: a stop of 0 leaves nothing; use None for the end of the axis")
    return Cutout(tuple(start), tuple(stop), option)


def resolve_region(
    cutout: Cutout | None, *, pipeline_axes: str, file_axes: str, shape: Sequence[int]
) -> tuple[Box, str, tuple[str, ...]]:
    """Resolve a region to the canonical box to export, a description of its interpretation, and warnings.

    pipeline_axes   internal order of the image, with c
    file_axes       the input's axes in file order, with or without c
    shape           canonical (t, z, y, x, c) shape of the whole result
    A negative stop counts from the end. A region is clipped to the image with a warning. Raises ExportError.
    """
    if cutout is None:
        return Box.whole(shape), "whole image", ()
    axes, reading = _choose_reading(cutout, pipeline_axes, file_axes)
    extents = dict(zip(CANONICAL, shape, strict=True))
    starts, stops, is_clipped = [], [], False
    for axis, first, last in zip(axes, cutout.start, cutout.stop, strict=True):
        extent = extents[axis]
        begin = 0 if first is None else first
        end = extent if last is None else last + extent if last < 0 else last
        is_clipped |= begin < 0 or end > extent
        begin, end = max(0, begin), min(extent, end)
        if begin >= end:
            raise ExportError(
                f"{cutout.origin} is empty along {axis}: from {first} to {last}, "
                f"but the result has {extent} there (read as {reading})"
            )
        starts.append(begin)
        stops.append(end)
    given = box_to_canonical(Box(tuple(starts), tuple(stops)), axes)
    box = Box(given.start, tuple(b if a in axes else extents[a] for a, b in zip(CANONICAL, given.stop, strict=True)))
    warnings: tuple[str, ...] = ()
    if is_clipped:
        warnings = (
            f"{cutout.origin} exceeds the result, whose size is "
            f"{', '.join(f'{a}={extents[a]}' for a in axes)}; exporting {describe_region(box, axes)}",
        )
    return box, reading, warnings


def _choose_reading(cutout: Cutout, pipeline_axes: str, file_axes: str) -> tuple[str, str]:
    count = len(cutout.start)
    with_channels = file_axes if "c" in file_axes else f"{file_axes}c"
    readings = (
        (pipeline_axes, f"pipeline order {pipeline_axes}"),
        (with_channels, f"order of the input file {with_channels}"),
        (file_axes, f"order of the input file {file_axes}"),
        (CANONICAL, f"all five axes {CANONICAL}"),
    )
    for axes, text in readings:
        if len(axes) == count:
            return axes, text
    orders = ", ".join(dict.fromkeys(f"{len(axes)} ({axes})" for axes, _ in readings))
    raise ExportError(f"{cutout.origin} has {count} entries per corner, but this image needs one of: {orders}")


def describe_region(box: Box, axes: str) -> str:
    """Format a canonical box as ``y 10:50, x 20:100``, for the log."""
    index = [CANONICAL.index(a) for a in axes]
    return ", ".join(f"{a} {box.start[i]}:{box.stop[i]}" for a, i in zip(axes, index, strict=True))

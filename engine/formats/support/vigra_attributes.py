"""Attributes of HDF5 and N5 datasets in ilastik's format: axes, units, pixel sizes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping

import numpy as np

from ....frozen import frozen
from ...axes import axes_from_axistags, default_axes, is_axis_order

__all__ = ["FileAxes", "read_axes", "read_resolution", "read_units", "text_of"]


@frozen
class FileAxes:
    """Axes of a dataset according to its attributes.

    letters  in file order; where no attribute tells, guessed from the shape
    is_own   True if an attribute tells
    problem  defect of the attribute that should tell, else ""
    """

    letters: str
    is_own: bool
    problem: str = ""


def read_axes(attributes: Mapping[str, object], shape: tuple[int, ...]) -> FileAxes:
    """Read the axes from the attribute axistags, else from a reversed ``axes``, else guess from the shape."""
    tags = text_of(attributes.get("axistags"))
    if tags is not None and "?" not in tags:
        try:
            axes = axes_from_axistags(tags)
        except ValueError as error:
            return FileAxes(default_axes(shape), False, f"its attribute axistags is {error}")
        if len(axes) != len(shape) or not is_axis_order(axes):
            return FileAxes(default_axes(shape), False, f"its axistags say {axes[:40]!r}, but the shape is {shape}")
        return FileAxes(axes, True)
    stored = attributes.get("axes")
    if stored is not None:
        letters = [text_of(a) or "?" for a in np.ravel(np.asarray(stored, dtype=object))]
        axes = (letters[0] if len(letters) == 1 else "".join(letters))[::-1].lower()
        if len(axes) == len(shape) and is_axis_order(axes):
            return FileAxes(axes, True)
    return FileAxes(default_axes(shape), False)


def read_units(text: str | None, axes: str) -> dict[str, str]:
    """Parse the attribute axis_units: axis letter -> unit."""
    with contextlib.suppress(ValueError, AttributeError, RecursionError):
        return {a: u for a, u in json.loads(text or "{}").items() if a in axes and isinstance(u, str)}
    return {}


def read_resolution(axistags: str | None, axes: str) -> dict[str, float]:
    """Parse known pixel sizes of an axistags text: axis letter -> pixel size."""
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sizes = {tag["key"]: float(tag.get("resolution", 0)) for tag in json.loads(axistags or "{}")["axes"]}
        return {a: n for a, n in sizes.items() if a in axes and 0 < n < float("inf")}
    return {}


def text_of(value: object) -> str | None:
    """Convert a string attribute of any type that HDF5 files use to str; None if it is something else."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return str(value) if isinstance(value, str) else None

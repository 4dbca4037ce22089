"""Labels from a table of points: ``x,y[,z][,t],class``, a row for each point.

Coordinates count voxels, and 0 is the first voxel; they are rounded to the nearest one, halves down. QuPath counts from
the corner of the first pixel, so that the centres of its pixels end in .5: rounded down, they are that pixel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, isfinite
from pathlib import Path

import numpy as np

from ...frozen import frozen
from ..errors import InputMismatch, setting
from ..formats.support.delimited_text import SUFFIXES, open_delimited
from ..project.annotations import ERASER, MAX_LABEL

_AXES = "tzyx"
_CLASS = "class"


@frozen(eq=False)
class LabelPoints:
    """Points of a table, in its order; each labels another voxel.

    places  (n, 4) voxels (t, z, y, x)
    labels  (n,) uint8, from 1
    rows    (n,) row of the table, whose header is row 1
    """

    places: np.ndarray
    labels: np.ndarray
    rows: np.ndarray


def is_point_table(argument: str) -> bool:
    """Return True if an argument names a table of points rather than an image."""
    return argument.lower().endswith(SUFFIXES)


def read_points(path: Path, shape: Sequence[int], classes: Sequence[str], *, fits: str) -> LabelPoints:
    """Read a table of points.

    Parameters
    ----------
    path
        Text with a header; columns may have any order, and others are ignored. ``z`` and ``t`` may be missing if the
        image has one slice or time point.
    shape
        Size (t, z, y, x) of the image that is labelled.
    classes
        Names of the classes 1, 2, …; the column ``class`` has their names or numbers. Empty: numbers only.
    fits
        Name of the image, for messages.

    Returns
    -------
    LabelPoints
        The points. A voxel that several rows give the same class is in it once.

    Raises
    ------
    InputError, InputNotFound
        If the table cannot be read.
    InputMismatch
        If a column is missing, or a row is no point of the image or has an unknown class, or two rows give one voxel
        different classes.
    """
    known = {name: number for number, name in enumerate(classes, 1)}
    found: dict[tuple[int, ...], tuple[int, int]] = {}
    with open_delimited(path) as (names, rows):
        columns = _find_columns(path, names, shape, fits)
        for row, fields in rows:
            where = f"{path}, row {row}"
            place = tuple(
                _coordinate(fields[columns[axis]], axis, size, f"{where}: {axis}", fits) if axis in columns else 0
                for axis, size in zip(_AXES, shape, strict=True)
            )
            text = fields[columns[_CLASS]].strip()
            label = _label(text, known, where)
            earlier = found.setdefault(place, (label, row))
            if earlier[0] != label:
                raise InputMismatch(
                    f"{where}: the voxel at {_text(place)} has the class {text}, and another one in row {earlier[1]}; "
                    "remove one of the two"
                )
    labels, numbers = zip(*found.values(), strict=True) if found else ((), ())
    places = np.array(list(found), np.int64).reshape(-1, len(_AXES))
    return LabelPoints(places, np.array(labels, np.uint8), np.array(numbers, np.int64))


def _find_columns(path: Path, names: Sequence[str], shape: Sequence[int], fits: str) -> Mapping[str, int]:
    """Find the columns of the axes and of the class; case does not matter."""
    lower = [name.lower() for name in names]
    for name in (*_AXES, _CLASS):
        if lower.count(name) > 1:
            raise InputMismatch(f"{path}: there are {lower.count(name)} columns {name}; keep one")
    columns = {name: lower.index(name) for name in (*_AXES, _CLASS) if name in lower}
    for name in ("x", "y", _CLASS):
        if name not in columns:
            raise InputMismatch(
                f"{path} has no column {name}, only {', '.join(names) or 'none'}; its first row names the columns: "
                f"x, y, {_CLASS}, and z and t if the image has several slices or time points"
            )
    for axis, size in zip(_AXES, shape, strict=True):
        if axis not in columns and size > 1:
            raise InputMismatch(f"{path} has no column {axis}, but {fits} has the size {axis}={size}; add that column")
    return columns


def _coordinate(text: str, axis: str, size: int, where: str, fits: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise InputMismatch(f"{where} is {text.strip()!r}, not a number")
    voxel = ceil(value - 0.5)
    if not 0 <= voxel < size:
        raise InputMismatch(f"{where} is {text.strip()}, outside of {fits}, where {axis} goes from 0 to {size - 1}")
    return voxel


def _label(text: str, known: Mapping[str, int], where: str) -> int:
    """Label of a class, by its name or number."""
    if text in known:
        return known[text]
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if known and not 1 <= number <= len(known):
        raise InputMismatch(
            f"{where}: there is no class {text!r}; the classes are {', '.join(known)}, with numbers from 1"
        )
    if not 1 <= number <= MAX_LABEL or number == ERASER:
        raise InputMismatch(
            f"{where}: the class {text!r} is not a number from 1 to {MAX_LABEL} other than {ERASER}; for names, list "
            f"them with {setting('classes')}"
        )
    return number


def _text(place: Sequence[int]) -> str:
    return ", ".join(f"{axis}={n}" for axis, n in zip(_AXES, place, strict=True))

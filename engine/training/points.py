"""Labels from a table of points, ``x,y[,z][,t],class``, or of objects, ``object[,t],class``; a row for each.

Coordinates count voxels, and 0 is the first voxel; x, y and z are rounded to the nearest one, halves down. QuPath
counts from the corner of the first pixel, so that the centres of its pixels end in .5: rounded down, they are that
pixel. napari numbers the axes instead: ``index,axis-0,axis-1[,…],label`` has those of its image, in their order.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import ceil, isfinite, nan
from pathlib import Path

import numpy as np

from ...frozen import frozen
from ..errors import InputMismatch, setting
from ..formats.support.delimited_text import SUFFIXES, open_delimited
from ..project.annotations import ERASER, MAX_LABEL

_AXES = "tzyx"
_CLASS = "class"
_NAPARI, _NAPARI_CLASS = "axis-0", "label"  # names of a column that only napari has, and of a common property
OBJECT_IDS = ("object", "labelimage_oid")  # the user's own name, and that of object tables


@frozen(eq=False)
class LabelPoints:
    """Points or objects of a table, in its order; each labels another voxel or object.

    places  (n, 4) voxels (t, z, y, x), or (n, 2) objects (t, id)
    labels  (n,) uint8, from 1
    rows    (n,) row of the table, whose header is row 1
    """

    places: np.ndarray
    labels: np.ndarray
    rows: np.ndarray


def is_point_table(argument: str) -> bool:
    """Return True if an argument names a table of points rather than an image."""
    return argument.lower().endswith(SUFFIXES)


def read_points(
    path: Path, shape: Sequence[int], classes: Sequence[str], *, fits: str, axes: str = _AXES
) -> LabelPoints:
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
    axes
        Axes of the image in the order of its file, which napari's tables number.

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
    return _read(path, dict(zip(_AXES, shape, strict=True)), ("x", "y"), classes, fits, axes)


def find_ids(path: Path) -> str | None:
    """Find the column of a table that has ids of objects, by its name in lower case; None: it is a table of points.

    Raises InputError, InputNotFound.
    """
    with open_delimited(path) as (names, _):
        return next((name for name in OBJECT_IDS if name in [each.lower() for each in names]), None)


def read_objects(path: Path, column: str, times: int, classes: Sequence[str], *, fits: str) -> LabelPoints:
    """Read a table of objects: ids from ``column``, classes, and the columns ``t`` or ``timestep`` if ``times`` > 1.

    Rows without a class are left out, since tables of objects name all of them. See ``read_points``.
    """
    return _read(path, {"t": times, column: 1 << 32}, (column,), classes, fits, may_lack_class=True)


def _read(
    path: Path,
    sizes: Mapping[str, int],
    required: Sequence[str],
    classes: Sequence[str],
    fits: str,
    axes: str = "",
    *,
    may_lack_class: bool = False,
) -> LabelPoints:
    """Read the columns of axes, by name, and of the class."""
    known = {name: number for number, name in enumerate(classes, 1)}
    found: dict[tuple[int, ...], tuple[int, int]] = {}
    with open_delimited(path) as (names, rows):
        is_napari = _NAPARI in names and bool(axes)
        columns = _find_columns(
            path, _name_axes(path, names, axes, fits) if is_napari else names, sizes, required, fits
        )
        for row, fields in rows:
            where = f"{path}, row {row}"
            place = tuple(
                _coordinate(fields[columns[axis]], axis, size, f"{where}: {axis}", fits) if axis in columns else 0
                for axis, size in sizes.items()
            )
            text = fields[columns[_CLASS]].strip()
            if is_napari and text not in known:
                text = text.removesuffix(".0")  # napari writes all columns in one type
            if not text and may_lack_class:
                continue
            label = _label(text, known, where)
            earlier = found.setdefault(place, (label, row))
            if earlier[0] != label:
                raise InputMismatch(
                    f"{where}: {_text(sizes, place)} has the class {text}, and another one in row {earlier[1]}; "
                    "remove one of the two"
                )
    labels, numbers = zip(*found.values(), strict=True) if found else ((), ())
    places = np.array(list(found), np.int64).reshape(-1, len(sizes))
    return LabelPoints(places, np.array(labels, np.uint8), np.array(numbers, np.int64))


def _name_axes(path: Path, names: Sequence[str], axes: str, fits: str) -> Sequence[str]:
    """Name the columns of a table of napari by the axes of the image. Raises InputMismatch."""
    count = sum(name.startswith(_NAPARI[:-1]) for name in names)
    shown = axes if count == len(axes) else axes.replace("c", "")  # channels are colors, or an axis
    if count != len(shown):
        raise InputMismatch(
            f"{path} has {count} axes, but {fits} has {len(shown)}, {', '.join(shown)}; add the points to a layer "
            "with as many axes as the image"
        )
    own = {f"{_NAPARI[:-1]}{k}": axis for k, axis in enumerate(shown)}
    if _CLASS not in names and _NAPARI_CLASS not in names:
        raise InputMismatch(
            f"{path} has no column {_CLASS} or {_NAPARI_CLASS}, only {', '.join(names)}; give the points a property of "
            "that name in napari"
        )
    if _CLASS not in names:
        own[_NAPARI_CLASS] = _CLASS
    return [own.get(name, name) for name in names]


def _find_columns(
    path: Path, names: Sequence[str], sizes: Mapping[str, int], required: Sequence[str], fits: str
) -> Mapping[str, int]:
    """Find the columns of the axes and of the class; case does not matter."""
    lower = ["t" if name.lower() == "timestep" else name.lower() for name in names]
    for name in (*sizes, _CLASS):
        if lower.count(name) > 1:
            raise InputMismatch(f"{path}: there are {lower.count(name)} columns {name}; keep one")
    columns = {name: lower.index(name) for name in (*sizes, _CLASS) if name in lower}
    for name in (*required, _CLASS):
        if name not in columns:
            raise InputMismatch(
                f"{path} has no column {name}, only {', '.join(names) or 'none'}; its first row names the columns: "
                f"{', '.join(required)}, {_CLASS}, and z and t if the image has several slices or time points"
            )
    for axis, size in sizes.items():
        if axis not in columns and size > 1:
            raise InputMismatch(f"{path} has no column {axis}, but {fits} has the size {axis}={size}; add that column")
    return columns


def _coordinate(text: str, axis: str, size: int, where: str, fits: str) -> int:
    try:
        value = float(text) if "_" not in text else nan  # 1_2 is a number of Python only
    except ValueError:
        value = nan
    if not isfinite(value):
        raise InputMismatch(f"{where} is {text.strip()!r}, not a number")
    if axis not in "zyx" and not value.is_integer():
        raise InputMismatch(f"{where} is {text.strip()}, not an integer")
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


def _text(axes: Collection[str], place: Sequence[int]) -> str:
    at = ", ".join(f"{axis}={n}" for axis, n in zip(axes, place, strict=True))
    return f"the voxel at {at}" if "x" in axes else at

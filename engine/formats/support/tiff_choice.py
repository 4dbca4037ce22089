"""The series and the level of a TIFF that an internal path names, and the main series of a whole slide.

Names of series are those that tifffile finds for each kind of slide, such as Baseline, Thumbnail, Label and Macro.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ....frozen import frozen
from ...errors import InputError, InputNotFound, damaged_input
from .image_names import name_images
from .tiff_series import list_series, read_series_axes

__all__ = ["Choice", "choose_series", "series_names"]

# Kinds of series whose first one is the main image; the others are its thumbnail, label and the like.
_MAIN_IS_FIRST = ("svs", "qpi", "philips", "lsm", "ndpi")
_SLIDES = (*_MAIN_IS_FIRST, "scn")
_MAX_NAMED = 12  # in a message


@frozen
class Choice:
    """One level of a series.

    level      tifffile's series of the level; ``number``: its position among ``levels``, the largest first
    index      position of the series among ``names``
    is_slide   True for the series of a whole slide
    """

    level: Any
    number: int
    levels: tuple[Any, ...]
    index: int
    names: tuple[str, ...]
    is_slide: bool

    @property
    def factors(self) -> dict[str, float]:
        """Size of a pixel of the level in pixels of the largest one, by axis letter."""
        sizes = [_sizes(each) for each in (self.levels[0], self.level)]
        return {a: sizes[0][a] / sizes[1][a] for a in "yx" if sizes[0].get(a) and sizes[1].get(a)}


def series_names(tiff: Any) -> tuple[str, ...]:
    """Name every series of an open tifffile.TiffFile; those without a name of their own by their number."""
    names = [str(series.name or "").strip().replace("/", "_") for series in list_series(tiff)]
    return name_images(names)


def choose_series(tiff: Any, internal: str, path: Path) -> Choice:
    """Choose the series and the level of an internal path: [name][/number of the level].

    Without a name it is the main series: the only one, that of a slide, or the only one of several resolutions that is
    larger than all others. Raises InputError that lists the series if none is meant; InputNotFound.
    """
    if tiff.is_bif:
        raise InputError(
            f"cannot read {path}: the tiles of BIF slides overlap, and stitching them is not supported; convert it to "
            "OME-TIFF or OME-Zarr first, for example with bioformats2raw"
        )
    found, names = list_series(tiff), series_names(tiff)
    if not found:
        raise damaged_input(path, "the TIFF file holds no image")
    index: int | None = None
    rest = internal.strip("/")
    for i, name in enumerate(names):
        for each in (name, f"series{i}"):
            if index is None and (rest == each or rest.startswith(f"{each}/")):
                index, rest = i, rest[len(each) :].strip("/")
    if index is None:
        index = _main_series(found)
    if rest and not rest.isdecimal():
        raise InputNotFound(f"there is no image {internal!r} in {path}; it has: {_list(found, names)}")
    if index is None:
        example = f"{path.name}/{names[0]}"
        raise InputError(
            f"cannot read {path}: it holds {len(found)} images, and none is the main one; name one, as in {example}. "
            f"It has: {_list(found, names)}"
        )
    levels, number = tuple(found[index].levels), int(rest or 0)
    if number >= len(levels):
        sizes = ", ".join(f"{i} ({_shown(level)})" for i, level in enumerate(levels))
        raise InputNotFound(f"there is no level {number} in {path}; it has: {sizes}")
    return Choice(levels[number], number, levels, index, names, found[index].kind in _SLIDES)


def _main_series(found: Sequence[Any]) -> int | None:
    if len(found) == 1 or found[0].kind in _MAIN_IS_FIRST:
        return 0
    able = [i for i, series in enumerate(found) if len(series.levels) > 1 or series.kind == "scn"]
    areas = [_area(found[i]) for i in able]
    largest = [i for i, area in zip(able, areas, strict=True) if area == max(areas)]
    return largest[0] if len(largest) == 1 and areas[able.index(largest[0])] >= max(map(_area, found)) else None


def _sizes(series: Any) -> dict[str, int]:
    axes = read_series_axes(series)
    return dict(zip(axes.axes.lower(), axes.shape, strict=True))


def _area(series: Any) -> int:
    sizes = _sizes(series)
    return sizes.get("y", 1) * sizes.get("x", 1)


def _shown(series: Any) -> str:
    return " x ".join(map(str, read_series_axes(series).shape))


def _list(found: Sequence[Any], names: Sequence[str]) -> str:
    shown = [f"{name} ({_shown(series)})" for name, series in zip(names[:_MAX_NAMED], found, strict=False)]
    return ", ".join(shown) + (f" and {len(found) - _MAX_NAMED} more" if len(found) > _MAX_NAMED else "")

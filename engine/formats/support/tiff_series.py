"""Series of a TIFF, their axes and the grid of their strips or tiles, by the same rules for all versions of tifffile.

Up to 2026.4 tifffile drops axes of length 1 and keeps the whole shape as well; from 2026.5 on it is asked for series
with all axes. The axes that the image keeps are decided here: those that ilastik sees.
"""

from __future__ import annotations

import math
from typing import Any

from ....box import Box
from ....frozen import frozen

__all__ = ["PageGrid", "SeriesAxes", "list_series", "read_series_axes"]

_KEPT_AXES = "XY"  # also with length 1
_KEPT_KIND = "shaped"  # tifffile's own metadata: the shape of the array that was written, kept as it is


@frozen
class SeriesAxes:
    """Axes of a series in tifffile's letters.

    stored_shape, stored_axes  all axes, those of length 1 included
    kept                       positions of those that the image has
    """

    stored_shape: tuple[int, ...]
    stored_axes: str
    kept: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image."""
        return tuple(self.stored_shape[i] for i in self.kept)

    @property
    def axes(self) -> str:
        """Axes of the image."""
        return "".join(self.stored_axes[i] for i in self.kept)


def list_series(tiff: Any) -> list[Any]:
    """All series of an open tifffile.TiffFile, with all their axes where tifffile lets one choose."""
    series = tiff.series
    return list(series(squeeze=False) if callable(series) else series)


def read_series_axes(series: Any) -> SeriesAxes:
    """Return the axes of a series; those of length 1 are no part of the image, except y, x and in shaped series."""
    has_both = hasattr(series, "get_shape")  # tifffile before 2026.5
    shape: tuple[int, ...] = tuple(series.get_shape(False) if has_both else series.shape)
    axes: str = series.get_axes(False) if has_both else series.axes
    everything = tuple(range(len(shape)))
    if series.kind == _KEPT_KIND:
        return SeriesAxes(shape, axes, everything)
    kept = tuple(i for i in everything if shape[i] > 1 or axes[i] in _KEPT_AXES)
    return SeriesAxes(shape, axes, kept or everything[-1:])


class PageGrid:
    """Mapping of the voxels of a series of ``count`` pages to pages, and in these to strips or tiles.

    shape      all axes of the series, those of length 1 included
    page_shape the last of them, those within a page; the first ``lead`` axes number the pages
    segment    shape of a strip or tile as (separate sample, depth, length, width, sample)
    grid       strips or tiles of a page along the first four of these; grid_strides: increment of their number per step
    chunks     the same unit in the axes of the series
    is_regular False if the pages do not form the series in this way
    """

    def __init__(self, series: Any, series_axes: SeriesAxes, count: int) -> None:
        page = series.keyframe
        self.shape, axes, self._kept = series_axes.stored_shape, series_axes.stored_axes, series_axes.kept
        self.page_shape, self._page_axes = page.shape, page.axes
        # a trailing sample axis of length 1 is added to the series, not to the page
        if axes.endswith("S") and self.shape[-1] == 1 and not page.axes.endswith("S"):
            self.page_shape, self._page_axes = (*page.shape, 1), page.axes + "S"
        self.lead = len(self.shape) - len(self.page_shape)
        self._places = [{"Z": 1, "Y": 2, "X": 3}.get(a, 4 if i else 0) for i, a in enumerate(self._page_axes)]
        self.is_regular = (
            series.transform is None
            and self.lead >= 0
            and self.shape[self.lead :] == self.page_shape
            and math.prod(self.shape[: self.lead]) == count
            and set(self._page_axes) <= set("ZYXS")
        )
        _, _, length, width, samples = page.shaped
        if page.is_tiled:
            self.segment = (1, page.tiledepth, page.tilelength, page.tilewidth, samples)
        else:
            self.segment = (1, 1, min(page.rowsperstrip, length), width, samples)
        self.grid = tuple(-(-n // s) for n, s in zip(page.shaped[:4], self.segment[:4], strict=True))
        self.grid_strides = tuple(math.prod(self.grid[i + 1 :]) for i in range(4))
        unit = [1] * self.lead + [min(self.segment[p], page.shaped[p]) for p in self._places]
        self.chunks = tuple(unit[i] for i in self._kept) if self.is_regular else None

    def expand(self, box: Box) -> Box:
        """Add the axes of length 1 to a box of the series."""
        start, stop = [0] * len(self.shape), [1] * len(self.shape)
        for i, a, b in zip(self._kept, box.start, box.stop, strict=True):
            start[i], stop[i] = a, b
        return Box(tuple(start), tuple(stop))

    def normalise(self, box: Box) -> Box:
        """Convert a box of a page to (separate sample, depth, length, width, sample)."""
        start, stop = [0] * 5, [1] * 5
        for place, a, b in zip(self._places, box.start, box.stop, strict=True):
            start[place], stop[place] = a, b
        return Box(tuple(start), tuple(stop))

"""Series of a TIFF and their axes, by the same rule for all versions of tifffile.

Up to 2026.4 tifffile drops axes of length 1 and keeps the whole shape as well; from 2026.5 on it is asked for series
with all axes. The axes that the image keeps are decided here: those that ilastik sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["SeriesAxes", "list_series", "read_series_axes"]

_KEPT_AXES = "XY"  # also with length 1
_KEPT_KIND = "shaped"  # tifffile's own metadata: the shape of the array that was written, kept as it is


@dataclass(frozen=True)
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

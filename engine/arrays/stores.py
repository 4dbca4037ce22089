"""OME-Zarr images as arrays: new ones that ``predict`` writes to, and the levels of existing ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ...box import Box
from ..axes import CANONICAL, box_from_canonical, canonical_shape, to_canonical
from ..formats import output_format
from ..formats.images.ome_zarr import OmeZarrReader
from ..formats.spec import ImageSpec, Scales
from .results import ResultPlan

FORMAT = "multi-scale OME-Zarr"


class OmeZarrTarget:
    """Array for ``out`` of ``predict`` that becomes an OME-Zarr image with smaller copies.

    shape, dtype  of the result
    chunks        shape of the parts that are written at once

    Raises ExportError, also from ``finish``, if the image cannot be written, or exists and may not be replaced.
    """

    def __init__(
        self,
        path: Path,
        plan: ResultPlan,
        *,
        resolution: Mapping[str, float],
        units: Mapping[str, str],
        translation: Mapping[str, float],
        may_replace: bool = False,
    ) -> None:
        """Start an image.

        Parameters
        ----------
        path
            Folder of the image, which appears when it is finished.
        plan
            Plan of the result.
        resolution, units, translation
            Axis letter -> size of a voxel, name of its unit, and position of the first voxel.
        may_replace
            True if an existing image is replaced.
        """
        sizes = dict(zip(plan.axes, plan.shape, strict=True))
        spec = ImageSpec(
            shape=plan.shape,
            dtype=plan.dtype,
            axes=plan.axes,
            offset=(0,) * len(plan.axes),
            axis_units={letter: unit for letter, unit in units.items() if letter in sizes},
            resolution={letter: size for letter, size in resolution.items() if letter in sizes},
            is_labels=plan.info.is_labels,
            scales=Scales("", {"": sizes}, translation) if translation else None,
            may_replace=may_replace,
        )
        chosen = output_format(FORMAT)
        chosen.check_place(path, "", spec)
        self._writer = chosen.open(path, "", spec)
        self.shape, self.dtype, self.chunks = plan.shape, plan.dtype, self._writer.chunks

    def __setitem__(self, place: tuple[slice, ...], values: np.ndarray) -> None:
        starts, stops = (tuple(getattr(each, end) for each in place) for end in ("start", "stop"))
        self._writer.write(Box(starts, stops), values)

    def finish(self) -> Path:
        """Complete the image under its final name, which is returned."""
        return self._writer.finish()[0]

    def abort(self) -> None:
        """Remove everything temporary. Never raises."""
        self._writer.abort()


class StoredLevel:
    """Level of an OME-Zarr image as an array with the axes t, z, y, x, c, which are all there.

    shape, dtype, ndim  of the array
    chunks              of the store, in the same order
    """

    ndim = len(CANONICAL)

    def __init__(self, path: Path, name: str = "") -> None:
        """Open a level by its name; "": the largest. Raises InputError."""
        self._reader = OmeZarrReader(path, name)
        info = self._reader.info
        self.shape, self.dtype = canonical_shape(info.shape, info.axes), info.dtype
        self.chunks = canonical_shape(info.chunks or info.shape, info.axes)
        self.names = () if info.scales is None else tuple(info.scales.shapes)

    def __getitem__(self, place: tuple[slice | int, ...]) -> np.ndarray:
        """Read a part; axes of single positions are left out."""
        ends = [
            each.indices(size)[:2] if isinstance(each, slice) else (each, each + 1)
            for each, size in zip(place, self.shape, strict=True)
        ]
        axes = self._reader.info.axes
        box = box_from_canonical(Box(tuple(start for start, _ in ends), tuple(stop for _, stop in ends)), axes)
        values = to_canonical(self._reader.read(box), axes)
        part: np.ndarray = values[tuple(slice(None) if isinstance(each, slice) else 0 for each in place)]
        return part


def open_levels(path: Path) -> list[StoredLevel]:
    """Open all levels of an image, the largest first. Raises InputError."""
    largest = StoredLevel(path)
    return [largest, *(StoredLevel(path, name) for name in largest.names[1:])]

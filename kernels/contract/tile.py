"""Tile to be computed, in one stage or two, and the tile sizes that a backend prefers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Generic, TypeVar

import numpy as np

from ...frozen import frozen
from .results import ResultPlan

Voxels = tuple[int, int, int]

Plan = TypeVar("Plan")
Forest = TypeVar("Forest")
OtherPlan = TypeVar("OtherPlan")
OtherForest = TypeVar("OtherForest")


def as_voxels(position: Iterable[int]) -> Voxels:
    """Return numbers along z, y, x, of any integer type, as Python integers."""
    z, y, x = (int(n) for n in position)
    return z, y, x


@frozen(eq=False)
class TileJob(Generic[Plan, Forest]):
    """One tile of an image with the results to compute.

    Attributes
    ----------
    source
        (c, z, y, x) of any real dtype: the tile with its halo. Or a StagedSource.
    start
        Position of the source's first voxel in the image.
    tile
        First and last + 1 voxel along (z, y, x).
    image
        Size of the whole image along (z, y, x).
    active
        (z, y, x) bool, the mask. Other voxels get probability 0 before results are derived. None: all are active.
    plan
        From ``PixelBackend.load_plan``.
    forest
        From ``PixelBackend.load_forest``.
    results
        Results to compute, in order.
    targets
        For ``ArrayBackend.write_results`` only: a (z, y, x, c) array for each result, which it is written into. Source
        and targets are arrays on a device then, and ``active`` is a mask (z, y, x, c) of any type on it: voxels are
        active where a channel is above 0.
    """

    source: Any
    start: Voxels
    tile: tuple[Voxels, Voxels]
    image: Voxels
    active: Any
    plan: Plan
    forest: Forest
    results: ResultPlan
    targets: tuple[Any, ...] = ()

    @property
    def extent(self) -> Voxels:
        """Size of the tile along (z, y, x) in voxels."""
        (z, y, x), (z_stop, y_stop, x_stop) = self.tile
        return z_stop - z, y_stop - y, x_stop - x

    @property
    def voxels(self) -> int:
        """Number of voxels of the tile."""
        z, y, x = self.extent
        return z * y * x

    @property
    def wants_classes(self) -> bool:
        """True if a result depends on class probabilities."""
        return any(wanted.result != "features" for wanted in self.results.wanted)

    @property
    def wants_features(self) -> bool:
        """True if the feature stack itself is a result."""
        return any(wanted.result == "features" for wanted in self.results.wanted)

    @property
    def is_masked_out(self) -> bool:
        """True if no voxel of the tile is active."""
        return self.active is not None and not bool(self.active.any())

    def halves(self, halo: Voxels) -> tuple[int, TileJob[Plan, Forest], TileJob[Plan, Forest]]:
        """Split the tile in two along its longest axis.

        Parameters
        ----------
        halo
            Halo that the source of a tile needs, see ``PixelBackend.source_halo``.

        Returns
        -------
        tuple
            The axis, and the two jobs, each with the part of the source that it needs.
        """
        axis = max(range(3), key=lambda i: self.extent[i])
        middle = self.tile[0][axis] + self.extent[axis] // 2
        first, stop = self.tile
        lower = self._part(first, _put(stop, axis, middle), halo)
        return axis, lower, self._part(_put(first, axis, middle), stop, halo)

    def loaded_as(self, plan: OtherPlan, forest: OtherForest) -> TileJob[OtherPlan, OtherForest]:
        """Return the same job with plan and forest as loaded by another backend."""
        return TileJob(self.source, self.start, self.tile, self.image, self.active, plan, forest, self.results)

    def _part(self, first: Voxels, stop: Voxels, halo: Voxels) -> TileJob[Plan, Forest]:
        low = tuple(max(a - m, 0) for a, m in zip(first, halo, strict=True))
        high = tuple(min(b + m, n) for b, m, n in zip(stop, halo, self.image, strict=True))
        source = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, self.start, strict=True))
        inside = tuple(slice(a - f, b - f) for a, b, f in zip(first, stop, self.tile[0], strict=True))
        is_staged = isinstance(self.source, StagedSource)
        return replace(
            self,
            source=self.source.part(as_voxels(low), as_voxels(high))
            if is_staged
            else self.source[(slice(None), *source)],
            start=as_voxels(low),
            tile=(first, stop),
            active=None if self.active is None else self.active[inside],
            targets=tuple(target[inside] for target in self.targets),
        )


@frozen(eq=False)
class StagedSource:
    """Source of a tile of a second stage: the channels of the image, then the first stage's probabilities.

    The probabilities are converted to the type of the image as ``as_raw_type`` in ``shared/stages.py`` defines.

    Attributes
    ----------
    job
        First stage of the box that the source covers; wants all probabilities, unconverted, and has no mask. Its source
        holds this box with the halo of the first stage.
    halo
        Halo of the first stage, see ``PixelBackend.source_halo``.
    dtype
        Type of the image.
    """

    job: TileJob[Any, Any]
    halo: Voxels
    dtype: np.dtype

    def part(self, first: Voxels, stop: Voxels) -> StagedSource:
        """Return the source of a smaller box of the image."""
        return replace(self, job=self.job._part(first, stop, self.halo))


@frozen
class TilePreference:
    """Tile sizes that suit a backend, in voxels along z, y, x.

    Attributes
    ----------
    largest
        Maximum size.
    smallest
        Tiles are not cut below this size to occupy more threads.
    at_once
        Number of tiles processed at the same time.
    readers
        Number of threads that read tiles.
    """

    largest: Voxels
    smallest: Voxels
    at_once: int
    readers: int = 1


def _put(position: Voxels, axis: int, value: int) -> Voxels:
    z, y, x = (value if i == axis else n for i, n in enumerate(position))
    return z, y, x

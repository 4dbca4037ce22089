"""Tiles of one lane: what they share, as a value, and what a process opens once to compute any of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ...box import Box
from ...frozen import frozen
from ...kernels.contract import Backend, TilePreference, TileResult, Voxels
from ..inputs.images import InputImage
from ..project import Project
from ..project.pixel_project import MASK, RAW
from ..tiling.halo import source_box
from .classify import RawKind, ResultRequest, finish_labels

if TYPE_CHECKING:
    from .annotations import Annotations

TileSource = tuple[np.ndarray, np.ndarray | None]
"""Voxels of a tile with its halo, (z, y, x, c), and of its inside those that the prediction mask leaves; None: all."""


class TileClassifier(Protocol):
    """A project's classifiers loaded into a backend, for images of one kind. See classify.PixelClassifier."""

    def __hash__(self) -> int: ...  # a key of caches of plans
    @property
    def backend(self) -> Backend: ...
    @property
    def halo(self) -> Voxels: ...
    @property
    def nodes(self) -> int: ...
    def tile_bytes(self, tile: tuple[int, ...], source: tuple[int, ...]) -> int: ...
    def preferred_tiles(self, requests: Mapping[str, ResultRequest], threads: int) -> TilePreference | None: ...
    def seconds(self, tiles: Sequence[Box], names: Collection[str], threads: int) -> float | None: ...
    def results(
        self,
        tile: Box,
        source: np.ndarray,
        start: Voxels,
        active: np.ndarray | None,
        requests: Mapping[str, ResultRequest],
        *,
        on_unclassified: Callable[[int], None] | None = None,
    ) -> dict[str, TileResult]: ...


Prepare = Callable[[Any, Backend, RawKind], TileClassifier]
"""Loads the classifiers of a project into a backend for images of a kind. A function of a module, so it is pickled by
its name. Raises ProjectError."""


@frozen
class TileWork:
    """Work that the tiles of a lane share, as a value: it can be pickled, as references to the images can.

    requests     result -> its channels and conversion
    annotations  of the requested results that are labels, by their names
    is_masked    True if the prediction mask has an effect
    """

    project: Project
    prepare: Prepare
    requests: Mapping[str, ResultRequest]
    annotations: Mapping[str, Annotations]
    is_masked: bool

    def open(self, images: Mapping[str, InputImage], backend: Backend) -> OpenTiles:
        """Load the classifier for the opened images of the lane. Raises ProjectError."""
        raw = images[RAW]
        classifier = self.prepare(self.project, backend, RawKind.of(raw.shape, raw.dtype))
        return OpenTiles(self, classifier, raw, images.get(MASK) if self.is_masked else None)


@frozen
class ComputedTile:
    """Results of a tile by name, and the number of its voxels that have no class because a feature is no number."""

    results: Mapping[str, TileResult]
    unclassified: int


@frozen
class OpenTiles:
    """Tiles of a lane in a process that has opened its images; threads may read and compute at once."""

    work: TileWork
    classifier: TileClassifier
    raw: InputImage
    mask: InputImage | None

    def read(self, tile: Box) -> TileSource:
        """Read what a tile (t, z, y, x, c) of one time point is computed from. Raises InputError."""
        pixels = self.raw.read(self._source_box(tile))[0]
        return pixels, None if self.mask is None else _read_mask(self.mask, tile)

    def compute(self, tile: Box, source: TileSource) -> ComputedTile:
        """Compute the requested results of a tile."""
        pixels, active = source
        _, z, y, x, _ = self._source_box(tile).start
        inside, requests = Box(tile.start[1:4], tile.stop[1:4]), self.work.requests
        unclassified: list[int] = []
        results = self.classifier.results(
            inside, pixels, (z, y, x), active, requests, on_unclassified=unclassified.append
        )
        for name, drawn in self.work.annotations.items():
            results[name] = finish_labels(drawn.read(tile), requests[name])
        return ComputedTile(results, sum(unclassified))

    def _source_box(self, tile: Box) -> Box:
        return source_box(tile, (0, *self.classifier.halo, 0), self.raw.shape)


def _read_mask(mask: InputImage, tile: Box) -> np.ndarray:
    """Read the mask of a tile, (z, y, x) bool: True where any channel of the mask image is above 0."""
    values = mask.read(Box((*tile.start[:4], 0), (*tile.stop[:4], mask.shape[4])))[0]
    return np.asarray((values > 0).any(axis=-1))

"""Tiles of one lane: what they share, as a value, and what a process opens once to compute any of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ....box import Box
from ....frozen import frozen
from ....kernels.contract import Backend, TileResult
from ...inputs.images import InputImage
from ...pixels.classify import PixelClassifier, ResultRequest, finish_labels, prepare_classifier
from ...pixels.results import LABELS
from ...project import PixelProject
from ...project.pixel_project import MASK, RAW
from ...tiling.halo import source_box

if TYPE_CHECKING:
    from ...pixels.annotations import Annotations

TileSource = tuple[np.ndarray, np.ndarray | None]
"""Voxels of a tile with its halo, (z, y, x, c), and of its inside those that the prediction mask leaves; None: all."""


@frozen
class TileWork:
    """Work that the tiles of a lane share, as a value: it can be pickled, as references to the images can.

    requests     result -> its channels and conversion
    annotations  those of the image; None if labels are not requested
    """

    project: PixelProject
    requests: Mapping[str, ResultRequest]
    annotations: Annotations | None = None

    def open(self, images: Mapping[str, InputImage], backend: Backend) -> OpenTiles:
        """Load the classifier for the opened images of the lane. Raises ProjectError."""
        raw = images[RAW]
        _, z, y, x, channels = raw.shape
        classifier = prepare_classifier(self.project, backend, channels=channels, image=(z, y, x))
        return OpenTiles(self, classifier, raw, images.get(MASK))


@frozen
class ComputedTile:
    """Results of a tile by name, and the number of its voxels that have no class because a feature is no number."""

    results: Mapping[str, TileResult]
    unclassified: int


@frozen
class OpenTiles:
    """Tiles of a lane in a process that has opened its images; threads may read and compute at once."""

    work: TileWork
    classifier: PixelClassifier
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
        if self.work.annotations is not None:
            results[LABELS] = finish_labels(self.work.annotations.read(tile), requests[LABELS])
        return ComputedTile(results, sum(unclassified))

    def _source_box(self, tile: Box) -> Box:
        return source_box(tile, (0, *self.classifier.margin, 0), self.raw.shape)


def _read_mask(mask: InputImage, tile: Box) -> np.ndarray:
    """Read the mask of a tile, (z, y, x) bool: True where any channel of the mask image is above 0."""
    values = mask.read(Box((*tile.start[:4], 0), (*tile.stop[:4], mask.shape[4])))[0]
    return np.asarray((values > 0).any(axis=-1))

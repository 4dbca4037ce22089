"""What pixel classification can export: one row a result, with how it is made of a tile's probabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PixelResult:
    """A result of pixel classification, as ilastik's export source of that name.

    dtype         numpy name
    channels      (classes, feature columns) -> channels of the result
    make          probabilities (z, y, x, class) -> (z, y, x, channel); None where the result is not made of them
    display_mode  stored beside the data
    drange        stored data range in ``dtype``; None: the input image's own
    is_labels     True if values are numbers of classes
    """

    name: str
    dtype: str
    channels: Callable[[int, int], int]
    make: Callable[[np.ndarray], np.ndarray] | None
    display_mode: str = "grayscale"
    drange: tuple[float, float] | None = None
    is_labels: bool = False


def simple_segmentation(probabilities: np.ndarray) -> np.ndarray:
    """1 + the index of the most probable class, the lowest at a tie, uint8 (z, y, x, 1)."""
    return np.asarray((probabilities.argmax(axis=-1) + 1).astype(np.uint8)[..., np.newaxis])


def uncertainty(probabilities: np.ndarray) -> np.ndarray:
    """1 minus the lead of the most probable class over the second, float32 (z, y, x, 1); 0 for a single class."""
    classes = probabilities.shape[-1]
    if classes < 2:
        return np.zeros((*probabilities.shape[:-1], 1), np.float32)
    ordered = np.partition(probabilities, classes - 2, axis=-1) if classes > 2 else np.sort(probabilities, axis=-1)
    lead = ordered[..., -1] - ordered[..., -2]
    return (np.float32(1) - lead)[..., np.newaxis]


PROBABILITIES, FEATURES, LABELS = "Probabilities", "Features", "Labels"

# The segmentation's range is inherited from the probabilities, as in ilastik; it means nothing. A classified image
# carries no labels, so that result is zero everywhere.
RESULTS = (
    PixelResult(PROBABILITIES, "float32", lambda classes, columns: classes, lambda p: p, drange=(0.0, 1.0)),
    PixelResult(
        "Simple Segmentation", "uint8", lambda classes, columns: 1, simple_segmentation, drange=(0, 1), is_labels=True
    ),
    PixelResult("Uncertainty", "float32", lambda classes, columns: 1, uncertainty, drange=(0.0, 1.0)),
    PixelResult(FEATURES, "float32", lambda classes, columns: columns, None),
    PixelResult(
        LABELS, "uint8", lambda classes, columns: 1, None, display_mode="default", drange=(0, 255), is_labels=True
    ),
)


def spread_classes(probabilities: np.ndarray, known_labels: tuple[int, ...], classes: int) -> np.ndarray:
    """The forest's classes as the project's: (…, k) -> (…, classes), zero where the forest does not know a class."""
    if probabilities.shape[-1] == classes:
        return probabilities
    spread = np.zeros((*probabilities.shape[:-1], classes), np.float32)
    spread[..., [label - 1 for label in known_labels]] = probabilities
    return spread

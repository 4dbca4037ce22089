"""Results of a tile from its class probabilities, in NumPy: the definition of contract.RESULTS, bit for bit."""

from __future__ import annotations

import numpy as np

from ..contract import ResultPlan, TileResult, Wanted
from .conversion import convert


def spread_classes(probabilities: np.ndarray, known_labels: tuple[int, ...], classes: int) -> np.ndarray:
    """Map the forest's classes to the project's: (…, k) -> (…, classes), zero for classes the forest does not know."""
    if probabilities.shape[-1] == classes:
        return probabilities
    spread = np.zeros((*probabilities.shape[:-1], classes), np.float32)
    spread[..., [label - 1 for label in known_labels]] = probabilities
    return spread


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


MADE_OF_PROBABILITIES = {
    "probabilities": lambda probabilities: probabilities,
    "segmentation": simple_segmentation,
    "uncertainty": uncertainty,
}


def assemble_probabilities(answer: np.ndarray, active: np.ndarray | None, plan: ResultPlan) -> np.ndarray:
    """Convert a prediction (z, y, x, k) to the project's probabilities (z, y, x, classes), 0 outside of the mask."""
    probabilities = spread_classes(answer, plan.known_labels, plan.classes)
    return probabilities if active is None else probabilities * active[..., np.newaxis]


def finish_result(values: np.ndarray, wanted: Wanted) -> TileResult:
    """Select the wanted channels of a result (z, y, x, c) and convert them."""
    first, stop = wanted.channels
    converted, overflow_count = convert(values[..., first:stop], wanted.conversion)
    return TileResult(converted, overflow_count)

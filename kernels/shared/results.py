"""Results of a tile from its class probabilities, in NumPy: the definition of contract.RESULTS, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..contract import ResultPlan, TileResult, Wanted
from .conversion import convert

# Passes over planes are ten times as fast as operations along so short an axis, in parts of so many voxels: the system
# clears new memory for larger ones.
_FEW_CLASSES = 16
_PART = 1 << 14


def spread_classes(probabilities: np.ndarray, known_labels: tuple[int, ...], classes: int) -> np.ndarray:
    """Map the forest's classes to the project's: (…, k) -> (…, classes), zero for classes the forest does not know."""
    if probabilities.shape[-1] == classes:
        return probabilities
    spread = np.zeros((*probabilities.shape[:-1], classes), np.float32)
    spread[..., [label - 1 for label in known_labels]] = probabilities
    return spread


def simple_segmentation(probabilities: np.ndarray) -> np.ndarray:
    """1 + the index of the most probable class, the lowest at a tie, uint8 (z, y, x, 1)."""
    if probabilities.shape[-1] > _FEW_CLASSES:
        return np.asarray((probabilities.argmax(axis=-1) + 1).astype(np.uint8)[..., np.newaxis])
    return _by_parts(_number_best, probabilities, np.uint8)


def uncertainty(probabilities: np.ndarray) -> np.ndarray:
    """1 minus the lead of the most probable class over the second, float32 (z, y, x, 1); 0 for a single class."""
    classes = probabilities.shape[-1]
    if classes < 2:
        return np.zeros((*probabilities.shape[:-1], 1), np.float32)
    if classes > _FEW_CLASSES:
        ordered = np.partition(probabilities, classes - 2, axis=-1)
        lead = ordered[..., -1] - ordered[..., -2]
        return np.asarray((np.float32(1) - lead)[..., np.newaxis])
    return _by_parts(_subtract_lead, probabilities, np.float32)


def _by_parts(make: Callable[[np.ndarray, np.ndarray], None], probabilities: np.ndarray, dtype: Any) -> np.ndarray:
    """Fill a result (z, y, x, 1) by ``make(planes, out)``, planes being (classes, voxels) of a part of the voxels."""
    classes = probabilities.shape[-1]
    rows = probabilities.reshape(-1, classes)
    out = np.empty(len(rows), dtype)
    for start in range(0, len(rows), _PART):
        planes = rows[start : start + _PART].T
        make(planes if classes == 2 else np.ascontiguousarray(planes), out[start : start + _PART])
    return out.reshape(*probabilities.shape[:-1], 1)


def _number_best(planes: np.ndarray, out: np.ndarray) -> None:
    best = planes[0]
    out[...] = 1
    for number, values in enumerate(planes[1:], 2):  # later numbers are larger
        np.maximum(out, (values > best) * np.uint8(number), out=out)
        best = np.maximum(best, values)


def _subtract_lead(planes: np.ndarray, out: np.ndarray) -> None:
    best, second = np.maximum(planes[0], planes[1]), np.minimum(planes[0], planes[1])
    for values in planes[2:]:
        np.maximum(second, np.minimum(best, values), out=second)
        np.maximum(best, values, out=best)
    np.subtract(np.float32(1), best - second, out=out)


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

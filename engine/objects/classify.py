"""Classification of objects by their features: rows of the classifier, and its predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...frozen import frozen
from ..errors import InputMismatch
from ..project.object_features import Features
from ..resources import Resources
from ..tiling.stream import stream_tiles

ROWS_AT_ONCE = 1 << 14

Measured = Mapping[str, Mapping[str, np.ndarray]]


@frozen
class ObjectClasses:
    """Predictions for the objects of a frame, without the background.

    probabilities  (objects, classes) float32
    class_index    (objects,), from 0: the most probable class, the lowest one of a tie
    """

    probabilities: np.ndarray
    class_index: np.ndarray

    @property
    def count(self) -> int:
        return len(self.class_index)


def classify_objects(
    measured: Measured,
    count: int,
    selected: Features,
    *,
    forest: Any,
    columns: int,
    classes: int,
    resources: Resources,
) -> ObjectClasses:
    """Classify the objects of a frame.

    measured  plugin -> feature -> (objects, values)
    forest    handle of the backend; columns, classes: see project.forest.Classifier. Columns of its predictions are
              classes in order, whatever labels it knows; classes without a column have probability 0
    Raises InputMismatch if the features do not make up the rows the classifier was trained on.
    """
    probabilities = np.zeros((count, classes), np.float32)
    if count:
        check_width(measured, selected, columns=columns)

    def predict(rows: slice, values: np.ndarray) -> None:
        answer = resources.backend.pixels.predict_rows(values, forest)
        probabilities[rows, : answer.shape[1]] = answer[:, :classes]

    pieces = [slice(start, min(start + ROWS_AT_ONCE, count)) for start in range(0, count, ROWS_AT_ONCE)]
    stream_tiles(pieces, lambda rows: assemble_rows(measured, selected, rows), predict, threads=resources.threads)
    return ObjectClasses(probabilities, probabilities.argmax(axis=1) if classes else np.zeros(count, np.intp))


def assemble_rows(measured: Measured, selected: Features, rows: slice | np.ndarray) -> np.ndarray:
    """Assemble the classifier's input for these objects: (rows, columns) float32, finite numbers only.

    Plugins, and features within each, are in code-point order; values that are not finite become 0.
    """
    found = np.concatenate([values[rows] for _, _, values in _columns(measured, selected)], axis=1, dtype=np.float32)
    found[~np.isfinite(found)] = 0
    return found


def check_width(measured: Measured, selected: Features, *, columns: int) -> None:
    """Raise InputMismatch unless the measured features make up that many columns."""
    missing = [
        f"{name} of {plugin}"
        for plugin, names in selected.items()
        for name in names
        if name not in measured.get(plugin, {}) or not measured[plugin][name].shape[1]
    ]
    if missing:
        raise InputMismatch(
            f"the classifier reads {missing[0]}, which cannot be measured in this image: an object fills its whole "
            "neighbourhood; deselect the features 'in neighborhood' in ilastik and train again"
        )
    width = sum(values.shape[1] for _, _, values in _columns(measured, selected))
    if width != columns:
        raise InputMismatch(
            f"the classifier was trained on {columns} values an object, but this image yields {width}; it needs images "
            "with the channels and dimensions of the training images"
        )


def _columns(measured: Measured, selected: Features) -> Iterator[tuple[str, str, np.ndarray]]:
    for plugin in sorted(selected):
        for name in sorted(selected[plugin]):
            yield plugin, name, measured[plugin][name]

"""Results of object classification: one row per result, with the lookup table that renders it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...frozen import frozen
from .classify import ObjectClasses


@frozen
class ObjectResult:
    """A result of object classification, equal to ilastik's export source of that name.

    dtype         numpy name; "" for that of the ids
    channels      number of classes -> channels of the result
    make          the classes of all objects -> lookup table (ids from 0, channels), 0 being the background; None: the
                  ids themselves
    is_blockwise  computed from the objects visible in each block, instead of those of the whole frame
    pixel_result  result of the pixel stage that it is, if it does not depend on objects
    value_range   range of the values if known
    """

    name: str
    dtype: str
    channels: Callable[[int], int]
    make: Callable[[ObjectClasses], np.ndarray] | None = None
    is_blockwise: bool = False
    pixel_result: str = ""
    value_range: tuple[float, float] | None = None

    @property
    def is_labels(self) -> bool:
        """True if the values are numbers of classes or objects, which must not be mixed."""
        return not self.pixel_result and self.make in (None, predictions)

    @property
    def is_scalar(self) -> bool:
        """True if a voxel has one value by definition."""
        return self.channels is _one


def predictions(objects: ObjectClasses) -> np.ndarray:
    """Lookup table of class numbers by id, from 1, background 0, as uint8 (ids, 1)."""
    numbers = np.zeros((objects.count + 1, 1), np.uint8)
    numbers[1:, 0] = objects.class_index + 1
    return numbers


def probabilities(objects: ObjectClasses) -> np.ndarray:
    """Lookup table of class probabilities by id, background 0, as float32 (ids, classes)."""
    values = np.zeros((objects.count + 1, objects.probabilities.shape[1]), np.float32)
    values[1:] = objects.probabilities
    return values


def _one(classes: int) -> int:
    return 1


def _each(classes: int) -> int:
    return classes


PREDICTIONS, IDENTITIES = "Object Predictions", "Object Identities"
_UNIT = (0.0, 1.0)
RESULTS = (
    ObjectResult(PREDICTIONS, "uint8", _one, predictions),
    ObjectResult("Object Probabilities", "float32", _each, probabilities, value_range=_UNIT),
    ObjectResult("Blockwise Object Predictions", "uint8", _one, predictions, True),
    ObjectResult("Blockwise Object Probabilities", "float32", _each, probabilities, True, value_range=_UNIT),
    ObjectResult(IDENTITIES, "", _one),
    ObjectResult("Pixel Probabilities", "float32", _each, pixel_result="Probabilities"),
    ObjectResult("Simple Segmentation", "uint8", _one, pixel_result="Simple Segmentation"),
)


def results_of(*, has_pixels: bool) -> tuple[ObjectResult, ...]:
    """List the results of a project; those of the pixel stage only if it has one."""
    return tuple(result for result in RESULTS if has_pixels or not result.pixel_result)

"""Results of objects, and the conversion of ids to their voxels."""

from __future__ import annotations

import numpy as np

from pixelforest.engine.objects.classify import ObjectClasses
from pixelforest.engine.objects.results import RESULTS, predictions, probabilities, results_of

OBJECTS = ObjectClasses(np.array([[0.25, 0.75], [1.0, 0.0]], np.float32), np.array([1, 0]))


def test_the_results_in_ilastiks_order() -> None:
    assert [result.name for result in results_of(has_pixels=True)] == [
        "Object Predictions",
        "Object Probabilities",
        "Blockwise Object Predictions",
        "Blockwise Object Probabilities",
        "Object Identities",
        "Pixel Probabilities",
        "Simple Segmentation",
    ]
    assert [result.name for result in results_of(has_pixels=False)] == [r.name for r in RESULTS[:5]]


def test_class_numbers_start_at_one_and_background_is_zero() -> None:
    found = predictions(OBJECTS)
    assert found.dtype == np.uint8
    assert found.tolist() == [[0], [2], [1]]


def test_the_background_has_no_probability() -> None:
    found = probabilities(OBJECTS)
    assert found.dtype == np.float32
    assert found.tolist() == [[0, 0], [0.25, 0.75], [1, 0]]


def test_without_objects_there_is_background() -> None:
    nothing = ObjectClasses(np.empty((0, 3), np.float32), np.empty(0, np.intp))
    assert predictions(nothing).tolist() == [[0]]
    assert probabilities(nothing).tolist() == [[0, 0, 0]]


def test_object_results_have_a_channel_per_class_or_one() -> None:
    channels = {result.name: result.channels(3) for result in RESULTS}
    assert channels["Object Probabilities"] == channels["Pixel Probabilities"] == 3
    assert channels["Object Identities"] == channels["Simple Segmentation"] == 1

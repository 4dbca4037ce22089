"""From features to classes: the order of columns, what is not finite, and answers of forests with fewer classes."""

from __future__ import annotations

import numpy as np
import pytest

from pixelforest.engine.errors import InputMismatch
from pixelforest.engine.objects.classify import ROWS_AT_ONCE, assemble_rows, classify_objects
from pixelforest.engine.resources import Resources
from pixelforest.kernels.contract import Backend, ForestArrays, TreeArrays

STANDARD, HULL = "Standard Object Features", "2D Convex Hull Features"
SELECTED = {STANDARD: {"Mean": None, "Count": None}, HULL: {"Convexity": None}}


def measured(count: int) -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(count)
    return {
        STANDARD: {
            "Mean": rng.normal(size=(count, 2)).astype(np.float32),
            "Sum": np.full((count, 2), 99, np.float32),
            "Count": np.arange(count, dtype=np.float32)[:, None],
        },
        HULL: {"Convexity": rng.normal(size=(count, 1)).astype(np.float32)},
        "Default features": {"Count": np.full((count, 1), -1.0)},
    }


def stump(column: int, threshold: float, *, classes: int = 2) -> TreeArrays:
    """Class 1 where the column reaches the threshold, else class 0."""
    share = np.zeros((3, classes))
    share[1, 0] = share[2, 1] = 1.0
    return TreeArrays(
        feature=np.array([column, -1, -1], np.int32),
        threshold=np.array([threshold, 0, 0]),
        left=np.array([1, -1, -1], np.int32),
        right=np.array([2, -1, -1], np.int32),
        probabilities=share,
        weight=np.ones(3),
    )


def test_plugins_and_features_follow_each_other_by_name() -> None:
    found = assemble_rows(measured(3), SELECTED, slice(0, 3))
    values = measured(3)
    expected = [values[HULL]["Convexity"], values[STANDARD]["Count"], values[STANDARD]["Mean"]]
    assert np.array_equal(found, np.concatenate(expected, axis=1))
    assert found.dtype == np.float32


def test_what_is_not_finite_becomes_zero() -> None:
    values = measured(4)
    values[STANDARD]["Mean"][:, 0] = [np.nan, np.inf, -np.inf, 1.5]
    assert assemble_rows(values, SELECTED, slice(0, 4))[:, 2].tolist() == [0, 0, 0, 1.5]
    assert np.isnan(values[STANDARD]["Mean"][0, 0]), "tables show the value as it is"


@pytest.mark.parametrize("threads", [1, 3])
def test_every_object_is_asked_about(backend: Backend, threads: int) -> None:
    count = 2 * ROWS_AT_ONCE + 5
    forest = backend.pixels.load_forest([ForestArrays((stump(1, 100.0),), 2, False)], use="rows")
    found = classify_objects(
        measured(count),
        count,
        SELECTED,
        forest=forest,
        columns=4,
        classes=2,
        resources=Resources(backend, threads, 1 << 28),
    )
    assert found.count == count
    assert np.array_equal(found.class_index, np.arange(count) >= 100)
    assert np.array_equal(found.probabilities[:, 1], np.arange(count) >= 100)


def test_a_tie_goes_to_the_first_class(backend: Backend) -> None:
    forest = backend.pixels.load_forest([ForestArrays((stump(1, -1.0), stump(1, 1e9)), 2, False)], use="rows")
    found = classify_objects(
        measured(3), 3, SELECTED, forest=forest, columns=4, classes=2, resources=Resources(backend, 1, 1 << 28)
    )
    assert found.probabilities.tolist() == [[0.5, 0.5]] * 3
    assert found.class_index.tolist() == [0, 0, 0]


def test_classes_the_forest_does_not_know_have_no_share(backend: Backend) -> None:
    forest = backend.pixels.load_forest([ForestArrays((stump(1, 1.0),), 2, False)], use="rows")
    found = classify_objects(
        measured(2), 2, SELECTED, forest=forest, columns=4, classes=3, resources=Resources(backend, 1, 1 << 28)
    )
    assert found.probabilities.tolist() == [[1, 0, 0], [0, 1, 0]]


def test_no_objects_are_classified(backend: Backend) -> None:
    forest = backend.pixels.load_forest([ForestArrays((stump(1, 1.0),), 2, False)], use="rows")
    found = classify_objects(
        {}, 0, SELECTED, forest=forest, columns=4, classes=2, resources=Resources(backend, 1, 1 << 28)
    )
    assert (found.probabilities.shape, found.count) == ((0, 2), 0)


def test_a_feature_that_could_not_be_measured(backend: Backend) -> None:
    values = measured(2)
    del values[HULL]["Convexity"]
    forest = backend.pixels.load_forest([ForestArrays((stump(1, 1.0),), 2, False)], use="rows")
    with pytest.raises(InputMismatch, match="reads Convexity of 2D Convex Hull Features, which cannot be measured"):
        classify_objects(
            values, 2, SELECTED, forest=forest, columns=4, classes=2, resources=Resources(backend, 1, 1 << 28)
        )


def test_rows_of_another_width(backend: Backend) -> None:
    forest = backend.pixels.load_forest([ForestArrays((stump(1, 1.0),), 2, False)], use="rows")
    with pytest.raises(InputMismatch, match="trained on 7 values an object, but this image yields 4"):
        classify_objects(
            measured(2), 2, SELECTED, forest=forest, columns=7, classes=2, resources=Resources(backend, 1, 1 << 28)
        )

"""Results of a tile's probabilities: segmentation, uncertainty, and classes the forest does not know."""

from __future__ import annotations

import numpy as np
import pytest

from pixelforest.engine.pixels.results import RESULTS
from pixelforest.kernels import contract
from pixelforest.kernels.shared.results import MADE_OF_PROBABILITIES, simple_segmentation, spread_classes, uncertainty


def as_tile(rows: list[list[float]]) -> np.ndarray:
    """Probabilities of a line of voxels as (1, 1, x, class)."""
    return np.array(rows, np.float32)[np.newaxis, np.newaxis]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([0.2, 0.8], 2),
        ([0.5, 0.5], 1),
        ([0.2, 0.4, 0.4], 2),
        ([0.4, 0.2, 0.4], 1),
        ([0.0, 0.0, 0.0], 1),
        ([0.3], 1),
        ([0.0], 1),
    ],
    ids=str,
)
def test_segmentation_counts_from_one_and_takes_the_lowest_at_a_tie(row: list[float], expected: int) -> None:
    found = simple_segmentation(as_tile([row]))
    assert found.shape == (1, 1, 1, 1)
    assert found.dtype == np.uint8
    assert found.item() == expected


def test_segmentation_of_255_classes() -> None:
    rows = np.eye(255, dtype=np.float32)[np.newaxis, np.newaxis]
    assert simple_segmentation(rows)[0, 0, :, 0].tolist() == list(range(1, 256))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([0.25, 0.75], 0.5),
        ([0.75, 0.25], 0.5),
        ([1.0, 0.0], 0.0),
        ([0.5, 0.5], 1.0),
        ([0.0, 0.0], 1.0),
        ([0.25, 0.125, 0.625], 0.625),
        ([0.0, 1.0, 0.0], 0.0),
        ([0.0, 0.0, 0.0, 0.0, 0.0], 1.0),
        ([1.0], 0.0),
        ([0.0], 0.0),
    ],
    ids=str,
)
def test_uncertainty_is_one_minus_the_margin_of_the_best(row: list[float], expected: float) -> None:
    found = uncertainty(as_tile([row]))
    assert found.shape == (1, 1, 1, 1)
    assert found.dtype == np.float32
    assert found.item() == expected


@pytest.mark.parametrize("classes", [2, 3, 4, 7])
def test_uncertainty_is_rounded_as_float32_at_every_step(classes: int) -> None:
    votes = np.random.default_rng(classes).multinomial(100, [1 / classes] * classes, size=400)
    probabilities = as_tile((votes / 100).tolist())
    ordered = np.sort(probabilities, axis=-1)
    expected = np.float32(1) - (ordered[..., -1] - ordered[..., -2])
    np.testing.assert_array_equal(uncertainty(probabilities)[..., 0], expected)


def test_results_leave_the_probabilities_alone() -> None:
    probabilities = as_tile(np.random.default_rng(0).random((50, 4)).tolist())
    copy = probabilities.copy()
    for result in RESULTS:
        if result.kernel in MADE_OF_PROBABILITIES:
            made = MADE_OF_PROBABILITIES[result.kernel](probabilities)
            assert made.dtype == np.dtype(result.dtype)
            assert made.shape == (1, 1, 50, result.channels(4, 99))
    np.testing.assert_array_equal(probabilities, copy)


def test_kernels_make_them_in_their_type() -> None:
    for result in RESULTS:
        assert result.kernel is None or contract.RESULTS[result.kernel] == result.dtype
    assert {*MADE_OF_PROBABILITIES, "features"} == set(contract.RESULTS)


def test_results_are_ilastiks() -> None:
    assert [(r.name, r.dtype, r.drange) for r in RESULTS] == [
        ("Probabilities", "float32", (0.0, 1.0)),
        ("Simple Segmentation", "uint8", (0, 1)),
        ("Uncertainty", "float32", (0.0, 1.0)),
        ("Features", "float32", None),
        ("Labels", "uint8", (0, 255)),
    ]
    assert [r.channels(3, 20) for r in RESULTS] == [3, 1, 1, 20, 1]
    assert [r.display_mode for r in RESULTS] == ["grayscale"] * 4 + ["default"]


@pytest.mark.parametrize(
    ("known", "classes", "expected"),
    [
        ((1, 2), 2, [0.25, 0.75]),
        ((1, 3), 3, [0.25, 0.0, 0.75]),
        ((2, 3), 3, [0.0, 0.25, 0.75]),
        ((2, 5), 5, [0.0, 0.25, 0.0, 0.0, 0.75]),
        ((3, 4), 2, [0.25, 0.75]),
    ],
    ids=["all", "middle-missing", "first-missing", "several-missing", "as-many-as-names"],
)
def test_classes_go_to_their_channels(known: tuple[int, ...], classes: int, expected: list[float]) -> None:
    """If forest and project have as many classes, the numbers of the labels do not matter."""
    found = spread_classes(as_tile([[0.25, 0.75]]), known, classes)
    assert found.dtype == np.float32
    assert found[0, 0, 0].tolist() == expected


def test_one_known_class_of_three() -> None:
    assert spread_classes(as_tile([[1.0], [0.5]]), (2,), 3)[0, 0].tolist() == [[0, 1, 0], [0, 0.5, 0]]


@pytest.mark.parametrize("classes", [2, 3, 5, 20])
def test_the_loops_of_the_cpu_equal_the_definitions(classes: int) -> None:
    from pixelforest.kernels.cpu.loader import kernel

    votes = np.random.default_rng(classes).multinomial(10, [1 / classes] * classes, size=3000)  # many ties
    probabilities = np.ascontiguousarray(votes / 10, np.float32)
    tile = probabilities[np.newaxis, np.newaxis]
    for name, define in (("number_best", simple_segmentation), ("subtract_lead", uncertainty)):
        expected = define(tile).reshape(-1)
        found = np.empty(expected.shape, expected.dtype)
        kernel(name)(probabilities, found)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("classes", [2, 3, 4, 20, 255])
@pytest.mark.parametrize("shape", [(1, 37, 29), (3, 18, 5), (2, 1, 1)])
@pytest.mark.parametrize("first", [0, 5, 15])
def test_counts_and_samples_of_the_cpu_equal_the_definitions(
    classes: int, shape: tuple[int, int, int], first: int
) -> None:
    """With many ties, voxels without a class, certain ones, and sums that rounding takes beyond 1."""
    from pixelforest.kernels.cpu.pixel_backend import CpuPixels

    rng = np.random.default_rng(classes)
    votes = rng.multinomial(10, rng.dirichlet([0.5] * classes), size=shape)
    probabilities = (votes * np.float32(0.1)).astype(np.float32)
    probabilities[rng.random(shape) < 0.1] = 0
    probabilities[..., -1][rng.random(shape) < 0.1] = np.nextafter(np.float32(1), np.float32(2))
    best, lead = simple_segmentation(probabilities), uncertainty(probabilities)
    counts, levels = CpuPixels().count_classes(probabilities, first, 16)
    assert counts.tolist() == np.bincount(best.ravel(), minlength=classes + 1).tolist()
    rounded = (lead[:, first::16] * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    assert levels.tolist() == np.bincount(rounded.ravel(), minlength=256).tolist()
    rows, columns = slice(0, 1 + (shape[1] - 1) // 3 * 3, 3), slice(shape[2] // 2, shape[2], 2)
    found = CpuPixels().sample_classes(probabilities[-1], rows, columns)
    np.testing.assert_array_equal(found[0], best[-1, rows, columns, 0])
    np.testing.assert_array_equal(found[1], lead[-1, rows, columns, 0])

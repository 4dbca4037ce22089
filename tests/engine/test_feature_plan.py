"""From the project's table to columns: their order, the sigmas of a scale, and images that are too small."""

from __future__ import annotations

import math

import pytest

from pixelforest.engine.errors import InputMismatch
from pixelforest.engine.pixels.feature_plan import (
    FEATURES,
    check_size,
    feature_sigma,
    plan_features,
    presmoothing_sigma,
)
from pixelforest.engine.project import FeatureSelection
from pixelforest.engine.project.pixel_features import COLUMNS_PER_CHANNEL
from pixelforest.kernels.contract import OPERATIONS

GAUSSIAN, HESSIAN, TENSOR = "GaussianSmoothing", "HessianOfGaussianEigenvalues", "StructureTensorEigenvalues"
LAPLACIAN = "LaplacianOfGaussian"


def select(
    ids: tuple[str, ...], scales: tuple[float, ...], *rows: str, flat: tuple[bool, ...] | None = None
) -> FeatureSelection:
    """rows: one word a feature, x where a scale is selected."""
    matrix = tuple(tuple(letter == "x" for letter in row) for row in rows)
    return FeatureSelection(ids, scales, matrix, flat or (True,) * len(scales))


@pytest.mark.parametrize(
    ("scale", "before", "left"),
    [
        (0.3, 0.3, 0.3),
        (0.7, 0.7, 0.7),
        (1.0, 1.0, 1.0),
        (1.6, 1.2489995996796799, 1.0),
        (3.5, 3.3541019662496847, 1.0),
        (5.0, 4.898979485566356, 1.0),
        (10.0, 9.9498743710662, 1.0),
    ],
)
def test_sigmas_of_a_scale(scale: float, before: float, left: float) -> None:
    assert presmoothing_sigma(scale) == before
    assert feature_sigma(scale) == left


def test_a_scale_just_above_one() -> None:
    scale = math.nextafter(1.0, 2.0)
    assert 0 < presmoothing_sigma(scale) < 1e-7
    assert feature_sigma(scale) == 1.0


def test_every_operation_is_one_feature() -> None:
    assert sorted(f.operation for f in FEATURES.values()) == sorted(OPERATIONS)
    assert FEATURES.keys() == COLUMNS_PER_CHANNEL.keys()


def test_columns_run_over_features_then_scales_then_channels() -> None:
    selection = select((HESSIAN, GAUSSIAN), (1.6, 0.3), "xx", "xx")
    plan = plan_features(selection, channels=3, depth=1)
    assert [dict(s.columns) for s in plan.scales] == [{"hessian": 0, "gaussian": 12}, {"hessian": 6, "gaussian": 15}]
    assert (plan.width, plan.channels) == (18, 3)


def test_the_files_order_of_scales_counts() -> None:
    selection = select((GAUSSIAN,), (5.0, 0.3, 1.0), "xxx")
    plan = plan_features(selection, channels=1, depth=1)
    assert [s.columns["gaussian"] for s in plan.scales] == [0, 1, 2]
    assert [s.presmoothing_sigma for s in plan.scales] == [presmoothing_sigma(s) for s in (5.0, 0.3, 1.0)]


def test_unselected_scales_take_no_part() -> None:
    selection = select((GAUSSIAN, LAPLACIAN), (0.3, 0.7, 1.0), "x..", "x.x")
    plan = plan_features(selection, channels=1, depth=1)
    assert [dict(s.columns) for s in plan.scales] == [{"gaussian": 0, "laplacian": 1}, {"laplacian": 2}]
    assert plan.width == 3


def test_eigenvalues_depend_on_the_scale() -> None:
    """Two columns where a scale is filtered slice by slice, three where it is not."""
    selection = select((TENSOR, GAUSSIAN), (1.0, 1.6), "xx", "xx", flat=(False, True))
    plan = plan_features(selection, channels=2, depth=40)
    assert [s.slicewise for s in plan.scales] == [False, True]
    columns = [dict(s.columns) for s in plan.scales]
    assert columns == [{"structure_tensor": 0, "gaussian": 10}, {"structure_tensor": 6, "gaussian": 12}]
    assert plan.width == 14


def test_a_single_slice_is_filtered_in_2d_whatever_the_project_says() -> None:
    selection = select((HESSIAN,), (1.0,), "x", flat=(False,))
    plan = plan_features(selection, channels=1, depth=1)
    assert plan.scales[0].slicewise
    assert plan.width == 2
    assert plan_features(selection, channels=1, depth=2).width == 3


@pytest.mark.parametrize(
    ("scale", "smallest"), [(0.3, 3), (0.7, 4), (1.0, 5), (1.6, 7), (3.5, 14), (5.0, 19), (10.0, 36)]
)
def test_smallest_image_of_a_scale(scale: float, smallest: int) -> None:
    flat = select((GAUSSIAN,), (scale,), "x")
    solid = select((GAUSSIAN,), (scale,), "x", flat=(False,))
    n = smallest
    check_size(flat, (1, n, n), "a.png")
    check_size(flat, (2, n, n), "a.png")
    check_size(solid, (n, n, n), "a.png")
    check_size(solid, (1, n, n), "a.png")
    for selection, size in (
        (flat, (1, n - 1, n)),
        (flat, (1, n, n - 1)),
        (solid, (n - 1, n, n)),
        (solid, (n, n - 1, n)),
        (solid, (n, n, n - 1)),
    ):
        with pytest.raises(InputMismatch, match="too small") as caught:
            check_size(selection, size, "a.png")
        assert "\n" not in str(caught.value)
        assert str(n) in str(caught.value)


def test_only_selected_scales_ask_for_size() -> None:
    check_size(select((GAUSSIAN, LAPLACIAN), (10.0, 0.3), ".x", ".x"), (1, 5, 5), "a.png")


def test_the_size_message_names_scale_axis_and_size() -> None:
    with pytest.raises(InputMismatch, match=r"10\.0.*35 pixels along y.*36"):
        check_size(select((GAUSSIAN,), (10.0,), "x"), (1, 35, 100), "a.png")

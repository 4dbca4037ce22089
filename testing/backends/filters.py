"""A single Gaussian: the border, and the positions of a line that round once or twice per tap."""

from __future__ import annotations

import numpy as np
import pytest

from ...kernels.contract import Backend, FeaturePlan, ScalePlan
from ..kernel_inputs import NO_FILTER, assert_same_values, compute_features, random_image
from ..reference import features as reference


def smoothing_plan(sigma: float, *, slicewise: bool = True, channels: int = 1) -> FeaturePlan:
    """The pre-smoothing Gaussian alone: the feature after it copies."""
    return FeaturePlan((ScalePlan(sigma, NO_FILTER, slicewise, {"gaussian": 0}),), channels, channels)


class FilterSuite:
    """A single Gaussian: the border, and the positions of a line that round once or twice per tap."""

    @pytest.mark.parametrize(
        ("column", "expected"),
        [
            (0, "0.159155905 0.096532926 0.0215394087 0.00176806224 5.33908533e-05 0 0 0 0"),
            (1, "0.193065852 0.18069531 0.098300986 0.0215927996 0.00176806224 5.33908533e-05 0 0 0"),
        ],
    )
    def test_border_mirrors_without_the_edge(self, backend: Backend, column: int, expected: str) -> None:
        image = np.zeros((1, 1, 9, 9), np.uint8)
        image[0, 0, 4, column] = 1
        found = compute_features(backend, image, smoothing_plan(1.0))[0, 4, :, 0]
        np.testing.assert_array_equal(found, np.array(expected.split(), np.float32))

    @pytest.mark.parametrize(
        ("width", "x", "expected"),
        [
            (100, 3, "107.856979"),
            (100, 14, "69.6636658"),
            (100, 84, "114.286095"),
            (68, 61, "165.53331"),
            (68, 65, "130.750656"),
            (67, 61, "165.533295"),
        ],
    )
    def test_rounding_of_the_x_pass(self, backend: Backend, width: int, x: int, expected: str) -> None:
        column = np.arange(width)
        image = np.tile((7 * column**2 + 13 * column) % 251, (12, 1)).astype(np.uint8)[None, None]
        found = compute_features(backend, image, smoothing_plan(1.0))
        assert found[0, 5, x, 0] == np.float32(expected)

    @pytest.mark.parametrize("slicewise", [True, False], ids=["2d", "3d"])
    @pytest.mark.parametrize("sigma", [0.2, 0.7, 1.0, 2.5, 4.0])
    def test_one_gaussian(self, backend: Backend, sigma: float, slicewise: bool) -> None:
        image = random_image((2, 16, 17, 83), dtype="float32")
        plan = smoothing_plan(sigma, slicewise=slicewise, channels=2)
        assert_same_values(compute_features(backend, image, plan), reference.feature_stack(image, plan))

    @pytest.mark.parametrize("slicewise", [True, False], ids=["2d", "3d"])
    @pytest.mark.parametrize("sigma", [1.4, 1.7, 2.0, 2.4])
    def test_rows_far_from_the_edge(self, backend: Backend, sigma: float, slicewise: bool) -> None:
        """Rows between those that mirror are summed several at once, whatever is left of them and of the taps."""
        image = random_image((1, 27, 26, 13), dtype="float32")
        assert {reference.radius(s, reference.PRESMOOTHING_WINDOW) % 3 for s in (1.4, 1.7, 2.0, 2.4)} == {0, 1, 2}
        plan = smoothing_plan(sigma, slicewise=slicewise)
        assert_same_values(compute_features(backend, image, plan), reference.feature_stack(image, plan))

    @pytest.mark.parametrize("sigma", [0.2, 1.0, 4.0, 10.0])
    def test_line_as_short_as_the_radius_allows(self, backend: Backend, sigma: float) -> None:
        """Every neighbour is mirrored, the farthest onto the opposite edge."""
        shortest = reference.radius(sigma, reference.PRESMOOTHING_WINDOW) + 1
        image = random_image((1, 1, shortest, shortest))
        plan = smoothing_plan(sigma)
        assert_same_values(compute_features(backend, image, plan), reference.feature_stack(image, plan))

    def test_filters_without_width_copy_the_image(self, backend: Backend) -> None:
        image = random_image((3, 2, 5, 7), dtype="float32")
        found = compute_features(backend, image, smoothing_plan(NO_FILTER, channels=3))
        np.testing.assert_array_equal(found, image.transpose(1, 2, 3, 0))

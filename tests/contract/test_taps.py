"""Weights of the filters: those observed in ilastik's library, and the definition for any width."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from pixelforest.kernels.shared.taps import (
    FEATURE_WINDOW,
    PRESMOOTHER_WINDOW,
    gaussian_taps,
    radius_voxels,
    threshold_taps,
)
from pixelforest.testing.reference import features as reference

OBSERVED = {
    (0.3, 0, 2.0): "0.992327511, 0.00383625855",
    (0.35, 0, 2.0): "0.967342734, 0.0163286328",
    (0.462, 0, 2.0): "0.838808298, 0.0805958584",
    (0.5, 0, 2.0): "0.786986053, 0.106506981",
    (0.66, 0, 2.0): "0.611754894, 0.194122553",
    (0.7, 0, 2.0): "0.581092775, 0.209453598",
    (1.0, 0, 2.0): "0.402619958, 0.244201332, 0.054488685",
    (1.0, 1, 2.0): "0, 0.264197916, 0.11790105",
    (1.0, 2, 2.0): "-0.531123698, 0.0207491312, 0.244812712",
    (0.3, 0, 3.5): "0.992327511, 0.00383625855",
    (1.0, 0, 3.5): "0.398943484, 0.241971433, 0.0539911278, 0.00443186145, 0.000133830617",
    (1.0, 1, 3.5): "0, 0.241988868, 0.107990034, 0.0132965427, 0.000535361061",
    (1.0, 2, 3.5): "-0.399196148, 8.0074351e-06, 0.162087232, 0.0354860686, 0.00201677857",
    (math.sqrt(1.6**2 - 1), 1, 3.5): "0, 0.149130046, 0.114026114, 0.0344437845, 0.00487159193",
    (math.sqrt(1.6**2 - 1), 2, 3.5): "-0.20868969, -0.0541926213, 0.0909147188, 0.0559186041, 0.0117041441",
    (math.sqrt(1.6**2 - 1), 0, 3.5): "0.319479078, 0.231870472, 0.0886450708, 0.0178513005, 0.00189361291",
    (math.sqrt(3.5**2 - 1), 0, 3.5): (
        "0.11896345, 0.113791957, 0.0995876864, 0.0797435865, 0.0584227405, 0.0391619317, 0.0240183063, 0.0134777278, "
        "0.00691969646, 0.0032505244, 0.00139706268, 0.00054938189, 0.000197664587"
    ),
    (math.sqrt(5.0**2 - 1), 0, 3.5): (
        "0.0814619139, 0.0797823444, 0.0749485791, 0.0675343052, 0.0583700128, 0.0483904406, 0.0384798832, "
        "0.0293502863, 0.0214731283, 0.015068939, 0.0101431878, 0.00654893415, 0.00405575009, 0.00240921834, "
        "0.00137273117, 0.000750238309, 0.00039329406, 0.000197760673"
    ),
    (math.sqrt(10.0**2 - 1), 0, 3.5): (
        "0.0401095599, 0.0399074964, 0.0393073969, 0.0383272097, 0.036995884, 0.0353518985, 0.0334414616, "
        "0.03131634, 0.0290315263, 0.0266429298, 0.0242051203, 0.0217693634, 0.0193819441, 0.017082924, 0.0149052832, "
        "0.0128745325, 0.0110086957, 0.00931865908, 0.00780879799, 0.00647780951, 0.00531967776, 0.00432469649, "
        "0.00348048029, 0.00277291075, 0.00218698476, 0.00170753198, 0.00131979096, 0.00100984471, 0.000764922122, "
        "0.000573578756, 0.000425776874, 0.000312884658, 0.000227614364, 0.000163918608, 0.000116861112, "
        "8.24755043e-05"
    ),
}
# Every width a project leads to, and those in between.
SIGMAS = [*np.linspace(0.13, 1.0, 60).tolist(), 1.249, 1.7, 2.3, 3.3541, 4.9, 7.3, 9.95, 14.2, 19.97]


@pytest.mark.parametrize(("sigma", "order", "window"), OBSERVED, ids=lambda v: f"{v:.4g}")
def test_observed_numbers(sigma: float, order: int, window: float) -> None:
    expected = np.array([float(v) for v in OBSERVED[sigma, order, window].split(",")], np.float32)
    found = gaussian_taps(sigma, order, window)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("sigma", [0.3, 0.35, 0.462, 0.5, 0.66, 0.7])
def test_derivatives_one_voxel_wide_do_not_depend_on_sigma(sigma: float) -> None:
    assert gaussian_taps(sigma, 1, FEATURE_WINDOW).tolist() == [0, 0.5]
    assert gaussian_taps(sigma, 2, FEATURE_WINDOW).tolist() == [-2, 1]


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("sigma", [0.0, 1e-7, 0.15, 0.198])
def test_taps_without_width_are_one(sigma: float, order: int) -> None:
    assert gaussian_taps(sigma, order, FEATURE_WINDOW).tolist() == [1]


def test_taps_equal_their_definition() -> None:
    wrong = [
        each
        for each in itertools.product(SIGMAS, (0, 1, 2), (FEATURE_WINDOW, PRESMOOTHER_WINDOW))
        if not np.array_equal(gaussian_taps(*each), reference.taps(*each))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("sigma", "window", "expected"),
    [
        (0.3, PRESMOOTHER_WINDOW, 1),
        (0.7, PRESMOOTHER_WINDOW, 2),
        (1.0, PRESMOOTHER_WINDOW, 4),
        (math.sqrt(1.6**2 - 1), PRESMOOTHER_WINDOW, 4),
        (math.sqrt(3.5**2 - 1), PRESMOOTHER_WINDOW, 12),
        (math.sqrt(5.0**2 - 1), PRESMOOTHER_WINDOW, 17),
        (math.sqrt(10.0**2 - 1), PRESMOOTHER_WINDOW, 35),
        (0.3, FEATURE_WINDOW, 1),
        (0.7, FEATURE_WINDOW, 1),
        (1.0, FEATURE_WINDOW, 2),
    ],
)
def test_the_radius_follows_from_sigma_and_window(sigma: float, window: float, expected: int) -> None:
    assert radius_voxels(sigma, window) == expected


def test_moments_of_taps_are_those_of_derivatives() -> None:
    """Response of each order to a constant, to x and to x²/2."""
    wrong, wide = [], 0
    for sigma in SIGMAS:
        all_taps = [gaussian_taps(sigma, order, PRESMOOTHER_WINDOW).astype(np.float64) for order in (0, 1, 2)]
        if min(map(len, all_taps)) == 1:
            continue
        wide += 1
        moments = []
        for taps in all_taps:
            x = np.arange(len(taps))
            moments.append((taps[0] + 2 * taps[1:].sum(), (2 * x * taps).sum(), (x**2 * taps).sum()))
        found = (moments[0][0], moments[1][1], moments[2][0], moments[2][2])
        if found != pytest.approx((1, 1, 0, 1), rel=0, abs=1e-6):
            wrong.append((sigma, found))
    assert wrong == []
    assert wide > 60


# sigma -> normalised weights from the centre outwards, as ilastik's image library has them.
OBSERVED_OF_THRESHOLDS = {
    0.3: (0.9923275, 0.0038363),
    0.5: (0.7869861, 0.106507),
    1.0: (0.4026199, 0.2442013, 0.0544887),
    1.3: (0.3086654, 0.229614, 0.0945214, 0.0215319),
    2.0: (0.2041637, 0.1801738, 0.1238315, 0.0662822, 0.0276305),
}


@pytest.mark.parametrize("sigma", OBSERVED_OF_THRESHOLDS)
def test_taps_before_a_threshold_equal_the_observed_ones(sigma: float) -> None:
    taps = threshold_taps(sigma)
    assert taps.dtype == np.float64
    np.testing.assert_allclose(taps, OBSERVED_OF_THRESHOLDS[sigma], atol=5e-8)

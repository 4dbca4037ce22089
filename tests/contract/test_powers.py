"""Powers on the CPU equal the C library's, also the doubtful ones, which are detected by their rounding error."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numba import njit

from pixelforest.kernels.cpu.loops.libm_pow import third_and_fourth


@njit
def powers(values, third, fourth):  # type: ignore[no-untyped-def]
    for i in range(len(values)):
        third[i], fourth[i] = third_and_fourth(values[i])


def library_power(value: float, exponent: float) -> float:
    try:
        return math.pow(value, exponent)
    except OverflowError:
        return math.copysign(math.inf, value) if exponent == 3 else math.inf


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", ["deviations", "integers", "wide", "everything", "special"])
def test_powers_equal_the_librarys(kind: str) -> None:
    rng, n = np.random.default_rng(3), 50_000
    values = {
        "deviations": lambda: rng.integers(0, 256, n) - rng.integers(0, 12800, n) / rng.integers(20, 120, n),
        "integers": lambda: rng.integers(-70000, 70000, n).astype(np.float64),
        "wide": lambda: rng.normal(size=n) * 10.0 ** rng.integers(-8, 8, n),
        "everything": lambda: rng.integers(0, 2**64, n, dtype=np.uint64).view(np.float64),
        "special": lambda: np.array(
            [0.0, -0.0, 1.0, -1.0, 2.0**-20, np.inf, -np.inf, np.nan, 5e-324, 1e308, 1e60, 1e-60]
        ),
    }[kind]()
    third, fourth = np.empty(len(values)), np.empty(len(values))
    powers(values, third, fourth)
    for found, exponent in ((third, 3.0), (fourth, 4.0)):
        expected = np.array([library_power(value, exponent) for value in values.tolist()])
        np.testing.assert_array_equal(found, expected)
        assert (np.signbit(found) == np.signbit(expected))[~np.isnan(expected)].all()

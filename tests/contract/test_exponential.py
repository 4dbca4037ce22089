"""Exponentials for filters equal those of glibc, whatever the C library."""

from __future__ import annotations

import math
import platform

import numpy as np
import pytest

from pixelforest.kernels.shared import taps
from pixelforest.kernels.shared.exponential import exponential

# Of glibc 2.36; the last two are not the nearest doubles.
RECORDED = [
    ("-0x1.0000000000000p-1", "0x1.368b2fc6f960ap-1"),
    ("-0x1.8ffffffffffffp-3", "0x1.a528e2e1d9f0ap-1"),
    ("-0x1.2000000000000p+2", "0x1.6c0504695c417p-7"),
    ("-0x1.b4ccccccccccdp+4", "0x1.87ec371ae986fp-40"),
    ("-0x1.9437574f89ef9p+0", "0x1.a6459ed0f67a1p-3"),
    ("-0x1.7a356aac6d766p+1", "0x1.aabb9cc7274d1p-5"),
]


@pytest.mark.parametrize(("value", "expected"), RECORDED)
def test_exponentials_equal_recorded_ones(value: str, expected: str) -> None:
    assert exponential(float.fromhex(value)) == float.fromhex(expected)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="compares with glibc's exp")
def test_exponentials_equal_those_of_glibc() -> None:
    rng, n = np.random.default_rng(5), 1000
    for values in (
        -30 * rng.random(n),
        rng.normal(size=n) / 100,
        1000 * (rng.random(n) - 0.5),
        -np.arange(300) / 7,
        -np.arange(500, 800),
    ):
        for x in values.tolist():
            assert exponential(x) == math.exp(x)


def test_limits() -> None:
    assert (exponential(0.0), exponential(-0.0), exponential(1e-300)) == (1.0, 1.0, 1.0)
    assert (exponential(-1e9), exponential(-math.inf), exponential(-745.0)) == (0.0, 0.0, 5e-324)
    for value in (512.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="is not computed"):
            exponential(value)


@pytest.mark.parametrize("sigma", [0.3, 0.7, 1.0, 1.6, 3.5, 5.0, 10.0])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_filters_of_features_do_not_depend_on_the_last_bit(
    sigma: float, order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take the C library's exponential, and are rounded to float32."""
    expected = taps.gaussian_taps(sigma, order, taps.FEATURE_WINDOW)
    exp = math.exp
    for towards in (-math.inf, math.inf):
        monkeypatch.setattr(math, "exp", lambda x, towards=towards: math.nextafter(exp(x), towards))
        assert taps.gaussian_taps(sigma, order, taps.FEATURE_WINDOW).tobytes() == expected.tobytes()
        monkeypatch.setattr(math, "exp", exp)

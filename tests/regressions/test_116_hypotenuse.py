"""Principal axes of symmetric objects differed on ARM, where the hypot of the C library has other last bits."""

from __future__ import annotations

import hashlib
import math

import numba
import numpy as np
import pytest

from pixelforest.kernels.cpu.loops.hypotenuse import hypotenuse

COUNT = 1 << 18
# Recorded on 2026-11-30 from hypot of glibc 2.36 on x86-64, the library under which ilastik's values were recorded.
RECORDED = {
    "of one scale": "a64599beb16c82ab69f29f199985a3743f0e3f26bfea61fadf38c98713dfe323",
    "beside one": "57ec85225a9223ae1d54915b2624f1d7eb9cc2722fc994313e5974975cc7fb8d",
    "of any bits": "c05bc5091ccaeb877ddf9dc2231ac43115ec73e789a3643ed86952cff367177d",
    "of near exponents": "0d8475c5d0a8a2c5b465374a40f177e76aee73e9381a473ebe1290549ef89b8d",
}


def words(first: int, count: int) -> np.ndarray:
    """Well-mixed 64-bit words (splitmix64), which integers alone make, the same everywhere."""
    state = np.arange(first, first + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
    return state ^ (state >> np.uint64(31))


def doubles(mantissas: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """Doubles of these exponents, with the sign and the mantissa of the words."""
    kept = mantissas & np.uint64(0x800F_FFFF_FFFF_FFFF)
    return (kept | ((exponents + 1023).astype(np.uint64) << np.uint64(52))).view(np.float64)


def pairs(kind: str) -> tuple[np.ndarray, np.ndarray]:
    a, b, c = words(1, COUNT), words(1 << 20, COUNT), words(1 << 30, COUNT)
    spread = (c % np.uint64(64)).astype(np.int64)
    if kind == "of one scale":
        return doubles(a, spread % 4), doubles(b, spread // 4 % 4)
    if kind == "beside one":
        return doubles(a, spread - 32), np.ones(COUNT)
    if kind == "of any bits":
        return a.view(np.float64), b.view(np.float64)
    around = (c >> np.uint64(32)).astype(np.int64) % 1900 - 950
    return doubles(a, around), doubles(b, around + spread - 32)


@numba.njit
def hypotenuses(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    for i in range(len(x)):
        out[i] = hypotenuse(x[i], y[i])
    return out


@pytest.mark.sampled(1)
@pytest.mark.parametrize("kind", RECORDED)
def test_the_bits_are_those_recorded(kind: str) -> None:
    lengths = hypotenuses(*pairs(kind))
    lengths[np.isnan(lengths)] = np.nan  # whichever of the many
    assert hashlib.sha256(lengths.astype("<f8").tobytes()).hexdigest() == RECORDED[kind]


@pytest.mark.parametrize(
    ("x", "y", "length"),
    [
        (3.0, -4.0, 5.0),
        (0.0, -0.0, 0.0),
        (-7.0, 0.0, 7.0),
        (math.inf, math.nan, math.inf),
        (math.nan, -math.inf, math.inf),
        (1e308, 1e308, 1.4142135623730951e308),
        (1.7e308, 1.7e308, math.inf),
        (5e-324, 5e-324, 5e-324),
        (5e-324, 1.5 * 2.0**-1021, 1.5 * 2.0**-1021),
        (3e-310, 4e-310, 5e-310),
    ],
)
def test_the_ends_of_the_range(x: float, y: float, length: float) -> None:
    assert hypotenuse(x, y) == length


def test_a_leg_that_is_no_number_leaves_none() -> None:
    assert math.isnan(hypotenuse(math.nan, 1.0))

"""Reference definitions: their building blocks are checked against exact arithmetic and simple geometry."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from pixelforest.testing.backends.forest import INEXACT, random_features
from pixelforest.testing.kernel_inputs import random_forest
from pixelforest.testing.reference import features as reference
from pixelforest.testing.reference import walk
from pixelforest.testing.reference.fma import fused_multiply_add


def round_to_float32(value: Fraction) -> np.float32:
    """The nearest float32 of an exact number, ties to even; by comparing with the neighbours of a first guess."""
    guess = np.float32(float(value))
    near = [np.nextafter(guess, np.float32(-np.inf)), guess, np.nextafter(guess, np.float32(np.inf))]
    distance = [abs(Fraction(float(n)) - value) for n in near]
    best = [n for n, d in zip(near, distance, strict=True) if d == min(distance)]
    return next((n for n in best if n.view(np.int32) % 2 == 0), best[0])


@pytest.mark.parametrize("exponent", [0, 12, 24, 30, 48], ids=lambda e: f"addend-2^{e}-larger")
def test_multiply_add_rounds_once(exponent: int) -> None:
    rng = np.random.default_rng(exponent)
    a, b, c = (rng.normal(size=400).astype(np.float32) for _ in range(3))
    c = np.ldexp(c, exponent - 24).astype(np.float32)
    found = fused_multiply_add(a, b, c)
    exact = [
        round_to_float32(Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)))
        for x, y, z in zip(a, b, c, strict=True)
    ]
    np.testing.assert_array_equal(found, np.array(exact, np.float32))


def test_multiply_add_sees_what_lies_beside_a_tie() -> None:
    """1 + 2^-24 is a tie between two float32; 2^-80 more or less decides, which double alone would lose."""
    tie, little = np.float32(1 + 2**-23), np.float32(2.0**-40)
    a = np.array([little, -little])
    found = fused_multiply_add(a, little, np.array([tie, tie]))
    assert found.tolist() == [tie, tie]
    half_ulp = np.float32(2.0**-24)
    beside = np.array([1 + 2.0**-23, 1 - 2.0**-23], np.float32)
    found = fused_multiply_add(beside, half_ulp, np.array([1, 1], np.float32))
    assert found.tolist() == [1 + 2.0**-23, 1]


def test_multiply_add_of_numbers_without_neighbours() -> None:
    inf, nan = np.float32(np.inf), np.float32(np.nan)
    found = fused_multiply_add(
        np.array([inf, inf, 1, nan], np.float32), np.float32(1), np.array([1, -inf, inf, 0], "f4")
    )
    np.testing.assert_array_equal(found, np.array([inf, nan, inf, nan], np.float32))


@pytest.mark.parametrize(
    ("width", "radius", "expected"),
    [
        (64, 4, None),
        (67, 4, None),
        (68, 4, (8, 64)),
        (100, 4, (8, 96)),
        (66, 2, (8, 64)),
        (65, 2, None),
        (128, 35, None),
        (130, 35, None),
        (131, 35, (40, 96)),
        (160, 35, (40, 96)),
    ],
)
def test_where_the_x_pass_is_fused(width: int, radius: int, expected: tuple[int, int] | None) -> None:
    found = np.flatnonzero(reference.is_fused(width, radius))
    assert ((found[0], found[-1] + 1) if len(found) else None) == expected


def test_the_reference_mirrors_without_the_edge_voxel() -> None:
    line = np.arange(5, dtype=np.float32).reshape(1, 1, 5)
    assert reference.shifted(line, 2, -4)[0, 0].tolist() == [4, 3, 2, 1, 0]
    assert reference.shifted(line, 2, 2)[0, 0].tolist() == [2, 3, 4, 3, 2]


def test_eigenvalues_are_near_those_of_a_linear_algebra_library() -> None:
    rng = np.random.default_rng(5)
    zz, zy, zx, yy, yx, xx = entries = rng.normal(size=(6, 500)).astype(np.float32)
    matrices = np.stack([zz, zy, zx, zy, yy, yx, zx, yx, xx], axis=-1).reshape(-1, 3, 3).astype(np.float64)
    expected = np.linalg.eigvalsh(matrices)[:, ::-1].T
    # Float32 closed form: its error near equal eigenvalues is about 1e-4 of the largest entry.
    np.testing.assert_allclose(reference.eigenvalues_3x3(*entries), expected, atol=2e-3)
    flat = np.stack([yy, yx, yx, xx], axis=-1).reshape(-1, 2, 2).astype(np.float64)
    expected = np.linalg.eigvalsh(flat)[:, ::-1].T
    np.testing.assert_allclose(reference.eigenvalues_2x2(yy, yx, xx), expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_eigenvalues_keep_the_flaw_of_the_original() -> None:
    """A single pair of entries beside the diagonal: the arc tangent's zero test stands after the swap."""
    zero, one = np.zeros(1, np.float32), np.ones(1, np.float32)
    found = [float(v[0]) for v in reference.eigenvalues_3x3(zero, zero, zero, zero, one, zero)]
    assert found == [float(np.float32(v)) for v in ("1.1547005", "-0.57735026", "-0.57735026")]


@pytest.mark.parametrize("trees", INEXACT)
def test_the_inexact_numbers_are_inexact(trees: int) -> None:
    votes = np.arange(trees + 1, dtype=np.float32)
    assert (votes / np.float32(trees) * np.float32(trees) != votes).any()


def test_the_order_of_forests_shows() -> None:
    """Otherwise the test above would compare nothing."""
    rng = np.random.default_rng(0)
    forests = [random_forest(rng, trees=t, columns=5, classes=3, pure=True) for t in INEXACT]
    features = random_features(5, count=1000)
    assert (walk.predict(forests, features) != walk.predict(forests[::-1], features)).any()

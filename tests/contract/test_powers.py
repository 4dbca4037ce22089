"""Powers on the CPU equal those of glibc, whatever the C library, also where they are subnormal or infinite."""

from __future__ import annotations

import math
import platform

import numpy as np
import pytest
from numba import njit

from pixelforest.kernels.cpu.loops.powers import power, third_and_fourth

RECORDED = [
    ("-0x1.9cc924924924ap+6", 3.0, "-0x1.0c4eea98835bfp+20"),
    ("0x1.336db6db6db6ep+5", 3.0, "0x1.bb5b2d8717233p+15"),
    ("0x1.0e0cccccccccdp+7", 3.0, "0x1.2c8171066e97ap+21"),
    ("0x1.7c6bca1af286cp+5", 3.0, "0x1.a408851707473p+16"),
    ("0x1.1570f0f0f0f0fp+7", 4.0, "0x1.612759926f690p+28"),
    ("0x1.dcefa8d9df51cp+5", 4.0, "0x1.81818a1b5f4dfp+23"),
    ("-0x1.5e48000000000p+8", 4.0, "0x1.c0a90b68e6851p+33"),
    ("0x1.b3f03f03f03f0p+4", 4.0, "0x1.0d15fa78e9b95p+19"),
    ("0x1.a4be0c3a1f9ecp+6", 1.5, "0x1.0db228d47a5f8p+10"),
    ("0x1.c308e540ee60fp+5", 1.5, "0x1.a754b92fdcfd5p+8"),
    ("0x1.48a417fa21f97p+6", 1.5, "0x1.745c1212f99c0p+9"),
    ("0x1.782a9f5eff478p+2", 1.5, "0x1.c7fc0f3067e00p+3"),
    ("0x1.9493959562eafp-300", 3.0, "0x1.f93bbed5d3342p-899"),
    ("0x1.bbd0c1054d317p-269", 3.0, "0x1.4d7a648db0be6p-805"),
    ("0x1.629431678c905p-684", 1.5, "0x0.1a14d072247cap-1022"),
    ("0x1.fffffffffffffp+1", 1.5, "0x1.ffffffffffffep+2"),
    ("0x1.fffffffffffffp+3", 1.5, "0x1.ffffffffffffep+5"),
    ("0x1.fffffffffffffp+5", 1.5, "0x1.ffffffffffffep+8"),
]


@njit
def powers(values, third, fourth):  # type: ignore[no-untyped-def]
    for i in range(len(values)):
        third[i], fourth[i] = third_and_fourth(values[i])


@njit
def raised(values, exponent, out):  # type: ignore[no-untyped-def]
    for i in range(len(values)):
        out[i] = power(values[i], exponent)


def library_power(value: float, exponent: float) -> float:
    try:
        return math.pow(value, exponent)
    except OverflowError:
        return math.copysign(math.inf, value) if exponent == 3 else math.inf
    except ValueError:
        return math.nan


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="compares with glibc's pow")
@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", ["deviations", "integers", "wide", "limits", "neighbours", "everything", "special"])
def test_powers_equal_those_of_glibc(kind: str) -> None:
    rng, n = np.random.default_rng(3), 50_000
    values = {
        "deviations": lambda: rng.integers(0, 256, n) - rng.integers(0, 12800, n) / rng.integers(20, 120, n),
        "integers": lambda: rng.integers(-70000, 70000, n).astype(np.float64),
        "wide": lambda: rng.normal(size=n) * 10.0 ** rng.integers(-8, 8, n),
        "limits": lambda: rng.normal(size=n) * 10.0 ** rng.choice([-212, -206, -107, -103, -80, -76, 77, 102, 205], n),
        "neighbours": lambda: np.nextafter(rng.integers(0, 300, n) ** 2.0, rng.choice([-np.inf, np.inf], n)),
        "everything": lambda: rng.integers(0, 2**64, n, dtype=np.uint64).view(np.float64),
        "special": lambda: np.array(
            [0.0, -0.0, 1.0, -1.0, 2.0**-20, np.inf, -np.inf, np.nan, 5e-324, 1e308, 1e60, 1e-60]
        ),
    }[kind]()
    third, fourth = np.empty(len(values)), np.empty(len(values))
    powers(values, third, fourth)
    always = {exponent: np.empty(len(values)) for exponent in (1.5, 3.0, 4.0)}  # without a look at the rounding error
    for exponent, out in always.items():
        raised(values, exponent, out)
    for found, exponent in ((third, 3.0), (fourth, 4.0), *((out, exponent) for exponent, out in always.items())):
        expected = np.array([library_power(value, exponent) for value in values.tolist()])
        np.testing.assert_array_equal(found, expected)
        assert (np.signbit(found) == np.signbit(expected))[~np.isnan(expected)].all()


@pytest.mark.parametrize(("value", "exponent", "expected"), RECORDED)
def test_powers_equal_recorded_ones(value: str, exponent: float, expected: str) -> None:
    """Powers by glibc that are not the nearest doubles, or that another order of the operations makes differ."""
    out = np.empty(1)
    raised(np.array([float.fromhex(value)]), exponent, out)
    assert out[0] == float.fromhex(expected)

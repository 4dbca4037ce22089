"""What the compiler makes of the CPU kernels: vectors, hardware multiply-adds where they belong, and no libm.

Speed would be lost silently otherwise, and a contracted sum or a library's sine would change last bits.
"""

from __future__ import annotations

import platform
import re

import llvmlite.binding as llvm
import numba
import pytest
from numba import types

from pixelforest.kernels.cpu import filters, formulas

FLOATS = types.Array(types.float32, 1, "C")
PLACES = types.Array(types.int64, 1, "C")
X86 = platform.machine().lower() in ("x86_64", "amd64")
HAS_FMA = X86 and bool(llvm.get_host_cpu_features().get("fma"))

pytestmark = pytest.mark.skipif(not HAS_FMA, reason="reads the machine code of x86-64 processors with FMA")

# A mnemonic ends in ps where it works on a vector of float32, in ss on a single one; ymm are registers of eight.
PACKED_FMA = re.compile(r"\bvfn?m(?:add|sub)\d{3}ps\b")
ANY_FMA = re.compile(r"\bvfn?m(?:add|sub)\d{3}[ps][sd]\b")
LIBRARY = re.compile(r"\b(?:sin|cos|sincos|atan|atan2|pow|sqrt|fma)f?\b")


def assembly(function: object, *argument_types: types.Type) -> str:
    """The machine code of one signature, compiled now: what comes from numba's cache carries none."""
    fresh = numba.njit(nogil=True)(function)
    fresh.compile(argument_types)
    (text,) = fresh.inspect_asm().values()
    return text


def sum_assembly(name: str) -> str:
    """Of one of the symmetric sums that the filters choose from."""
    symmetric_sum = getattr(filters, name)

    def call(out, src, plus, minus, taps, radius, n):  # type: ignore[no-untyped-def]
        places = (0, n, 2 * n)
        symmetric_sum(out, places, n, src, 0, n, 1, n, plus, minus, (taps, taps, taps), radius)

    return assembly(call, FLOATS, FLOATS, PLACES, PLACES, FLOATS, types.int64, types.int64)


def formula_assembly(name: str, volumes: int) -> str:
    formula = getattr(formulas, name)

    def call(buffer, places, n):  # type: ignore[no-untyped-def]
        formula(buffer, places, n)

    return assembly(call, FLOATS, types.UniTuple(types.int64, volumes), types.int64)


@pytest.mark.parametrize("name", ["sum_even_fused", "sum_odd_fused", "sum_even_odd_fused", "sum_even_odd_even_fused"])
def test_fused_sums_are_vectors_of_hardware_multiply_adds(name: str) -> None:
    text = sum_assembly(name)
    assert len(PACKED_FMA.findall(text)) >= 4
    assert "ymm" in text
    assert not LIBRARY.search(text)


def test_rows_that_are_summed_together_are_vectors_of_hardware_multiply_adds() -> None:
    def call(out, src, taps, n, radius):  # type: ignore[no-untyped-def]
        filters.sum_even_rows_fused(out, 0, n, src, 0, n, 1, n, taps, radius)

    text = assembly(call, FLOATS, FLOATS, FLOATS, types.int64, types.int64)
    assert len(PACKED_FMA.findall(text)) >= 4 * filters.ROWS
    assert "ymm" in text
    assert not LIBRARY.search(text)


@pytest.mark.parametrize(
    "name", ["sum_even_rounded", "sum_odd_rounded", "sum_even_odd_rounded", "sum_even_odd_even_rounded"]
)
def test_rounded_sums_are_vectors_and_never_contracted(name: str) -> None:
    text = sum_assembly(name)
    assert not ANY_FMA.search(text)
    assert re.search(r"\bvmulps\b.*ymm", text)


@pytest.mark.parametrize(
    ("name", "volumes"),
    [
        ("add", 3),
        ("add_three", 4),
        ("subtract", 3),
        ("multiply", 3),
        ("magnitude_2d", 3),
        ("magnitude_3d", 4),
        ("eigenvalues_2x2", 5),
        ("eigenvalues_3x3", 9),
    ],
)
def test_formulas_are_vectors_without_multiply_adds_and_libm(name: str, volumes: int) -> None:
    text = formula_assembly(name, volumes)
    assert not ANY_FMA.search(text)
    assert re.search(r"\bv(?:add|sub|mul)ps\b.*ymm", text)
    assert not LIBRARY.search(text)
    if name.startswith(("magnitude", "eigenvalues")):
        assert re.search(r"\bvsqrtps\b.*ymm", text)

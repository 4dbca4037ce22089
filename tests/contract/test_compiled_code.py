"""Machine code of the CPU kernels: vectors, hardware multiply-adds only where intended, and no libm.

Without these tests speed could be lost silently, and a contracted sum or a library's sine would change last bits.
"""

from __future__ import annotations

import platform
import re

import pytest
from support.machine_code import assembly

from pixelforest.kernels.cpu.loops import filters

# The text is that of one fixed x86-64 processor, so any x86-64 machine can compile it: see support/machine_code.py.
pytestmark = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="compiles for x86-64, which takes its assembler"
)

# A mnemonic ends in ps where it works on a vector of float32, in ss on a single one; ymm are registers of eight.
PACKED_FMA = re.compile(r"\bvfn?m(?:add|sub)\d{3}ps\b")
ANY_FMA = re.compile(r"\bvfn?m(?:add|sub)\d{3}[ps][sd]\b")
LIBRARY = re.compile(r"\b(?:sin|cos|sincos|atan|atan2|pow|sqrt|fma|hypot)f?\b")


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["sum_even_fused", "sum_odd_fused", "sum_even_odd_fused", "sum_even_odd_even_fused"])
def test_fused_sums_are_vectors_of_hardware_multiply_adds(name: str) -> None:
    text = assembly(name)
    assert len(PACKED_FMA.findall(text)) >= 4
    assert "ymm" in text
    assert not LIBRARY.search(text)


def test_rows_that_are_summed_together_are_vectors_of_hardware_multiply_adds() -> None:
    text = assembly("rows")
    assert len(PACKED_FMA.findall(text)) >= 4 * filters.ROWS
    assert "ymm" in text
    assert not LIBRARY.search(text)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "name", ["sum_even_rounded", "sum_odd_rounded", "sum_even_odd_rounded", "sum_even_odd_even_rounded"]
)
def test_rounded_sums_are_vectors_and_never_contracted(name: str) -> None:
    text = assembly(name)
    assert not ANY_FMA.search(text)
    assert re.search(r"\bvmulps\b.*ymm", text)


@pytest.mark.sampled(2)
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
    text = assembly(f"{name}-{volumes}")
    assert not ANY_FMA.search(text)
    assert re.search(r"\bv(?:add|sub|mul)ps\b.*ymm", text)
    assert not LIBRARY.search(text)
    if name.startswith(("magnitude", "eigenvalues")):
        assert re.search(r"\bvsqrtps\b.*ymm", text)


def test_the_hypotenuse_is_neither_contracted_nor_the_librarys() -> None:
    text = assembly("hypotenuse")
    assert "vsqrtsd" in text
    assert not ANY_FMA.search(text)
    assert not LIBRARY.search(text)

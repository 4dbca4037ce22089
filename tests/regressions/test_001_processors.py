"""The tests were red on AMD Zen 4: one of them read machine code and expected the registers of another processor."""

from __future__ import annotations

import platform
import re

import pytest
from support.machine_code import HASWELL, assembly

from pixelforest.kernels.cpu.build import targets

AVX512 = "+avx512f,+avx512bw,+avx512cd,+avx512dq,+avx512vl"
PROCESSORS = {
    "haswell": HASWELL,
    "skylake-avx512": ("skylake-avx512", f"{HASWELL[1]},{AVX512}"),
    "znver4": ("znver4", f"{HASWELL[1]},{AVX512}"),
}
ANY_FMA = re.compile(r"\bvfn?m(?:add|sub)\d{3}[ps][sd]\b")

on_x86 = pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="compiles for x86-64")


@pytest.mark.sampled(1)
@on_x86
@pytest.mark.parametrize("processor", PROCESSORS)
def test_formulas_are_vectors_and_never_contracted_whatever_the_registers(processor: str) -> None:
    text = assembly("eigenvalues_2x2-5", PROCESSORS[processor])
    assert re.search(r"\bv(?:add|sub|mul)ps\b.*[yz]mm", text)
    assert not ANY_FMA.search(text)


@pytest.mark.slow
@on_x86
def test_wide_registers_are_seen_where_the_processor_has_them() -> None:
    """Compiling for a named processor works: the text of Zen 4 has the registers that the old test did not expect."""
    assert "zmm" in assembly("eigenvalues_3x3-9", PROCESSORS["znver4"])
    assert "zmm" not in assembly("eigenvalues_3x3-9", PROCESSORS["haswell"])


def test_code_for_a_class_of_processors_has_its_features_by_name() -> None:
    """Kernels choose instructions by a feature's name, which a class such as x86-64-v3 implies without saying it."""
    for name, target in targets.TARGETS.items():
        assert ("+avx2" in target.features.split(",")) == name.endswith("x86_64")

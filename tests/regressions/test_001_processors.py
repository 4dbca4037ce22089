"""The tests were red on AMD Zen 4: one of them read machine code and expected the registers of another processor."""

from __future__ import annotations

import os
import platform
import re

import llvmlite.binding as llvm
import pytest
from support.machine_code import HASWELL, assembly

from pixelforest import kernels
from pixelforest.engine.backends import open_backend
from pixelforest.engine.errors import BackendUnavailable
from pixelforest.kernels.contract import DeviceUnavailable
from pixelforest.kernels.cpu.build import cache_key as fingerprint

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


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_processors_name_alone_leaves_the_features_of_this_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that all tests can run with a name: the code is arranged for that processor, and runs on this one."""
    monkeypatch.setenv("NUMBA_CPU_NAME", name)
    monkeypatch.delenv("NUMBA_CPU_FEATURES", raising=False)
    fingerprint.processor.cache_clear()
    try:
        assert fingerprint.processor() == (name, llvm.get_host_cpu_features().flatten())
        assert fingerprint.missing_features() == ()
    finally:
        monkeypatch.undo()
        fingerprint.processor.cache_clear()


def test_code_with_features_that_this_processor_lacks_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = next(name for name, is_there in llvm.get_host_cpu_features().items() if not is_there)
    monkeypatch.setenv("NUMBA_CPU_FEATURES", f"+{lacking}")
    with pytest.raises(DeviceUnavailable, match=f"turns on {re.escape(lacking)}, which this processor lacks"):
        kernels.load("cpu")
    with pytest.raises(BackendUnavailable, match="unset it"):
        open_backend("cpu")


def test_features_that_this_processor_has_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    own = [name for name, is_there in llvm.get_host_cpu_features().items() if is_there]
    monkeypatch.setenv("NUMBA_CPU_FEATURES", ",".join(f"+{name}" for name in own))
    assert kernels.load("cpu").name == "cpu"


@on_x86
def test_code_for_a_class_of_processors_has_its_features_by_name() -> None:
    """Kernels choose instructions by a feature's name, which a class such as x86-64-v3 implies without saying it."""
    assert "+avx2" in fingerprint._CLASS[1].split(",")
    assert os.environ.get("NUMBA_CPU_NAME") or fingerprint.targets()[0] == fingerprint.processor()

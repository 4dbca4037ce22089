"""Reader of x86-64 machine code that bench/levels.py compares, on text as objdump writes it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"

SUM = """
0000000000000010 <_ZN11pixelforest7kernels3sumB2v1>:
  10:\txor    %eax,%eax
  12:\tdata16 cs nopw 0x0(%rax,%rax,1)
  20:\tvmulps (%rdi,%rax,4),%zmm0,%zmm1
  24:\tvaddps %zmm1,%zmm2,%zmm2
  2a:\tinc    %rax
  2d:\tcmp    %rsi,%rax
  30:\tjl     20 <_ZN11pixelforest7kernels3sumB2v1+0x10>
  32:\tdec    %rdx
  34:\tjne    10 <_ZN11pixelforest7kernels3sumB2v1>
  36:\tret
"""
CONTRACTED = SUM.replace("vmulps (%rdi,%rax,4),%zmm0,%zmm1", "vfmadd231ps (%rdi,%rax,4),%zmm0,%zmm2")


@pytest.fixture
def code(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCH))
    return import_module("x86_code")


def test_functions_and_innermost_loops_are_found(code: ModuleType) -> None:
    (function,) = code.parse(SUM)
    assert function.name == "sum"
    assert len(function.code) == 9  # without the padding
    ((*body, jump),) = function.loops()
    assert [each.operation for each in body] == ["vmulps", "vaddps", "inc", "cmp"]
    assert jump.target == 0x20
    assert code.count(function.code, "zmm") == 2


def test_contraction_and_approximations_are_reported(code: ModuleType) -> None:
    """A function with multiply-adds may have more of them, as its loops may be copied."""

    def find(old: str, new: str) -> object:
        return code.find_new_rounding(code.parse(old), code.parse(new))

    assert find(SUM, SUM) == []
    assert find(SUM, CONTRACTED) == ["multiply-add in sum"]
    assert find(CONTRACTED, CONTRACTED + CONTRACTED) == []
    for name in ("vrcp14ps", "vrsqrt14ps", "vrcpps", "rsqrtss"):
        assert find(SUM, SUM.replace("vaddps", name)) == ["approximation in sum"]

"""Assembly text of CPU kernels, compiled for one fixed processor in a process of its own.

The processor of the machine that runs the tests does not matter, nor do numba's variables for choosing another one:
what a compiler emits for it depends on its name (AVX-512 registers for Zen 4, for example), so a test that reads
machine code has to name it. The code is never run.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

# Haswell is the oldest processor with AVX2 and FMA.
HASWELL = ("haswell", "+avx,+avx2,+bmi,+bmi2,+f16c,+fma,+lzcnt,+movbe,+popcnt")

_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from support import machine_code
for line in sys.stdin:
    print(json.dumps(machine_code.compile_here(line.strip())), flush=True)
"""


@cache
def assembly(name: str, processor: tuple[str, str] = HASWELL) -> str:
    """Assembly text of a kernel, see ``compile_here``, for an x86-64 processor: its name and LLVM's features."""
    compiler = _compiler(processor)
    assert compiler.stdin is not None
    assert compiler.stdout is not None
    print(name, file=compiler.stdin, flush=True)
    answer = compiler.stdout.readline()
    assert answer, f"{name} could not be compiled for {processor[0]}: see stderr"
    text: str = json.loads(answer)
    return text


@cache
def _compiler(processor: tuple[str, str]) -> subprocess.Popen[str]:
    """A process that answers each line, the name of a kernel, with its text; it ends with this one."""
    environment = {**os.environ, "NUMBA_CPU_NAME": processor[0], "NUMBA_CPU_FEATURES": processor[1]}
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, json.dumps(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    atexit.register(process.communicate)  # closes its input, so that it ends
    return process


def compile_here(name: str) -> str:
    """Assembly text of a kernel for the processor that numba's variables name.

    name   of a sum in ``filters``; "rows" for the sums of several rows; a formula in ``formulas`` and its number of
           volumes, as in add-3; "hypotenuse"
    """
    import numba
    from numba import types

    floats, places, whole = types.Array(types.float32, 1, "C"), types.Array(types.int64, 1, "C"), types.int64
    signature: tuple[Any, ...]
    if name == "hypotenuse":
        function, signature = _hypotenuse(), (types.float64, types.float64)
    elif name == "rows":
        function, signature = _rows(), (floats, floats, floats, whole, whole)
    elif name.startswith("sum_"):
        function, signature = _sum(name), (floats, floats, places, places, floats, whole, whole)
    else:
        formula, volumes = name.split("-")
        function, signature = _formula(formula), (floats, types.UniTuple(whole, int(volumes)), whole)
    # Compiled now: what comes from numba's cache carries no text.
    fresh = numba.njit(nogil=True)(function)
    fresh.compile(signature)
    (text,) = fresh.inspect_asm().values()
    return str(text)


def _hypotenuse() -> Callable[..., Any]:
    from pixelforest.kernels.cpu.loops.hypotenuse import hypotenuse

    def call(x, y):  # type: ignore[no-untyped-def]
        return hypotenuse(x, y)

    return call


def _rows() -> Callable[..., Any]:
    from pixelforest.kernels.cpu.loops import filters

    def call(out, src, taps, n, radius):  # type: ignore[no-untyped-def]
        filters.sum_even_rows_fused(out, 0, n, src, 0, n, 1, n, taps, radius)

    return call


def _sum(name: str) -> Callable[..., Any]:
    """One of the symmetric sums that the filters choose from."""
    from pixelforest.kernels.cpu.loops import filters

    symmetric_sum = getattr(filters, name)

    def call(out, src, plus, minus, taps, radius, n):  # type: ignore[no-untyped-def]
        places = (0, n, 2 * n)
        symmetric_sum(out, places, n, src, 0, n, 1, n, plus, minus, (taps, taps, taps), radius)

    return call


def _formula(name: str) -> Callable[..., Any]:
    from pixelforest.kernels.cpu.simd import formulas

    formula = getattr(formulas, name)

    def call(buffer, places, n):  # type: ignore[no-untyped-def]
        formula(buffer, places, n)

    return call

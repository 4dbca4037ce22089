"""Loops that measure the machine's limits, in a module of their own, so that numba caches them."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8  # float32 in one vector, as in the kernels
_CHAINS = 12  # independent sums: more than latency times units on any processor so far, fewer than registers


@intrinsic
def _multiply_add(typing_context, rounds, factor, start):  # type: ignore[no-untyped-def]
    """Emit ``rounds`` fused multiply-adds in each of several chains of 8 lanes; the sum keeps them alive."""
    signature = types.float32(types.int64, types.float32, types.float32)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.VectorType(ir.FloatType(), LANES)

        def splat(scalar: Any) -> Any:
            vector = ir.Constant(kind, ir.Undefined)
            for i in range(LANES):
                vector = builder.insert_element(vector, scalar, ir.Constant(ir.IntType(32), i))
            return vector

        factor, start = splat(args[1]), splat(args[2])
        fused = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [kind] * 3), f"llvm.fma.v{LANES}f32"
        )
        chains = [cgutils.alloca_once_value(builder, start) for _ in range(_CHAINS)]
        with cgutils.for_range(builder, args[0]):
            for chain in chains:
                builder.store(builder.call(fused, [builder.load(chain), factor, start]), chain)
        total = ir.Constant(ir.FloatType(), 0.0)
        for chain in chains:
            vector = builder.load(chain)
            for i in range(LANES):
                total = builder.fadd(total, builder.extract_element(vector, ir.Constant(ir.IntType(32), i)))
        return total

    return signature, codegen


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def multiply_add(rounds: int, factor: float, start: float) -> float:
    """Keep the vector unit busy; ``multiply_adds_of`` counts the operations."""
    return _multiply_add(rounds, np.float32(factor), np.float32(start))  # type: ignore[no-any-return]


def multiply_adds_of(rounds: int) -> int:
    """Number of single-lane operations of a call of ``multiply_add``."""
    return rounds * _CHAINS * LANES


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def triad(out: np.ndarray, a: np.ndarray, b: np.ndarray, factor: float, rounds: int) -> None:
    """Compute ``out = a + factor * b`` several times: 12 bytes an element, float32."""
    f = np.float32(factor)
    for _ in range(rounds):
        for i in range(out.size):
            out[i] = a[i] + f * b[i]

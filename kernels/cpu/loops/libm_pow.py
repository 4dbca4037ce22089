"""Third and fourth powers that equal the C library's ``pow``, mostly without calling it.

A power is formed with its rounding error. ``pow`` is off by less than 0.54 units in the last place (glibc), so if
the exact power is far enough from the midpoint of two doubles, ``pow`` returns the nearer one.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..build.jit import njit
from ..simd.lanes import noinline

_DOUBT = 1.12  # above 0.5 / (1 - 0.54): with the error multiplied by it, the sum must round to the same double
_MIN_SIZE, _MAX_SIZE = 1e-60, 1e60  # neither a power nor its error overflows or underflows


@intrinsic
def fused_multiply_add(typing_context, a, b, c):
    """Compute ``a * b + c`` of doubles, rounded once, in hardware or software with the same bits."""
    signature = types.float64(types.float64, types.float64, types.float64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        double = ir.DoubleType()
        kind = ir.FunctionType(double, [double] * 3)
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.f64"), args)

    return signature, codegen


@njit(nogil=True, cache=True, forceinline=False)  # explicit, since the caller's option would be inherited
def library_power(x, exponent):
    """Call ``pow`` hidden from LLVM, which would otherwise compute it always and select afterwards."""
    noinline()
    return math.pow(x, exponent)


@njit(nogil=True, cache=True, forceinline=True)
def third_and_fourth(x):
    """Compute ``pow(x, 3)`` and ``pow(x, 4)``."""
    size = abs(x)
    if not (_MIN_SIZE < size < _MAX_SIZE):
        return library_power(x, 3.0), library_power(x, 4.0)
    square = x * x
    lost = fused_multiply_add(x, x, -square)  # the rounding error, exactly
    cube = square * x
    rest = fused_multiply_add(square, x, -cube) + lost * x
    third = cube + rest
    if third + _DOUBT * (rest - (third - cube)) != third:
        third = library_power(x, 3.0)
    biquadrate = square * square
    rest = fused_multiply_add(square, square, -biquadrate) + 2.0 * square * lost
    fourth = biquadrate + rest
    if fourth + _DOUBT * (rest - (fourth - biquadrate)) != fourth:
        fourth = library_power(x, 4.0)
    return third, fourth

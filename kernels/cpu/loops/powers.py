"""Powers with the bits of glibc's ``pow`` on x86-64 and aarch64, on every processor and with every C library.

C libraries disagree on the last bit of a power. glibc computes a logarithm with 15 further bits, multiplies it by the
exponent, and raises e to it, each with a table of 128 rows, a polynomial and fused multiply-adds (its error is below
0.54 units in the last place). Tables and order of the operations are the same here, so the bits are. Third and fourth
powers come cheaper: formed with their rounding error, they are decided unless they lie near the midpoint of two
doubles.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..build.jit import njit
from ..simd.lanes import noinline

_DOUBT = 1.12  # above 0.5 / (1 - 0.54): with the error multiplied by it, the sum must round to the same double
_MIN_SIZE, _MAX_SIZE = 1e-60, 1e60  # neither a power nor its error overflows or underflows

_ROWS = 128  # of each table
_FIRST = 0x3FE6955500000000  # bits of the double where the first of the intervals of the logarithm begins
_FRACTION = 52  # bits of a double's fraction
_SIGN = np.int64(-(2**63))
# log(2) in two parts, and ln(1 + r) + r²/2 - r³/3 ... as a polynomial; factors -2, 4 and -8 belong to powers of -r²/2.
_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.62e42fefa3800p-1"), float.fromhex("0x1.ef35793c76730p-45")
_A1 = -2 * float.fromhex("0x1.555555555556p-2")
_A2 = 2 * float.fromhex("0x1.0000000000006p-2")
_A3 = 4 * float.fromhex("0x1.999999959554ep-3")
_A4 = -4 * float.fromhex("0x1.555555529a47ap-3")
_A5 = -8 * float.fromhex("0x1.2495b9b4845e9p-3")
_A6 = 8 * float.fromhex("0x1.0002b8b263fc3p-3")
# 128 / log(2), -log(2) / 128 in two parts, and (exp(r) - 1 - r) / r² as a polynomial.
_STEPS = 128 * float.fromhex("0x1.71547652b82fep0")
_STEP_HIGH, _STEP_LOW = float.fromhex("-0x1.62e42fefa0000p-8"), float.fromhex("-0x1.cf79abc9e3b3ap-47")
_C2, _C3 = float.fromhex("0x1.ffffffffffdbdp-2"), float.fromhex("0x1.555555555543cp-3")
_C4, _C5 = float.fromhex("0x1.55555cf172b91p-5"), float.fromhex("0x1.1111167a4d017p-7")
_TO_INTEGER = 1.5 * 2.0**52  # a double to which this is added has no fraction


def _logarithms() -> np.ndarray:
    """Table (128, 3) of an inverse 1/c near the middle of each interval, and log(c) in two parts."""
    rows = []
    bounds = (_FIRST + (np.arange(_ROWS + 1) << (_FRACTION - 7))).view(np.float64)
    for middle in ((bounds[:-1] + bounds[1:]) / 2).tolist():
        parts = _ROWS if middle < 1.0 else 2 * _ROWS
        inverse = round(parts / middle) / parts
        log = -Decimal(inverse).ln()
        head = float(round(log * 2**43)) / 2.0**43
        rows.append((inverse, head, float(log - Decimal(head))))
    return np.array(rows)


def _exponentials() -> tuple[np.ndarray, np.ndarray]:
    """Tables (128,) of 2^(i/128): bits of the double without its step of the exponent, and the rest as a share."""
    bits, rest = [], []
    for i in range(_ROWS):
        exact = Decimal(2) ** (Decimal(i) / _ROWS)
        head = float(exact)
        bits.append(int(np.float64(head).view(np.int64)) - (i << (_FRACTION - 7)))
        rest.append(float(exact / Decimal(head) - 1))
    return np.array(bits), np.array(rest)


with localcontext() as _digits:
    _digits.prec = 60
    _LOGS = _logarithms()
    _EXP_BITS, _EXP_REST = _exponentials()


@intrinsic
def fused_multiply_add(typing_context, a, b, c):
    """Compute ``a * b + c`` of doubles, rounded once, in hardware or software with the same bits."""
    signature = types.float64(types.float64, types.float64, types.float64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        double = ir.DoubleType()
        kind = ir.FunctionType(double, [double] * 3)
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.f64"), args)

    return signature, codegen


@intrinsic
def _bits_of(typing_context, x):
    """Bits of a double, as an integer."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), codegen


@intrinsic
def _double_of(typing_context, bits):
    """Double with the bits of an integer."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), codegen


@njit(nogil=True, cache=True, forceinline=False, error_model="numpy")
def power(x, exponent):
    """Compute ``pow(x, exponent)`` for an exponent of 3, 4, or 1.5."""
    noinline()
    size, sign = abs(x), np.int64(0)
    if not (0.0 < size < math.inf):
        return size * size if exponent != 3.0 else x * size
    if x < 0.0:
        if exponent == 1.5:
            return math.nan
        if exponent == 3.0:
            sign = _SIGN
    bits = _bits_of(size)
    if bits >> _FRACTION == 0:
        bits = _bits_of(size * 2.0**52) - (np.int64(52) << _FRACTION)
    high, low = _logarithm(bits)
    product = exponent * high
    rest = fused_multiply_add(exponent, low, fused_multiply_add(exponent, high, -product))
    return _exponential(product, rest, sign)


@njit(nogil=True, cache=True, forceinline=True, error_model="numpy")
def _logarithm(bits):
    """Compute the logarithm of a positive double, by its bits, as a sum of two doubles."""
    offset = bits - np.int64(_FIRST)
    row = (offset >> (_FRACTION - 7)) & (_ROWS - 1)
    exponent = offset >> _FRACTION
    part = _double_of(bits - (exponent << _FRACTION))
    k, inverse, log, log_rest = np.float64(exponent), _LOGS[row, 0], _LOGS[row, 1], _LOGS[row, 2]
    r = fused_multiply_add(part, inverse, -1.0)
    first = fused_multiply_add(k, _LN2_HIGH, log)
    second = first + r
    low1 = fused_multiply_add(k, _LN2_LOW, log_rest)
    low2 = first - second + r
    half = -0.5 * r
    square = r * half
    cube = r * square
    high = second + square
    low3 = fused_multiply_add(half, r, -square)
    low4 = second - high + square
    series = fused_multiply_add(r, _A6, _A5)
    series = fused_multiply_add(square, series, fused_multiply_add(r, _A4, _A3))
    series = fused_multiply_add(square, series, fused_multiply_add(r, _A2, _A1))
    low = fused_multiply_add(cube, series, low1 + low2 + low3 + low4)
    result = high + low
    return result, high - result + low


@njit(nogil=True, cache=True, forceinline=True, error_model="numpy")
def _exponential(x, rest, sign):
    """Compute ``exp(x + rest)``; sign is 0 or the bit of a minus sign."""
    size = abs(x)
    if size < 2.0**-54:
        return _double_of(_bits_of(1.0 + x) | sign)
    if size >= 1024.0:
        return _double_of(_bits_of(math.inf if x > 0.0 else 0.0) | sign)
    shifted = fused_multiply_add(_STEPS, x, _TO_INTEGER)
    steps = _bits_of(shifted)
    k = shifted - _TO_INTEGER
    r = fused_multiply_add(k, _STEP_LOW, fused_multiply_add(k, _STEP_HIGH, x)) + rest
    row = steps & (_ROWS - 1)
    bits = _EXP_BITS[row] + (steps << (_FRACTION - 7)) + sign
    square = r * r
    more = fused_multiply_add(square, fused_multiply_add(r, _C3, _C2), _EXP_REST[row] + r)
    more = fused_multiply_add(square * square, fused_multiply_add(r, _C5, _C4), more)
    if size >= 512.0:
        return _near_the_limits(more, bits, k)
    scale = _double_of(bits)
    return fused_multiply_add(scale, more, scale)


@njit(nogil=True, cache=True, forceinline=True, error_model="numpy")
def _near_the_limits(more, bits, steps):
    """Compute ``scale + scale * more`` where the result may be infinite, subnormal, or zero; bits are the scale's."""
    if steps > 0.0:
        scale = _double_of(bits - (np.int64(1009) << _FRACTION))
        return 2.0**1009 * fused_multiply_add(scale, more, scale)
    scale = _double_of(bits + (np.int64(1022) << _FRACTION))
    change = scale * more
    result = scale + change
    if abs(result) < 1.0:  # rounded once, to the digits that a subnormal has
        one = -1.0 if result < 0.0 else 1.0
        low = scale - result + change
        high = one + result
        low = one - high + result + low
        result = (high + low) - one
        if result == 0.0:
            result = _double_of(_bits_of(scale) & _SIGN)
    return 2.0**-1022 * result


@njit(nogil=True, cache=True, forceinline=True)
def third_and_fourth(x):
    """Compute ``pow(x, 3)`` and ``pow(x, 4)``."""
    size = abs(x)
    if not (_MIN_SIZE < size < _MAX_SIZE):
        return power(x, 3.0), power(x, 4.0)
    square = x * x
    lost = fused_multiply_add(x, x, -square)  # the rounding error, exactly
    cube = square * x
    rest = fused_multiply_add(square, x, -cube) + lost * x
    third = cube + rest
    if third + _DOUBT * (rest - (third - cube)) != third:
        third = power(x, 3.0)
    biquadrate = square * square
    rest = fused_multiply_add(square, square, -biquadrate) + 2.0 * square * lost
    fourth = biquadrate + rest
    if fourth + _DOUBT * (rest - (fourth - biquadrate)) != fourth:
        fourth = power(x, 4.0)
    return third, fourth

"""Length of the hypotenuse, with the same bits on every processor and with every C library.

C libraries disagree on the last bit of ``hypot``, one library even between processors with and without fused
multiply-adds. The values here are those that ilastik has on x86-64 Linux: a square root and one correction step, each
operation rounded (C. F. Borges, "An improved algorithm for hypot(a,b)", arXiv:1904.09481, the unfused variant).
"""

from __future__ import annotations

import math

from ..build.jit import njit
from ..simd.lanes import noinline

# Outside of these bounds a square could overflow or lose bits to underflow; powers of two scale without rounding.
_LARGE, _SMALL = 2.0**511, 2.0**-459
_UP, _DOWN = 2.0**600, 2.0**-600
_LOST = 2.0**54  # a leg shorter than the other one by this factor vanishes in rounding


@njit(nogil=True, cache=True, error_model="numpy")
def hypotenuse(x, y):
    """Compute ``sqrt(x * x + y * y)`` of doubles, with an error below one unit in the last place.

    Infinite if x or y is, even if the other is NaN, as the C standard demands.
    """
    noinline()
    if math.isinf(x) or math.isinf(y):
        return math.inf
    long, short = abs(x), abs(y)
    if long < short:
        long, short = short, long
    if math.isnan(long) or math.isnan(short) or short * _LOST <= long:
        return long + short
    if long > _LARGE:
        return _corrected(long * _DOWN, short * _DOWN) * _UP
    if short < _SMALL:
        return _corrected(long * _UP, short * _UP) * _DOWN
    return _corrected(long, short)


@njit(nogil=True, cache=True, error_model="numpy")
def _corrected(long, short):
    """Compute the root with one step of Newton's method; legs as above, 0 < short <= long."""
    root = math.sqrt(long * long + short * short)
    # The excess root^2 - long^2 - short^2, with the terms arranged so that little of it is lost to rounding.
    if root <= 2.0 * short:
        beyond = root - short
        excess = long * (2.0 * beyond - long) + (beyond - 2.0 * (long - short)) * beyond
    else:
        beyond = root - long
        excess = 2.0 * beyond * (long - 2.0 * short) + ((4.0 * beyond - short) * short + beyond * beyond)
    return root - excess / (2.0 * root)

"""Exponential function with the bits of glibc's ``exp``, with every C library and on every processor.

For the few weights of filters that stay in double: exact fractions stand for the fused multiply-adds, at 50
microseconds a value. C libraries disagree on the last bit; the tables and the order of the operations here are glibc's,
whose error is below 0.511 units in the last place.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache

_ROWS = 128
# 128 / log(2), -log(2) / 128 in two parts, and (exp(r) - 1 - r) / r² as a polynomial.
_STEPS = _ROWS * float.fromhex("0x1.71547652b82fep0")
_STEP_HIGH, _STEP_LOW = float.fromhex("-0x1.62e42fefa0000p-8"), float.fromhex("-0x1.cf79abc9e3b3ap-47")
_C2, _C3 = float.fromhex("0x1.ffffffffffdbdp-2"), float.fromhex("0x1.555555555543cp-3")
_C4, _C5 = float.fromhex("0x1.55555cf172b91p-5"), float.fromhex("0x1.1111167a4d017p-7")
_TO_INTEGER = 1.5 * 2.0**52  # a double to which this is added has no fraction
_SMALLEST, _LARGE = 2.0**-54, 512.0
_VANISHING = -746.0  # its exponential is less than half of the smallest double


def exponential(x: float) -> float:
    """Compute ``exp(x)`` for x below 512."""
    if not x < _LARGE:
        raise ValueError(f"the exponential of {x} is not computed")
    if x <= _VANISHING:
        return 0.0
    if abs(x) < _SMALLEST:
        return 1.0 + x
    steps = _fused(_STEPS, x, _TO_INTEGER) - _TO_INTEGER
    r = _fused(steps, _STEP_LOW, _fused(steps, _STEP_HIGH, x))
    whole, row = divmod(int(steps), _ROWS)
    scale, rest = _root_of_two(row)
    square = r * r
    more = _fused(square, _fused(r, _C3, _C2), rest + r)
    more = _fused(square * square, _fused(r, _C5, _C4), more)
    if x > -_LARGE:
        scale *= 2.0**whole
        return _fused(scale, more, scale)
    # Perhaps subnormal: rounded once, to the digits that it will have.
    scale *= 2.0 ** (whole + 1022)
    change = scale * more
    result = scale + change
    if result < 1.0:
        low = scale - result + change
        high = 1.0 + result
        low = 1.0 - high + result + low
        result = (high + low) - 1.0
    return 2.0**-1022 * result


def _fused(a: float, b: float, c: float) -> float:
    """Compute ``a * b + c``, rounded once."""
    return float(Fraction(a) * Fraction(b) + Fraction(c))


@lru_cache(_ROWS)
def _root_of_two(row: int) -> tuple[float, float]:
    """Return 2^(row / 128) as a double, and the rest as a share of it."""
    with localcontext() as digits:
        digits.prec = 60
        exact = Decimal(2) ** (Decimal(row) / _ROWS)
        head = float(exact)
        return head, float(exact / Decimal(head) - 1)

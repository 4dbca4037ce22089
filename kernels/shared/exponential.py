"""Exponential function with the bits of glibc's ``exp``, with every C library and on every processor.

For the few weights of filters that stay in double. C libraries disagree on the last bit; the tables and the order of
the operations here are glibc's, whose error is below 0.511 units in the last place. Whole numbers stand for fused
multiply-adds and for the tables: Python divides them with one rounding, and every run would pay 4 ms for the import of
fractions and decimal numbers.
"""

from __future__ import annotations

from functools import lru_cache
from math import isqrt

_ROWS = 128
# 128 / log(2), -log(2) / 128 in two parts, and (exp(r) - 1 - r) / r² as a polynomial.
_STEPS = _ROWS * float.fromhex("0x1.71547652b82fep0")
_STEP_HIGH, _STEP_LOW = float.fromhex("-0x1.62e42fefa0000p-8"), float.fromhex("-0x1.cf79abc9e3b3ap-47")
_C2, _C3 = float.fromhex("0x1.ffffffffffdbdp-2"), float.fromhex("0x1.555555555543cp-3")
_C4, _C5 = float.fromhex("0x1.55555cf172b91p-5"), float.fromhex("0x1.1111167a4d017p-7")
_TO_INTEGER = 1.5 * 2.0**52  # a double to which this is added has no fraction
_SMALLEST, _LARGE = 2.0**-54, 512.0
_ROOT_BITS = 256
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
    (n, p), (m, q), (k, r) = a.as_integer_ratio(), b.as_integer_ratio(), c.as_integer_ratio()
    return (n * m * r + k * p * q) / (p * q * r)


@lru_cache(_ROWS)
def _root_of_two(row: int) -> tuple[float, float]:
    """Return 2^(row / 128) as a double, and the rest as a share of it."""
    exact = 1 << (row + _ROOT_BITS)
    for _ in range(_ROWS.bit_length() - 1):
        exact = isqrt(exact << _ROOT_BITS)
    head = exact / (1 << _ROOT_BITS)
    n, p = head.as_integer_ratio()
    whole = n << _ROOT_BITS
    return head, (exact * p - whole) / whole

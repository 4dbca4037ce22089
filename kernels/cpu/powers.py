"""Third and fourth powers that equal the C library's ``pow``, mostly without calling it.

A power is formed with its rounding error. ``pow`` is off by less than 0.54 units in the last place (glibc), so where
the exact power lies clear of the middle between two doubles, the nearer one is what ``pow`` gives.
"""

from __future__ import annotations

import math

from numba import njit

_SPLITTER = 134217729.0  # 2**27 + 1: cuts a double into two halves whose products are exact
_DOUBT = 1.12  # above 0.5 / (1 - 0.54): with the error enlarged so much, the sum still rounds to the same double
_SMALLEST, _LARGEST = 1e-60, 1e60  # where no product of the halves leaves the range of doubles


@njit(nogil=True, cache=True)
def product_error(a, b, product):
    """What ``a * b`` lost when it was rounded to ``product``."""
    t = _SPLITTER * a
    a_high = t - (t - a)
    a_low = a - a_high
    t = _SPLITTER * b
    b_high = t - (t - b)
    b_low = b - b_high
    return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


@njit(nogil=True, cache=True)
def third_and_fourth(x):
    """``pow(x, 3)`` and ``pow(x, 4)``."""
    size = abs(x)
    if not (_SMALLEST < size < _LARGEST):
        return math.pow(x, 3.0), math.pow(x, 4.0)
    square = x * x
    square_error = product_error(x, x, square)
    cube = square * x
    error = product_error(square, x, cube) + square_error * x
    third = cube + error
    if third + _DOUBT * (error - (third - cube)) != third:
        third = math.pow(x, 3.0)
    biquadrate = square * square
    error = product_error(square, square, biquadrate) + 2.0 * square * square_error
    fourth = biquadrate + error
    if fourth + _DOUBT * (error - (fourth - biquadrate)) != fourth:
        fourth = math.pow(x, 4.0)
    return third, fourth

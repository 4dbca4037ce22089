"""The fused multiply-add of float32, rounded once, where NumPy has none."""

from __future__ import annotations

import numpy as np


def fused_multiply_add(a: np.ndarray, b: np.ndarray | np.float32, c: np.ndarray) -> np.ndarray:
    """``a * b + c`` in float32 with one rounding.

    The product of two float32 is exact in double. The sum is rounded to odd: where bits were lost, the last bit that is
    kept is set, so that the second rounding, to float32, sees that the sum lay beside a tie and on which side.
    """
    with np.errstate(all="ignore"):
        product = np.float64(a) * np.float64(b)
        addend = np.float64(c)
        total = product + addend
        virtual = total - product
        lost = (product - (total - virtual)) + (addend - virtual)
        bits = np.atleast_1d(total).view(np.int64)
        is_even = (bits & 1) == 0
        inexact = np.isfinite(total) & np.isfinite(lost) & (lost != 0) & is_even.reshape(np.shape(total))
        # One more in the bits is one step away from zero, for either sign.
        step = np.where((lost > 0) == (total > 0), 1, -1)
        odd = (bits + np.where(inexact, step, 0).reshape(bits.shape)).view(np.float64)
        return odd.reshape(np.shape(total)).astype(np.float32)

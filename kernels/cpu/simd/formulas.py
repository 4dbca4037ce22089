"""Voxel-wise formulas as ilastik computes them: sums, magnitudes, eigenvalues of symmetric matrices, largest first.

No operation may be fused or reordered: near equal eigenvalues, a 3x3 closed form amplifies the last bit a thousandfold.
"""

from __future__ import annotations

from ...shared.polynomials import ARCTAN, COSINE, FOUR_OVER_PI, HALF_PI, PI, QUARTER_PI_PARTS, SINE, SQRT_3, THIRD
from .lanes import Lanes, elementwise, maximum


def _eigenvalues_2x2(yy: Lanes, xy: Lanes, xx: Lanes) -> tuple[Lanes, Lanes]:
    mean = (xx + yy) * 0.5
    half_gap = (xx - yy) * 0.5
    root = (half_gap * half_gap + xy * xy).sqrt()
    return mean + root, mean - root


def _arc_tangent(y: Lanes, x: Lanes) -> Lanes:
    """Compute atan2(y, x) for y >= 0, with the original's flaw: 0 or pi, not pi/2, if x is zero and y is not."""
    negative = x.is_negative()
    wide = x.magnitude()
    steep = y > wide
    big, small = steep.where(y, wide), steep.where(-wide, y)
    turns = negative.where(y.constant(-2), y.constant(0)) + steep.where(y.constant(1), y.constant(0))
    s = small / big
    t = s * s
    p = y.constant(ARCTAN[0])
    for coefficient in ARCTAN[1:]:
        p = p * t + coefficient
    w = turns * HALF_PI + ((t * s) * p + s)
    w = negative.where(-w, w)
    w = big.is_zero().where(HALF_PI, w)
    return small.is_zero().where(negative.where(y.constant(PI), y.constant(0)), w)


def _sine_cosine(angle: Lanes) -> tuple[Lanes, Lanes]:
    """Sine and cosine of an angle in [0, pi/3]; in that range only the first two octants occur."""
    upper = angle * FOUR_OVER_PI > BELOW_ONE
    j = upper.where(angle.constant(2), angle.constant(0))
    x = angle
    for part in QUARTER_PI_PARTS:
        x = x + j * part
    z = x * x
    p = (((z * COSINE[0] + COSINE[1]) * z + COSINE[2]) * z) * z - z * 0.5 + 1.0
    q = (((z * SINE[0] + SINE[1]) * z + SINE[2]) * z) * x + x
    return upper.where(p, q), upper.where(-q, p)


def _eigenvalues_3x3(zz: Lanes, zy: Lanes, zx: Lanes, yy: Lanes, yx: Lanes, xx: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """Eigenvalues by D. Eberly's closed form, on the entries divided by the largest of them."""
    largest = zz.magnitude()
    for entry in (zy, zx, yy, yx, xx):
        largest = maximum(entry.magnitude(), largest)
    divisor = largest.is_zero().where(1.0, largest)
    a00, a01, a02, a11, a12, a22 = (entry / divisor for entry in (zz, zy, zx, yy, yx, xx))
    zero = zz.constant(0)
    c0 = (((a00 * a11 * a22 + (a01 * 2.0) * a02 * a12) - a00 * a12 * a12) - a11 * a02 * a02) - a22 * a01 * a01
    c1 = ((((a00 * a11 - a01 * a01) + a00 * a22) - a02 * a02) + a11 * a22) - a12 * a12
    c2 = (a00 + a11) + a22
    u = c2 * THIRD
    a = (c1 - c2 * u) * THIRD
    a = (a < zero).where(a, zero)
    b = (c0 + u * ((u * 2.0) * u - c1)) * 0.5
    q = b * b + (a * a) * a
    q = (q < zero).where(q, zero)
    rho = (-a).sqrt()
    # The sign of the angle, lost by the magnitude, would only swap r1 and r2.
    sine, cosine = _sine_cosine(_arc_tangent((-q).sqrt().magnitude(), b) * THIRD)
    r0 = u + (rho * 2.0) * cosine
    r1 = u - rho * (cosine + sine * SQRT_3)
    r2 = u - rho * (cosine - sine * SQRT_3)
    in_order = r0 > r1
    high, low = in_order.where(r0, r1), in_order.where(r1, r0)
    in_order = high > r2
    top, rest = in_order.where(high, r2), in_order.where(r2, high)
    in_order = rest > low
    middle, bottom = in_order.where(rest, low), in_order.where(low, rest)
    return top * largest, middle * largest, bottom * largest


BELOW_ONE = FOUR_OVER_PI.dtype.type(1 - 2**-24)  # the largest float32 below 1, so that > means >= 1

eigenvalues_2x2 = elementwise(_eigenvalues_2x2, 3)
# Long chains of dependent operations: two interleaved vectors hide their latency (14 to 10 ns a voxel).
eigenvalues_3x3 = elementwise(_eigenvalues_3x3, 6, width=16)
add = elementwise(lambda a, b: (a + b,), 2)
subtract = elementwise(lambda a, b: (a - b,), 2)
multiply = elementwise(lambda a, b: (a * b,), 2)
add_three = elementwise(lambda a, b, c: ((a + b) + c,), 3)
magnitude_2d = elementwise(lambda y, x: ((y * y + x * x).sqrt(),), 2)
magnitude_3d = elementwise(lambda z, y, x: (((x * x + y * y) + z * z).sqrt(),), 3)

"""Coefficients of the float32 arc tangent, sine and cosine inside the 3x3 eigenvalues, equal on every device.

The coefficients are those of the vectorised math library that ilastik's filter library was built with; library
functions differ in the last bit from device to device. Highest power first.
"""

import numpy as np

ARCTAN = tuple(
    np.float32(c)
    for c in (
        0.0028236389625817537,
        -0.01595690287649632,
        0.04250498861074448,
        -0.07489009201526642,
        0.10634793341159821,
        -0.1420273631811142,
        0.19992695748805999,
        -0.33333101868629456,
    )
)
COSINE = tuple(np.float32(c) for c in (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2))
SINE = tuple(np.float32(c) for c in (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1))
# x - j * pi/4 in three steps, so that the difference keeps its bits
QUARTER_PI_PARTS = tuple(np.float32(c) for c in (-0.78515625, -2.4187564849853515e-4, -3.774894977445941e-8))
FOUR_OVER_PI = np.float32(1.27323954473516)
HALF_PI = np.float32(np.pi / 2)
PI = np.float32(np.pi)
THIRD = np.float32(1 / 3)
SQRT_3 = np.float32(np.sqrt(3.0))

"""Plan of the smoothing before a threshold."""

from __future__ import annotations

import numpy as np

from ...frozen import frozen


@frozen
class MapPlan:
    """Conversion of channels of prediction maps to float32 maps that can be compared with a threshold.

    Attributes
    ----------
    channels
        Wanted channels.
    value_range
        (lowest, highest), scaled to 0..1 by ``(value - lowest) / (highest - lowest)``, each step float32. None: values
        are not scaled.
    taps
        Along z, y, x: (radius + 1,) float64 from the centre outwards. None: the axis is not smoothed.
    """

    channels: tuple[int, ...]
    value_range: tuple[float, float] | None
    taps: tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]

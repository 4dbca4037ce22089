"""Statistics of each object's surroundings: the voxels nearer to it than a margin, in a window around its box.

Distances are Euclidean with steps stretched per axis. Stretches are whole numbers, so "nearer" is decided in integers:
every run of the object's voxels covers an interval in each line nearby, and the lines' unions are the neighbourhood.
Only one line of a window is in memory at a time.
"""

from __future__ import annotations

import numpy as np

from ...contract import Voxels
from ..loader import kernel
from .measure import Measurement


def measure_neighbourhoods(
    measurement: Measurement,
    labels: np.ndarray,
    raw: np.ndarray,
    start: tuple[int, int],
    objects: np.ndarray,
    boxes: np.ndarray,
    margin: Voxels,
    *,
    includes_object: bool,
) -> None:
    """See ``contract.ObjectBackend.measure_neighbourhoods``."""
    is_flat = labels.shape[0] == 1
    used = margin[1:] if is_flat else margin
    limit = max(used) if min(used) > 0 else 0
    stretch = tuple(limit // m if limit else 1 for m in used)
    window, pitch = ((0, *used), (1, *stretch)) if is_flat else (used, stretch)
    m = measurement
    kernel("add_neighbourhoods", m.histogram.bins.dtype)(
        labels, raw.reshape(-1, raw.shape[3]), raw.shape[:2], start, np.ascontiguousarray(objects), boxes, window,
        pitch, limit, includes_object, m.pass_number == 2,
        m.flags("values", "channels", "moments", "histogram"), tuple(m.values), tuple(m.channels), tuple(m.moments),
        tuple(m.histogram),
    )  # fmt: skip

"""Range of the values of a TIFF image, as text in its ImageDescription.

No tag of TIFF, OME or ImageJ is defined as the range of the data: min and max of ImageJ are the display range. So the
text contains an entry of its own, and min and max for ImageJ. Only the former is read: ilastik ignores the others, and
thresholds must not depend on a choice of contrast.
"""

from __future__ import annotations

import math
import re

import numpy as np

from ..spec import ImageSpec

_ENTRY = re.compile(r"\bpixelforest_drange=(\w+):([^,\s<]+),([^,\s<]+)")


def range_entry(spec: ImageSpec) -> str:
    """Entry for an image that is written, "" for none.

    Without an entry 8-bit values are read as 0 to 255, as ilastik reads them; numbers of classes have no range.
    """
    if spec.drange is None or spec.is_labels or spec.dtype == np.uint8:
        return ""
    low, high = _stored(spec)
    return f"pixelforest_drange={spec.dtype.name}:{low},{high}" if _is_range(low, high) else ""


def imagej_description(spec: ImageSpec) -> str:
    """ImageDescription of a picture with one sample a pixel, "" for none: shown by ImageJ in its range."""
    entry = range_entry(spec)
    if not entry:
        return ""
    low, high = _stored(spec)
    return f"ImageJ=1.54f\nimages=1\nmin={float(low)}\nmax={float(high)}\n{entry}\n"


def read_range(description: str, dtype: np.dtype) -> tuple[float, float] | None:
    """Range of values of this type in an ImageDescription; None if it contains none."""
    found = _ENTRY.search(description)
    if found is None or found[1] != dtype.name:
        return None
    try:
        low, high = float(found[2]), float(found[3])
    except ValueError:
        return None
    return (low, high) if _is_range(low, high) else None


def _stored(spec: ImageSpec) -> tuple[int | float, int | float]:
    """The range in the image's own type, as HDF5 results store it."""
    low, high = np.asarray(spec.drange).astype(spec.dtype).tolist()
    return low, high


def _is_range(low: float, high: float) -> bool:
    return math.isfinite(low) and math.isfinite(high) and low < high

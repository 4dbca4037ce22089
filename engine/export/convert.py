"""Conversion of a result's values for its file; the arithmetic is in kernels/shared/conversion.py."""

from __future__ import annotations

import numpy as np

from ...kernels.contract import Conversion, Range
from ...kernels.shared.conversion import convert

__all__ = ["Conversion", "Range", "convert", "convert_range"]


def convert_range(drange: Range | None, conversion: Conversion) -> Range | None:
    """Data range of the converted values, in the target type."""
    source = conversion.source
    low_high = conversion.input_range or drange
    if low_high is None:
        return None
    if source.kind in "iu" and not all(np.iinfo(source).min <= v <= np.iinfo(source).max for v in low_high):
        low_high, source = conversion.export_range or low_high, np.dtype(np.float64)
        conversion = Conversion(source, conversion.target)
    values, _ = convert(np.array(low_high, source), conversion)
    low, high = values.astype(conversion.target).tolist()
    return low, high

"""Results of a tile and their conversion to an exported type."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...frozen import frozen

Range = tuple[float, float]

RESULTS: Mapping[str, str] = {
    "probabilities": "float32",
    "segmentation": "uint8",
    "uncertainty": "float32",
    "features": "float32",
}
"""Results of a tile and their types: class probabilities; 1 + the most probable class, the lowest at a tie;
1 minus the lead of the most probable class over the second, 0 for a single class; the feature stack."""


@frozen
class Conversion:
    """Conversion of the values of one result.

    Attributes
    ----------
    source, target
        Types before and after.
    input_range, export_range
        Both, or neither: (low, high). int or float as the user wrote them, which affects the arithmetic.
    clip
        Saturate instead of wrapping around.

    Raises
    ------
    ValueError
        A range exceeds every type.
    """

    source: np.dtype
    target: np.dtype
    input_range: Range | None = None
    export_range: Range | None = None
    clip: bool = False

    def __post_init__(self) -> None:
        if (self.input_range is None) != (self.export_range is None):
            raise ValueError("a change of range needs both ranges")
        for name in ("input_range", "export_range"):
            for value in getattr(self, name) or ():
                if not np.isfinite(float(value)) or (isinstance(value, int) and not -(1 << 63) <= value < 1 << 64):
                    raise ValueError(f"{value} is too large for a data range")

    @property
    def is_identity(self) -> bool:
        return self.input_range is None and self.source == self.target


@frozen
class Wanted:
    """Request for one result of a tile.

    Attributes
    ----------
    result
        A key of RESULTS.
    channels
        First and last + 1 channel.
    conversion
        Conversion of the values, see shared/conversion.py.
    """

    result: str
    channels: tuple[int, int]
    conversion: Conversion


@frozen
class ResultPlan:
    """Results to derive from a tile's features and probabilities.

    Attributes
    ----------
    known_labels
        Class of the project (from 1) of each class of the forest; unused if the forest has all of them.
    classes
        Number of classes of the project; those that the forest does not know have probability 0.
    wanted
        Requested results.
    """

    known_labels: tuple[int, ...]
    classes: int
    wanted: tuple[Wanted, ...]


@frozen
class TileResult:
    """One wanted result of a tile, on the host.

    Attributes
    ----------
    values
        (z, y, x, c), converted.
    overflow_count
        Number of values outside the target type's range.
    """

    values: np.ndarray
    overflow_count: int

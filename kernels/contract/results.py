"""Results of a tile and their conversion to an exported type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Range = tuple[float, float]

RESULTS: Mapping[str, str] = {
    "probabilities": "float32",
    "segmentation": "uint8",
    "uncertainty": "float32",
    "features": "float32",
}
"""Results of a tile and their types: class probabilities; 1 + the most probable class, the lowest at a tie;
1 minus the lead of the most probable class over the second, 0 for a single class; the feature stack."""


@dataclass(frozen=True)
class Conversion:
    """Conversion of the values of one result.

    source, target              types before and after
    input_range, export_range   both, or neither: (low, high), ints or floats as they were written, which matters
    clip                        saturate instead of wrapping around
    Raises ValueError for a range that no type holds.
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


@dataclass(frozen=True)
class Wanted:
    """One result of a tile, as it leaves the backend.

    result      of RESULTS
    channels    first and last + 1 channel
    conversion  of its values, see shared/conversion.py
    """

    result: str
    channels: tuple[int, int]
    conversion: Conversion


@dataclass(frozen=True)
class ResultPlan:
    """Results to make of a tile's features and probabilities.

    known_labels  class (from 1) that each class of the forest stands for; not used where the forest has all of them
    classes       of the project; those that the forest does not know have probability 0
    """

    known_labels: tuple[int, ...]
    classes: int
    wanted: tuple[Wanted, ...]


@dataclass(frozen=True)
class TileResult:
    """Converted values (z, y, x, c) of one wanted result on the host, and how many did not fit their type."""

    values: np.ndarray
    overflow_count: int

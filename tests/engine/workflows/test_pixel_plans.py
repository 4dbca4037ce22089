"""Lanes of pixel classification that share a plan."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from pixelforest.box import Box
from pixelforest.engine.pixels import lane as pixel_classification
from pixelforest.kernels.contract import Conversion


def demand(low: float, high: float) -> Any:
    conversion = Conversion(np.dtype(np.float32), np.dtype(np.uint8), (0.0, 1.0), (low, high))
    region = Box((0, 0, 0, 0, 0), (1, 1, 8, 8, 2))
    return SimpleNamespace(region=region, conversion=conversion, bytes_per_voxel=2, held_bytes=0, grid=None)


def test_ranges_that_are_equal_as_numbers_are_not_one_plan() -> None:
    """Integers are computed otherwise than floats."""
    integers, floats = (pixel_classification._demands({"probabilities": demand(*r)}) for r in ((0, 255), (0.0, 255.0)))
    assert integers == pixel_classification._demands({"probabilities": demand(0, 255)})
    assert hash(integers) == hash(pixel_classification._demands({"probabilities": demand(0, 255)}))
    assert integers != floats

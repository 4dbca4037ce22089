"""Feature plan as arrays for kernels: taps, programs, and the halos that follow from them."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ...frozen import frozen
from ..contract import FeaturePlan, Voxels
from .program import FIELDS, feature_program, padded_rows
from .taps import PRESMOOTHER_WINDOW, gaussian_taps


@frozen
class PackedPlan:
    """Arrays with one entry per scale.

    pre_taps (s, r) float32, pre_radius (s,) int64: the pre-smoothing
    slicewise (s,) bool
    halo (s, 3) int64: voxels of the pre-smoothed image that the features of a voxel read, along z, y, x
    instructions (n, FIELDS) int64 of all scales, one after the other; first (s + 1,) int64: start of each scale's
    taps (s, rows, 3) float32: the feature filters' taps that the instructions name
    slots, reach: number of volumes a cell needs at once, and the largest halo of any of them
    """

    pre_taps: np.ndarray
    pre_radius: np.ndarray
    slicewise: np.ndarray
    halo: np.ndarray
    instructions: np.ndarray
    first: np.ndarray
    taps: np.ndarray
    slots: int
    reach: Voxels
    channels: int
    width: int

    @cached_property
    def source_halo(self) -> Voxels:
        """Voxels of the image that the features of a voxel read, along z, y, x."""
        radius = np.where(self.slicewise[:, None], [0, 1, 1], [1, 1, 1]) * self.pre_radius[:, None]
        return _largest(self.halo + radius)


def pack_plan(plan: FeaturePlan) -> PackedPlan:
    """Compute the arrays of a plan. Raises ValueError for a feature sigma above 1, which no project has."""
    pre = [gaussian_taps(s.presmoothing_sigma, 0, PRESMOOTHER_WINDOW) for s in plan.scales]
    programs = [feature_program(s.feature_sigma, slicewise=s.slicewise, columns=s.columns) for s in plan.scales]
    rows = max((len(p.taps) for p in programs), default=0)
    return PackedPlan(
        pre_taps=padded_rows(pre, max((len(t) for t in pre), default=1)),
        pre_radius=np.array([len(t) - 1 for t in pre], np.int64),
        slicewise=np.array([s.slicewise for s in plan.scales], np.bool_),
        halo=np.array([p.halo for p in programs], np.int64).reshape(-1, 3),
        instructions=np.concatenate([np.zeros((0, FIELDS), np.int64), *(p.instructions for p in programs)]),
        first=np.cumsum([0, *(len(p.instructions) for p in programs)]),
        taps=np.array([np.pad(p.taps, ((0, rows - len(p.taps)), (0, 0))) for p in programs]).reshape(
            len(programs), rows, 3
        ),
        slots=max((p.slots for p in programs), default=0),
        reach=_largest(np.array([p.reach for p in programs], np.int64).reshape(-1, 3)),
        channels=plan.channels,
        width=plan.width,
    )


def _largest(rows: np.ndarray) -> Voxels:
    z, y, x = (int(v) for v in rows.max(axis=0)) if len(rows) else (0, 0, 0)
    return z, y, x

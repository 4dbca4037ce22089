"""Memory needed by object statistics: the tables of both passes and the quantities derived from them."""

from __future__ import annotations

from ..contract import BINS, QUANTILES, MeasurePlan

_NUMBER = 8  # float64 or int64
_SMALL_BINS = (1 << 32) - 1  # a frame of more voxels counts in 64 bits


def table_bytes(plan: MeasurePlan) -> int:
    """Bytes of one object in the tables of a plan's groups, in both passes, and in the quantities derived from them."""
    d, c = plan.dimensions, plan.channels
    bin_bytes = 4 if plan.voxels <= _SMALL_BINS else 12  # counts, and their float32 copies
    groups = {
        # voxels, lowest and highest position in 32 bits, sum of positions; the mean position twice
        "bounds": 4 * _NUMBER + 24 + 6 * _NUMBER,
        # scatter, eigenvalues and vectors; variances and radii
        "axes": _NUMBER * (d * (d + 1) // 2 + d + d * d + 2 * d),
        # voxels, sum, second moment, minimum and maximum in 32 bits; mean and variance
        "values": _NUMBER * (1 + 2 * c) + 8 * c + _NUMBER * 2 * c,
        "extremes": 32,  # two values and two positions, in 32 bits
        # weight, sum and scatter of positions, eigenvalues and vectors; mean position twice, variances and radii
        "weights": _NUMBER * (4 + d * (d + 1) // 2 + d + d * d + 6 + 2 * d),
        # voxels, sum, scatter, eigenvalues and vectors; covariance, variances
        "channels": _NUMBER * (1 + c + c * (c + 1) // 2 + c + c * c + c * c + c),
        # means, third and fourth powers, skewness and kurtosis
        "moments": _NUMBER * 5 * c,
        "axis_moments": _NUMBER * (3 + 4 * d),
        "weight_moments": _NUMBER * (3 + 4 * d),
        "channel_moments": _NUMBER * 7 * c,
        # counts, voxels below the range, quantiles, and a range for each object or one for all
        "histogram": bin_bytes * BINS + _NUMBER * (1 + len(QUANTILES) + (6 if plan.own_range else 0)),
    }
    return sum(groups[group] for group in plan.groups)

"""Statistics of all objects of a frame, gathered slab by slab in scan order, in two passes.

The first pass forms sums, bounds and running scatters; the second needs their means: higher moments, histograms,
projections on the objects' axes. A slab is divided among threads by label, so that the voxels of every object are
added in scan order whatever the number of threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...contract import BINS, QUANTILES, MeasurePlan
from ..loader import kernel

_SHARED_BITS = 5  # neighbouring labels share cache lines, so 32 of them go to the same thread
_BEYOND = np.iinfo(np.int32).max  # a position after every voxel

_first_pass, _eigensystems = kernel("first_pass"), kernel("eigensystems")
_describe_moments, _count_as_float32 = kernel("describe_moments"), kernel("count_as_float32")


class Bounds(NamedTuple):
    """Tables of each object: voxels, bounding box, sum of positions and their running scatter."""

    voxels: np.ndarray
    low: np.ndarray
    high: np.ndarray
    total: np.ndarray
    scatter: np.ndarray


class Values(NamedTuple):
    """Tables of each object and channel: voxels, sum, running second moment, minimum, maximum."""

    voxels: np.ndarray
    total: np.ndarray
    second: np.ndarray
    smallest: np.ndarray
    largest: np.ndarray


class Extremes(NamedTuple):
    """Minimum and maximum of each object, and their positions."""

    least: np.ndarray
    most: np.ndarray
    least_at: np.ndarray
    most_at: np.ndarray


class Weights(NamedTuple):
    """Positions weighted with the value: sum of weights, sum and scatter of positions."""

    weight: np.ndarray
    total: np.ndarray
    scatter: np.ndarray


class Channels(NamedTuple):
    """Values as points of channel space: voxels, sum and scatter."""

    voxels: np.ndarray
    total: np.ndarray
    scatter: np.ndarray


class Moments(NamedTuple):
    """Centres of moments, and the sums of third and fourth powers."""

    centre: np.ndarray
    third: np.ndarray
    fourth: np.ndarray


class Eigensystem(NamedTuple):
    """Eigenvalues (n, d) and eigenvectors (n, d * d) of a table of scatters."""

    values: np.ndarray
    vectors: np.ndarray


class Histogram(NamedTuple):
    """Ranges (one for all objects, or one each), counts, and voxels below the range."""

    lower: np.ndarray
    scale: np.ndarray
    bins: np.ndarray
    left: np.ndarray


class Measurement:
    """Tables of one frame and the quantities derived from them, for ``contract.ObjectBackend``."""

    def __init__(self, plan: MeasurePlan) -> None:
        self.plan = plan
        self.pass_number = 1
        d, c = plan.dimensions, plan.channels
        rows = self._rows
        n = rows("bounds")
        self.bounds = Bounds(
            np.zeros(n, np.int64), np.full((n, 3), _BEYOND, np.int32), np.zeros((n, 3), np.int32), np.zeros((n, 3)),
            np.zeros((rows("axes"), d * (d + 1) // 2)),
        )  # fmt: skip
        n = rows("values")
        self.values = Values(
            np.zeros(n, np.int64), np.zeros((n, c)), np.zeros((n, c)),
            np.full((n, c), np.inf, np.float32), np.full((n, c), -np.inf, np.float32),
        )  # fmt: skip
        n = rows("extremes")
        self.extremes = Extremes(
            np.full(n, np.inf, np.float32), np.full(n, -np.inf, np.float32),
            np.zeros((n, 3), np.int32), np.zeros((n, 3), np.int32),
        )  # fmt: skip
        n = rows("weights")
        self.weights = Weights(np.zeros(n), np.zeros((n, 3)), np.zeros((n, d * (d + 1) // 2)))
        n = rows("channels")
        self.channels = Channels(np.zeros(n, np.int64), np.zeros((n, c)), np.zeros((n, c * (c + 1) // 2)))
        self.axes = _no_eigensystem(rows("axes"), d)
        self.weighted_axes = _no_eigensystem(rows("weights"), d)
        self.principal = _no_eigensystem(rows("channels"), c)
        self.moments = _no_moments(0, np.zeros((0, c)))
        self.histogram = _no_histogram(0, self._bin_type())

    def _bin_type(self) -> np.dtype[np.unsignedinteger[Any]]:
        """Type of the histogram's counts: 32 bits if they suffice."""
        return np.dtype(np.uint32 if self.plan.voxels <= np.iinfo(np.uint32).max else np.uint64)

    def _rows(self, group: str) -> int:
        return self.plan.count if group in self.plan.groups else 0

    def flags(self, *groups: str) -> np.ndarray:
        """Flags of the groups: 1 if a group is wanted."""
        return np.array([group in self.plan.groups for group in groups], np.uint8)

    def add(self, labels: np.ndarray, raw: np.ndarray, start: tuple[int, int], part: int, parts: int) -> None:
        """Add a slab's voxels of the objects of one part."""
        shift = _SHARED_BITS if self.plan.count > parts << (_SHARED_BITS + 3) else 0
        pixels = raw.reshape(-1, raw.shape[3]) if raw.shape[3] else np.empty((0, 0), np.float32)
        where = (labels, pixels, start, np.uint32(part), np.uint32(parts), np.uint32(shift))
        if self.pass_number == 1:
            wanted = self.flags("bounds", "axes", "values", "extremes", "weights", "channels")
            _first_pass(
                *where, wanted, tuple(self.bounds), tuple(self.values), tuple(self.extremes), tuple(self.weights),
                tuple(self.channels),
            )  # fmt: skip
        else:
            wanted = self.flags("axis_moments", "moments", "histogram", "weight_moments", "channel_moments")
            kernel("second_pass", self.histogram.bins.dtype)(*where, wanted, *self.second_tables())

    def second_tables(self) -> tuple[tuple[np.ndarray, ...], ...]:
        """Arguments of the second pass's accumulators, in the order of ``second_pass``."""
        axis, weighted, principal = self.axis_moments, self.weight_moments, self.channel_moments
        return (
            (axis.centre, self.axes.vectors, axis.third, axis.fourth),
            tuple(self.moments),
            tuple(self.histogram),
            (weighted.centre, self.weighted_axes.vectors, weighted.third, weighted.fourth),
            (principal.centre, self.principal.vectors, self.least, self.most, principal.third, principal.fourth),
        )

    def complete(self, first: int, stop: int) -> None:
        """Derive quantities from this pass's tables, for objects [first, stop)."""
        if self.pass_number == 1:
            for group, tables, system in (
                ("axes", self.bounds, self.axes),
                ("weights", self.weights, self.weighted_axes),
                ("channels", self.channels, self.principal),
            ):
                if group in self.plan.groups:
                    _eigensystems(tables.scatter, first, stop, system.values, system.vectors)
            return
        for group, weight, second, moments, shape in (
            ("moments", self.values.voxels, self.values.second, self.moments, self.shape),
            ("axis_moments", self.bounds.voxels, self.axes.values, self.axis_moments, self.axis_shape),
            ("weight_moments", self.weights.weight, self.weighted_axes.values, self.weight_moments, self.weight_shape),
            ("channel_moments", self.channels.voxels, self.principal.values, self.channel_moments, self.channel_shape),
        ):
            if group in self.plan.groups:
                _describe_moments(
                    weight.astype(np.float64, copy=False), second, moments.third, moments.fourth, first, stop, *shape
                )
        if "histogram" in self.plan.groups:
            h, v = self.histogram, self.values
            levels = np.array(QUANTILES)
            kernel("interpolate_quantiles", h.bins.dtype)(
                v.voxels, h.bins, h.left, v.smallest, v.largest, h.lower, h.scale, levels, first, stop, self.quantiles
            )
            if h.bins.dtype == np.uint32:
                _count_as_float32(h.bins, first, stop)

    def begin_second_pass(self) -> None:
        """Fix means, axes and the histogram's range, and allocate the tables of the second pass."""
        self.pass_number = 2
        d, c = self.plan.dimensions, self.plan.channels
        with np.errstate(all="ignore"):
            self.moments = _no_moments(self._rows("moments"), self.mean)
            self.axis_moments = _no_moments(self._rows("axis_moments"), self.centre, d)
            self.weight_moments = _no_moments(self._rows("weight_moments"), self.weighted_centre, d)
            self.channel_moments = _no_moments(self._rows("channel_moments"), self.channel_mean)
        n = self._rows("channel_moments")
        self.least, self.most = np.full((n, c), np.inf), np.full((n, c), -np.inf)
        self.histogram = self._empty_histogram()
        self.quantiles = np.zeros((self._rows("histogram"), len(QUANTILES)))
        self.shape = _no_shape(self.moments)
        self.axis_shape = _no_shape(self.axis_moments)
        self.weight_shape = _no_shape(self.weight_moments)
        self.channel_shape = _no_shape(self.channel_moments)

    @property
    def mean(self) -> np.ndarray:
        """Mean of each channel, (n, c)."""
        found: np.ndarray = self.values.total / self.values.voxels[:, None]
        return found

    @property
    def centre(self) -> np.ndarray:
        """Mean position, (n, 3)."""
        found: np.ndarray = self.bounds.total / self.bounds.voxels[:, None]
        return found

    @property
    def weighted_centre(self) -> np.ndarray:
        """Mean position weighted with the value, (n, 3)."""
        found: np.ndarray = self.weights.total / self.weights.weight[:, None]
        return found

    @property
    def channel_mean(self) -> np.ndarray:
        """Mean of each channel, (n, c), from the channels' own table."""
        found: np.ndarray = self.channels.total / self.channels.voxels[:, None]
        return found

    def value_range(self) -> tuple[np.ndarray, np.ndarray]:
        """Minimum and maximum over all objects or, if the plan says so, of each."""
        if self.plan.value_range is not None:
            lowest, highest = self.plan.value_range
            return np.array([lowest]), np.array([highest])
        low, high = self.values.smallest[:, 0].astype(np.float64), self.values.largest[:, 0].astype(np.float64)
        if self.plan.own_range or not len(low):
            return low, high
        return low.min(keepdims=True), high.max(keepdims=True)

    def _empty_histogram(self) -> Histogram:
        n = self._rows("histogram")
        empty = _no_histogram(n, self._bin_type())
        if not n:
            return empty
        lower, upper = self.value_range()
        with np.errstate(all="ignore"):
            upper = np.where(lower == upper, upper + BINS * 2.0**-52, upper)
            return empty._replace(lower=lower, scale=BINS / (upper - lower))

    def boxes(self) -> np.ndarray:
        """Bounding boxes (n, 6) int32: first and last + 1 voxel along z, y, x."""
        return np.concatenate([self.bounds.low[:, ::-1], self.bounds.high[:, ::-1]], axis=1)

    def results(self) -> dict[str, np.ndarray]:
        """Every quantity of the plan's groups, (n, k) with a row per object; names as in ``contract.MEASURES``."""
        found: dict[str, np.ndarray] = {}
        with np.errstate(all="ignore"):
            for group in self.plan.groups:
                found |= getattr(self, f"_{group}_results")()
        return found

    def _bounds_results(self) -> dict[str, np.ndarray]:
        b, d = self.bounds, self.plan.dimensions
        return {
            "count": b.voxels[:, None],
            "low": b.low[:, :d],
            "high": b.high[:, :d],
            "position_sum": b.total[:, :d],
            "centre": self.centre[:, :d],
        }

    def _axes_results(self) -> dict[str, np.ndarray]:
        spread = self.axes.values / self.bounds.voxels[:, None]
        return {
            "axis_scatter": self.axes.values,
            "axis_variance": spread,
            "radii": np.sqrt(spread),
            "axes": self.axes.vectors,
        }

    def _axis_moments_results(self) -> dict[str, np.ndarray]:
        return _moment_results("axis_", self.axis_moments, self.axis_shape)

    def _values_results(self) -> dict[str, np.ndarray]:
        v = self.values
        low, high = self.value_range()
        return {
            "voxels": v.voxels[:, None],
            "sum": v.total,
            "mean": self.mean,
            "second": v.second,
            "variance": v.second / v.voxels[:, None],
            "smallest": v.smallest,
            "largest": v.largest,
            "range_low": np.broadcast_to(low[:, None], (self.plan.count, 1)),
            "range_high": np.broadcast_to(high[:, None], (self.plan.count, 1)),
        }

    def _moments_results(self) -> dict[str, np.ndarray]:
        return _moment_results("", self.moments, self.shape)

    def _histogram_results(self) -> dict[str, np.ndarray]:
        bins = self.histogram.bins
        counts = bins.view(np.float32) if bins.dtype == np.uint32 else bins.astype(np.float32)
        return {"histogram": counts, "quantiles": self.quantiles}

    def _extremes_results(self) -> dict[str, np.ndarray]:
        d = self.plan.dimensions
        return {"smallest_at": self.extremes.least_at[:, :d], "largest_at": self.extremes.most_at[:, :d]}

    def _weights_results(self) -> dict[str, np.ndarray]:
        w, d = self.weights, self.plan.dimensions
        spread = self.weighted_axes.values / w.weight[:, None]
        return {
            "weight": w.weight[:, None],
            "weighted_position_sum": w.total[:, :d],
            "weighted_centre": self.weighted_centre[:, :d],
            "weighted_axis_scatter": self.weighted_axes.values,
            "weighted_axis_variance": spread,
            "weighted_radii": np.sqrt(spread),
            "weighted_axes": self.weighted_axes.vectors,
        }

    def _weight_moments_results(self) -> dict[str, np.ndarray]:
        return _moment_results("weighted_axis_", self.weight_moments, self.weight_shape)

    def _channels_results(self) -> dict[str, np.ndarray]:
        c, k = self.channels, self.plan.channels
        upper = np.zeros((k, k), np.int64)
        upper[np.triu_indices(k)] = np.arange(k * (k + 1) // 2)
        whole = np.maximum(upper, upper.T)
        return {
            "covariance": (c.scatter / c.voxels[:, None])[:, whole.ravel()],
            "principal_scatter": self.principal.values,
            "principal_variance": self.principal.values / c.voxels[:, None],
            "principal_axes": self.principal.vectors,
        }

    def _channel_moments_results(self) -> dict[str, np.ndarray]:
        found = _moment_results("principal_", self.channel_moments, self.channel_shape)
        return found | {"principal_smallest": self.least, "principal_largest": self.most}


def _no_eigensystem(rows: int, d: int) -> Eigensystem:
    return Eigensystem(np.zeros((rows, d)), np.zeros((rows, d * d)))


def _no_moments(rows: int, centre: np.ndarray, width: int | None = None) -> Moments:
    width = centre.shape[1] if width is None else width
    return Moments(centre, np.zeros((rows, width)), np.zeros((rows, width)))


def _no_histogram(rows: int, dtype: np.dtype[np.unsignedinteger[Any]]) -> Histogram:
    return Histogram(np.zeros(1), np.zeros(1), np.zeros((rows, BINS), dtype), np.zeros(rows, np.int64))


def _no_shape(moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(moments.third.shape), np.zeros(moments.third.shape)


def _moment_results(prefix: str, moments: Moments, shape: tuple[np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        f"{prefix}third": moments.third,
        f"{prefix}fourth": moments.fourth,
        f"{prefix}skewness": shape[0],
        f"{prefix}kurtosis": shape[1],
    }

"""Features of objects: groups of quantities that are measured together, and the operations that measure them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from ...frozen import frozen
from .tile import Voxels

BINS = 64
"""Bins of an object's histogram."""

QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
"""Levels of an object's quantiles."""

MEASURES: Mapping[str, tuple[str, ...]] = {
    "bounds": ("count", "low", "high", "position_sum", "centre"),
    "axes": ("axis_scatter", "axis_variance", "radii", "axes"),
    "values": ("voxels", "sum", "mean", "second", "variance", "smallest", "largest", "range_low", "range_high"),
    "extremes": ("smallest_at", "largest_at"),
    "weights": (
        "weight", "weighted_position_sum", "weighted_centre", "weighted_axis_scatter", "weighted_axis_variance",
        "weighted_radii", "weighted_axes",
    ),
    "channels": ("covariance", "principal_scatter", "principal_variance", "principal_axes"),
    "axis_moments": ("axis_third", "axis_fourth", "axis_skewness", "axis_kurtosis"),
    "moments": ("third", "fourth", "skewness", "kurtosis"),
    "histogram": ("histogram", "quantiles"),
    "weight_moments": (
        "weighted_axis_third", "weighted_axis_fourth", "weighted_axis_skewness", "weighted_axis_kurtosis",
    ),
    "channel_moments": (
        "principal_third", "principal_fourth", "principal_skewness", "principal_kurtosis", "principal_smallest",
        "principal_largest",
    ),
}  # fmt: skip
"""Groups of quantities that are measured together, with their quantities. high is exclusive; second, third and fourth
are sums of powers around the mean; axes and principal axes have one vector per column, row by row, largest first."""

MEASURE_NEEDS: Mapping[str, str] = {
    "axes": "bounds",
    "axis_moments": "axes",
    "moments": "values",
    "histogram": "values",
    "weight_moments": "weights",
    "channel_moments": "channels",
}
"""Groups that need another one. The second pass measures the five whose quantities are moments or a histogram."""

SECOND_PASS = frozenset({"axis_moments", "moments", "histogram", "weight_moments", "channel_moments"})


@frozen
class MeasurePlan:
    """Measurements of the objects of one frame.

    Attributes
    ----------
    count
        Number of objects; labels are 1 to count.
    voxels
        Number of voxels of the frame.
    dimensions
        2 or 3: components of a position.
    channels
        Number of channels of the raw image.
    groups
        Keys of MEASURES, with those they need.
    own_range
        True: the histogram's range is that of the object itself, not that of all objects.
    value_range
        Minimum and maximum of channel 0 over all objects of the frame, where only some of them are measured; None: over
        those that are measured.
    """

    count: int
    voxels: int
    dimensions: int
    channels: int
    groups: frozenset[str]
    own_range: bool = False
    value_range: tuple[float, float] | None = None


class ObjectBackend(Protocol):
    """Features of objects. Methods may be called from several threads at once.

    Labels are (z, y, x) uint32, raw images (z, y, x, c) float32, both C-contiguous on the host.

    Notes
    -----
    Sums run over an object's voxels in scan order (x fastest, z slowest), in double, one rounding an operation, never
    fused:

    - A running second moment adds (k / (k - 1)) * (d * d) for the k-th voxel, d = sum / k - value, the sum with it.
    - A running scatter adds ((k / (k - 1)) * d_b) * d_a, a <= b; weighted: W * v / (W - v) in place of the factor.
    - Third and fourth moments add pow(value - mean, p), around the final mean.
    - Projections on axes add e[0] * d[0], then e[1] * d[1], then e[2] * d[2].
    """

    def warm(self) -> None:
        """Compile the kernels that do not depend on a project, as ``PixelBackend.warm``. Raises KernelError."""
        ...

    def start_measuring(self, plan: MeasurePlan) -> Any:
        """Make empty tables for one frame.

        Returns
        -------
        Any
            The measurement that the other methods fill, first pass first.
        """
        ...

    def measure_slab(
        self, measurement: Any, labels: np.ndarray, raw: np.ndarray, start: tuple[int, int], part: int, parts: int
    ) -> None:
        """Add a slab of whole lines to the current pass.

        Parameters
        ----------
        measurement
            From ``start_measuring``.
        labels, raw
            The slab; raw has no channels if no group asks for values.
        start
            Position (z, y) of the slab in the frame.
        part, parts
            Only objects of this part of ``parts`` are added.

        Notes
        -----
        Slabs come in scan order. The parts of a slab may be added at the same time, but all of them before the next
        slab.
        """
        ...

    def measure_neighbourhoods(
        self, measurement: Any, labels: np.ndarray, raw: np.ndarray, start: tuple[int, int],
        objects: np.ndarray, boxes: np.ndarray, margin: Voxels, *, includes_object: bool,
    ) -> None:  # fmt: skip
        """Add a slab as ``measure_slab``, but to each object the voxels of its surroundings.

        Parameters
        ----------
        measurement
            From ``start_measuring``; of the groups only values, channels, moments and histogram are possible.
        labels
            The whole frame, or a part of it, at least as large as the windows of its objects; all positions are then
            relative to the part.
        raw
            The slab.
        start
            Position (z, y) of the slab in the frame.
        objects
            (m,) int64 rows of the tables; label = row + 1.
        boxes
            (n, 6) int32 of all objects, see ``object_boxes``.
        margin
            Along z, y, x; z is left out in a frame of one plane.
        includes_object
            True: the object itself belongs to its surroundings.

        Notes
        -----
        The window is the box grown by the margin, one voxel more at the upper sides, cut at the frame. Voxels of the
        window belong to the surroundings if they are nearer than the largest component to the object, with steps along
        an axis counted floor(largest / component) times. With a component of 0 no voxel is near: the surroundings are
        the object itself, or empty if they include the object.
        """
        ...

    def complete_pass(self, measurement: Any, first: int, stop: int) -> None:
        """Derive axes after the first pass, shape and quantiles after the second, for the objects [first, stop)."""
        ...

    def begin_second_pass(self, measurement: Any) -> None:
        """Fix means, axes and histogram ranges once the first pass is complete."""
        ...

    def object_boxes(self, measurement: Any) -> np.ndarray:
        """Bounding boxes after the first pass, (count, 6) int32: first and last + 1 voxel along z, y, x."""
        ...

    def measured(self, measurement: Any) -> Mapping[str, np.ndarray]:
        """All quantities of the plan's groups, (count, k) each. Positions are x, y and, in 3-d, z."""
        ...

    def hull_features(
        self, labels: np.ndarray, boxes: np.ndarray, centres: np.ndarray, counts: np.ndarray, first: int, stop: int,
        out: np.ndarray, origin: Voxels = (0, 0, 0),
    ) -> None:  # fmt: skip
        """Compute hull features with the bounding box as hull.

        Parameters
        ----------
        labels
            The frame, or a part of it that contains the boxes of these objects.
        boxes, centres, counts
            (count, 6) int32, (count, d) and (count,) float64; positions are those of the frame.
        first, stop
            Objects [first, stop) are computed.
        out
            (count, 9 + 3 d) float64.
        origin
            Position (z, y, x) of the labels in the frame.

        Notes
        -----
        Columns: voxels, box volume, their quotient, number of defects (components of box minus object that share
        faces), their mean size, its unbiased variance, skewness and excess kurtosis, their mean distance from the
        centre, and the centres of object, box and defects (the box's corner if there are none).
        """
        ...

    def skeleton_features(
        self, labels: np.ndarray, boxes: np.ndarray, first: int, stop: int, out: np.ndarray,
        origin: Voxels = (0, 0, 0),
    ) -> None:  # fmt: skip
        """Compute features of the skeletons of the objects [first, stop) of a frame with one plane.

        Parameters
        ----------
        labels
            The frame, or a part of it that contains the boxes of these objects and the voxels next to them.
        boxes
            (count, 6) int32, positions in the frame.
        first, stop
            Objects [first, stop) are computed.
        out
            (count, 12) float64.
        origin
            Position (z, y, x) of the labels in the frame.

        Notes
        -----
        Columns: diameter along the skeleton, Euclidean distance of its ends, total length, average length of branches,
        branches, holes, and the positions (x, y) of centre, first and second end. Needs about 20 bytes for each voxel
        of the largest object's box.
        """
        ...

"""What a backend provides, and the records that travel between engine and kernels.

Arrays are (c, z, y, x) where they hold an image's channels and (z, y, x, f) where they hold results. Positions count
from the image's edge, not the tile's: they decide the rounding of the x pass, so results never depend on tiles.

Order of float32 operations, the same in every backend:
- A separable filter runs along x, then y, then z; each pass reads and writes float32.
- A pass computes ``taps[0] * centre``, then for k = 1, 2, … adds ``taps[k] * pair(k)``, the pair rounded first.
- y and z passes add with one rounding (fused). The x pass does so only where ``fused_range`` says so, else with two.
- Borders mirror without repeating the edge voxel, at the image's edge only.
- Voxel-wise formulas are evaluated left to right with one rounding an operation, never fused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Voxels = tuple[int, int, int]
Range = tuple[float, float]

OPERATIONS = ("gaussian", "laplacian", "gradient_magnitude", "difference_of_gaussians", "structure_tensor", "hessian")
"""The feature operations every backend has; structure_tensor and hessian mean the eigenvalues, largest first."""


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
"""Groups of quantities that are measured together, and what each holds. high is exclusive; second, third and fourth are
sums of powers around the mean; axes and principal axes have a vector a column, row by row, the largest first."""

MEASURE_NEEDS: Mapping[str, str] = {
    "axes": "bounds",
    "axis_moments": "axes",
    "moments": "values",
    "histogram": "values",
    "weight_moments": "weights",
    "channel_moments": "channels",
}
"""Groups that need another one. Those of the second pass are the five whose quantities are moments or a histogram."""

SECOND_PASS = frozenset({"axis_moments", "moments", "histogram", "weight_moments", "channel_moments"})


class KernelError(Exception):
    """A device failed or was given something it cannot do; the message says what."""


class DeviceUnavailable(KernelError):
    """There is no device, driver or compiler that could be used."""


class DeviceOutOfMemory(KernelError):
    """The device has no room for an array; a smaller tile may fit."""


class DeviceFailed(KernelError):
    """The driver or a kernel reported a fault; what the device held is lost."""


@dataclass(frozen=True)
class ScalePlan:
    """What one scale contributes to the feature stack.

    presmoothing_sigma  width of the Gaussian applied to the image first, voxels
    feature_sigma       width of the filters applied to that, voxels; at most 1
    slicewise           True: 2-d filters on every z slice; False: 3-d filters
    columns             operation -> its first column in the feature stack, for channel 0; only selected operations
    """

    presmoothing_sigma: float
    feature_sigma: float
    slicewise: bool
    columns: Mapping[str, int]


@dataclass(frozen=True)
class FeaturePlan:
    """All features of a project: for every channel of the image, every scale. ``width`` is the number of columns.

    The column of channel c is the first column plus c times the columns of one channel (1; for eigenvalues 2 or 3).
    """

    scales: tuple[ScalePlan, ...]
    channels: int
    width: int


@dataclass(frozen=True)
class TreeArrays:
    """One decision tree. Node 0 is the root; ``feature`` is -1 at leaves.

    A voxel goes left if its float32 feature, widened to double, is less than the threshold (NaN and equality go right).
    feature (n,) int32, threshold (n,) float64, left and right (n,) int32, probabilities (n, K) float64, weight (n,)
    float64
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    probabilities: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class ForestArrays:
    """One stored forest.

    is_weighted  leaves count with their weight
    averages     False for the old single-forest classifiers, which skip the last step of averaging over forests
    """

    trees: tuple[TreeArrays, ...]
    classes: int
    is_weighted: bool
    averages: bool = True


@dataclass(frozen=True)
class Conversion:
    """How the values of one result change.

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


RESULTS: Mapping[str, str] = {
    "probabilities": "float32",
    "segmentation": "uint8",
    "uncertainty": "float32",
    "features": "float32",
}
"""What can be made of a tile, and its type: class probabilities; 1 + the most probable class, the lowest at a tie;
1 minus the lead of the most probable class over the second, 0 for a single class; the feature stack."""


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
    """What is made of a tile's features and probabilities.

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
    misfits: int


@dataclass(frozen=True)
class TileWish:
    """Tiles that suit a backend, in voxels along z, y, x.

    largest   tiles are not longer
    smallest  nor cut below this for the sake of parallel work
    at_once   how many it works on at the same time
    """

    largest: Voxels
    smallest: Voxels
    at_once: int


@dataclass(frozen=True)
class MeasurePlan:
    """What is measured of the objects of one frame.

    count       objects; labels are 1 to count
    voxels      of the frame
    dimensions  2 or 3: components of a position
    groups      of MEASURES, with those they need
    own_range   the histogram's range is that of the object itself, not that of all objects
    """

    count: int
    voxels: int
    dimensions: int
    channels: int
    groups: frozenset[str]
    own_range: bool = False


class FeatureStack(Protocol):
    """The features of a tile, on the backend's device, in the backend's layout; possibly not computed yet."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(z, y, x, f) of the tile."""
        ...


@dataclass(frozen=True)
class MapPlan:
    """How channels of prediction maps become float32 maps that can be compared with a threshold.

    channels     those that are wanted
    value_range  (lowest, highest), brought to 0..1 by ``(value - lowest) / (highest - lowest)``, each step float32;
                 None: values stay as they are
    taps         along z, y, x: (radius + 1,) float64 from the centre outwards; None: the axis is left as it is
    """

    channels: tuple[int, ...]
    value_range: tuple[float, float] | None
    taps: tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]


class Storage(Protocol):
    """Where a backend keeps large arrays on the host."""

    def array(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """A new array of zeros, in memory or in a file."""
        ...

    def free(self, array: np.ndarray) -> None:
        """Give back an array that is no longer used."""
        ...


class SlabComponents(Protocol):
    """The components of one slab, numbered from 1 by their first voxel in scan order; kept as the backend likes."""

    @property
    def count(self) -> int: ...


class ValueTable(Protocol):
    """The values of a label image that were met so far; their ids are 1, 2, … in that order."""

    @property
    def originals(self) -> np.ndarray:
        """(count,) uint64: the value behind each id from 1."""
        ...

    def renumber(self, values: np.ndarray, out: np.ndarray) -> None:
        """Ids of the next values in scan order, integers that are not negative, into out, uint32 and zeros so far."""
        ...


class Backend(Protocol):
    """A device and the operations on it. Methods may be called from several threads at once."""

    name: str

    def __hash__(self) -> int: ...

    def describe(self) -> str:
        """One phrase for the log: which device this is."""
        ...

    def warm(self) -> None:
        """Compile what no project has to be known for, and keep it where the next process looks. Raises KernelError."""
        ...

    def load_plan(self, plan: FeaturePlan) -> Any:
        """Prepare a feature plan; the other methods take what this returns."""
        ...

    def source_margin(self, plan: Any) -> Voxels:
        """Voxels along (z, y, x) that a tile's source must hold around the tile, as far as the image reaches."""
        ...

    def tile_bytes(self, plan: Any, classes: int, tile: Voxels, source: Voxels) -> int:
        """Host memory one worker needs for the features and probabilities of a tile; sizes along z, y, x."""
        ...

    def tile_wish(self, plan: Any, results: ResultPlan, image: Voxels, threads: int) -> TileWish | None:
        """Which tiles of an image suit the device when ``threads`` threads ask for them; None: any that suit a CPU."""
        ...

    def tile_results(
        self, source: np.ndarray, start: Voxels, tile: tuple[Voxels, Voxels], image: Voxels, active: np.ndarray | None,
        plan: Any, forest: Any, results: ResultPlan,
    ) -> tuple[TileResult, ...]:  # fmt: skip
        """All wanted results of a tile, in the plan's order. Waits for the device.

        source  (c, z, y, x) of any real dtype, the tile with its margin; its first voxel lies at ``start``
        tile    first and last + 1 voxel along (z, y, x)
        image   the size of the whole image along (z, y, x)
        active  (z, y, x) bool: the others get probability 0, before anything is made of it; None: all
        Does the same as to_device, feature_stack, features, predict and to_host, then shared/results.py.
        """
        ...

    def to_device(self, source: np.ndarray) -> Any:
        """A tile's source (c, z, y, x) of any real dtype as float32 on the device.

        Good until the same thread asks for its next one.
        """
        ...

    def to_host(self, array: Any) -> np.ndarray:
        """A result of this backend as a NumPy array. Waits for the device."""
        ...

    def feature_stack(
        self, source: Any, start: Voxels, tile: tuple[Voxels, Voxels], image: Voxels, plan: Any
    ) -> FeatureStack:
        """The features of a tile.

        source  from ``to_device``; its first voxel lies at ``start`` in the image
        tile    first and last + 1 voxel along (z, y, x)
        image   the size of the whole image along (z, y, x)
        A stack is good until the same thread asks for its next one.
        """
        ...

    def features(self, stack: FeatureStack) -> Any:
        """The stack as (z, y, x, f) float32."""
        ...

    def load_forest(self, forests: Sequence[ForestArrays]) -> Any:
        """Prepare a classifier, stored forests in name order."""
        ...

    def predict(self, stack: FeatureStack, forest: Any) -> Any:
        """Class probabilities (z, y, x, k) float32 of a tile; 0 for all classes where a feature is NaN."""
        ...

    def predict_rows(self, rows: np.ndarray, forest: Any) -> np.ndarray:
        """Class probabilities (n, k) float32 of rows of features (n, f) float32, on the host. Waits for the device."""
        ...

    # Labels. A slab is a C-contiguous part (z, y, x) of a frame with whole rows along x. Ids of components in a frame
    # are ``base`` plus their number in the slab; an array of int64 over these ids holds parents or final ids.

    def label_slab(self, values: np.ndarray, storage: Storage) -> SlabComponents:
        """Components of equal value of a slab; 0 is background. Neighbours share a face (4 in 2-d, 6 in 3-d).

        values (z, y, x) bool, integers or floats; a NaN equals nothing, not even itself.
        """
        ...

    def join_slabs(
        self, a: SlabComponents, b: SlabComponents, axis: int, values_a: np.ndarray, values_b: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the components of a and of b that meet, with equal values, where b follows a along z or y.

        axis      0: a's last plane meets b's first; 1: the last row of a's last plane meets the first of b's first
        values_a, values_b  the values of those two planes or rows
        """
        ...

    def unite(
        self, parents: np.ndarray, base_a: int, numbers_a: np.ndarray, base_b: int, numbers_b: np.ndarray
    ) -> None:
        """Note in ``parents``, in place, that components are the same; the smaller id stays a root."""
        ...

    def number_components(self, parents: np.ndarray) -> int:
        """Replace parents[1:] by final ids 1, 2, … in the order of the roots, parents[0] by 0; how many there are."""
        ...

    def add_sizes(self, slab: SlabComponents, ids: np.ndarray, base: int, sizes: np.ndarray) -> None:
        """Add the voxels of a slab's components to ``sizes[ids[…]]``, int64."""
        ...

    def drop_ids(self, ids: np.ndarray, keep: np.ndarray) -> None:
        """Set to 0, in place, the ids i with keep[i] = False."""
        ...

    def mark_overlaps(
        self, a: SlabComponents, ids_a: np.ndarray, base_a: int,
        b: SlabComponents, ids_b: np.ndarray, base_b: int, marks: np.ndarray,
    ) -> None:  # fmt: skip
        """Set marks[id of b], uint8, where a component of b shares a voxel with one of a, of the same slab.

        Components of a with id 0 are left out.
        """
        ...

    def write_labels(self, slab: SlabComponents, ids: np.ndarray, base: int, out: np.ndarray) -> None:
        """Ids of a slab's voxels into out (z, y, x) uint32, which is all zeros. Ids of 0 are not written."""
        ...

    def new_value_table(self) -> ValueTable:
        """A table for one frame of a label image."""
        ...

    # Thresholds.

    def smooth_maps(
        self, source: np.ndarray, start: Voxels, tile: tuple[Voxels, Voxels], image: Voxels, plan: MapPlan
    ) -> tuple[np.ndarray, ...]:
        """The planned channels of a tile of prediction maps, each (z, y, x) float32.

        source  (z, y, x, c) of any real dtype, whole rows along x; its first voxel lies at ``start`` in the image.
                Around the tile it holds the planes and rows that the taps reach, as far as the image goes
        Passes run along x, then y, then z; each sums in double from the first neighbour to the last and stores float32.
        Borders mirror without repeating the edge voxel.
        """
        ...

    def seed_minima(self, cost: np.ndarray, labels: np.ndarray) -> int:
        """Label 1, 2, … in scan order the voxels of less cost than each neighbour, in labels of zeros; how many."""
        ...

    def grow_regions(self, cost: np.ndarray, labels: np.ndarray, limit: float, storage: Storage) -> None:
        """Grow labels (z, y, x) uint32, in place, by a priority flood over cost (z, y, x) float32.

        Labelled voxels with an unlabelled neighbour are pushed in scan order. The smallest key is popped until it
        exceeds limit; unlabelled neighbours (-z -y -x +x +y +z) get the label at once and are pushed with the larger
        of the popped key and their cost. Among equal keys the order is that of libstdc++'s heap. Needs 12 bytes of
        storage for each voxel that waits, at most for all.
        """
        ...

    def add_label_sizes(self, labels: np.ndarray, sizes: np.ndarray) -> None:
        """Add the voxels of each label, uint32, to ``sizes[label]``, int64."""
        ...

    def drop_labels(self, labels: np.ndarray, keep: np.ndarray) -> None:
        """Set to 0, in place, the labels i with keep[i] = False."""
        ...

    # Objects. Labels are (z, y, x) uint32, raw images (z, y, x, c) float32, both C-contiguous on the host. Sums run
    # over an object's voxels in scan order (x fastest, z slowest), in double, one rounding an operation, never fused:
    # - a running second moment adds (k / (k - 1)) * (d * d) for the k-th voxel, d = sum / k - value, the sum with it;
    # - a running scatter adds ((k / (k - 1)) * d_b) * d_a, a <= b; weighted: W * v / (W - v) in place of the factor;
    # - third and fourth moments add pow(value - mean, p), around the final mean;
    # - projections on axes add e[0] * d[0], then e[1] * d[1], then e[2] * d[2].

    def start_measuring(self, plan: MeasurePlan) -> Any:
        """Empty tables for one frame; the methods below fill them, first pass first."""
        ...

    def measure_slab(
        self, measurement: Any, labels: np.ndarray, raw: np.ndarray, start: tuple[int, int], part: int, parts: int
    ) -> None:
        """Add a slab of whole lines that begins at ``start`` (z, y); slabs come in scan order.

        Of the objects only those of one of ``parts`` parts are added: the parts of a slab may be added at the same
        time, but all of them before the next slab. raw has no channels if no group asks for values.
        """
        ...

    def measure_neighbourhoods(
        self, measurement: Any, labels: np.ndarray, raw: np.ndarray, start: tuple[int, int],
        objects: np.ndarray, boxes: np.ndarray, margin: Voxels, *, includes_object: bool,
    ) -> None:  # fmt: skip
        """As ``measure_slab``, but adds to each object what surrounds it instead of the object itself.

        labels   the whole frame; raw the slab
        objects  (m,) int64 rows; label = row + 1
        boxes    (n, 6) int32 of all objects, see ``object_boxes``
        margin   along z, y, x; z is left out where the frame has one plane. The window is the box grown by it, one
                 voxel more at the upper sides, cut at the frame. In it belongs what is nearer than the largest
                 component to the object, with steps along an axis counted floor(largest / component) times. With a
                 component of 0 nothing is near: the surroundings are the object itself, and with the object nothing
        Of the groups only values, channels, moments and histogram are possible.
        """
        ...

    def complete_pass(self, measurement: Any, first: int, stop: int) -> None:
        """Derive axes after the first pass, shape and quantiles after the second, for the objects [first, stop)."""
        ...

    def begin_second_pass(self, measurement: Any) -> None:
        """Fix means, axes and histogram ranges once the first pass is complete."""
        ...

    def object_boxes(self, measurement: Any) -> np.ndarray:
        """(count, 6) int32: first and last + 1 voxel along z, y, x of every object, after the first pass."""
        ...

    def measured(self, measurement: Any) -> Mapping[str, np.ndarray]:
        """All quantities of the plan's groups, (count, k) each. Positions are x, y and, in 3-d, z."""
        ...

    def hull_features(
        self, labels: np.ndarray, boxes: np.ndarray, centres: np.ndarray, counts: np.ndarray, first: int, stop: int,
        out: np.ndarray,
    ) -> None:  # fmt: skip
        """The bounding box as hull, for objects [first, stop), into out (count, 9 + 3 d) float64.

        Columns: voxels, box volume, their quotient, number of defects (components of box minus object that share
        faces), their mean size, its unbiased variance, skewness and excess kurtosis, their mean distance from the
        centre, and the centres of object, box and defects (the box's corner if there are none).
        centres (count, d), counts (count,)
        """
        ...

    def skeleton_features(self, labels: np.ndarray, boxes: np.ndarray, first: int, stop: int, out: np.ndarray) -> None:
        """Skeletons of the objects [first, stop) of a frame with one plane, into out (count, 12) float64.

        Columns: diameter along the skeleton, Euclidean distance of its ends, total length, average length of branches,
        branches, holes, and the positions (x, y) of centre, first and second end. Needs about 20 bytes for each voxel
        of the largest object's box.
        """
        ...

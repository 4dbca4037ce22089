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

OPERATIONS = ("gaussian", "laplacian", "gradient_magnitude", "difference_of_gaussians", "structure_tensor", "hessian")
"""The feature operations every backend has; structure_tensor and hessian mean the eigenvalues, largest first."""


class KernelError(Exception):
    """A device failed or was given something it cannot do; the message says what."""


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


class FeatureStack(Protocol):
    """The features of a tile, on the backend's device, in the backend's layout; possibly not computed yet."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(z, y, x, f) of the tile."""
        ...


class Backend(Protocol):
    """A device and the operations on it. Methods may be called from several threads at once."""

    name: str

    def __hash__(self) -> int: ...

    def describe(self) -> str:
        """One phrase for the log: which device this is."""
        ...

    def load_plan(self, plan: FeaturePlan) -> Any:
        """Prepare a feature plan; the other methods take what this returns."""
        ...

    def source_margin(self, plan: Any) -> Voxels:
        """Voxels along (z, y, x) that a tile's source must hold around the tile, as far as the image reaches."""
        ...

    def bytes_per_voxel(self, plan: Any, classes: int) -> tuple[float, float]:
        """Memory one worker needs for a voxel of the tile's source and for a voxel of the tile itself."""
        ...

    def to_device(self, source: np.ndarray) -> Any:
        """A tile's source (c, z, y, x) of any real dtype as float32 on the device."""
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

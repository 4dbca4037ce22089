"""Operations of a backend, and the records exchanged between engine and kernels.

Arrays are (c, z, y, x) where they hold an image's channels and (z, y, x, f) where they hold results. Positions count
from the image's edge, not the tile's: they determine the rounding of the x pass, so results never depend on tiles.

Order of float32 operations, the same in every backend:
- A separable filter runs along x, then y, then z; each pass reads and writes float32.
- A pass computes ``taps[0] * centre``, then for k = 1, 2, … adds ``taps[k] * pair(k)``, the pair rounded first.
- y and z passes add with one rounding (fused). The x pass does so only where ``fused_range`` says so, else with two.
- Borders mirror without repeating the edge voxel, at the image's edge only.
- Voxel-wise formulas are evaluated left to right with one rounding an operation, never fused.
"""

from __future__ import annotations

from .composition import Backend
from .errors import DeviceFailed, DeviceOutOfMemory, DeviceUnavailable, KernelError
from .features import OPERATIONS, FeaturePlan, ScalePlan
from .forest import ForestArrays, ForestUse, TreeArrays
from .labels import LabelBackend, SlabComponents, Storage, ValueTable
from .objects import BINS, MEASURE_NEEDS, MEASURES, QUANTILES, SECOND_PASS, MeasurePlan, ObjectBackend
from .pixels import ClassCounter, PixelBackend
from .results import RESULTS, Conversion, Range, ResultPlan, TileResult, Wanted
from .thresholds import MapPlan
from .tile import StagedSource, TileJob, TilePreference, Voxels, as_voxels

__all__ = [
    "BINS",
    "MEASURES",
    "MEASURE_NEEDS",
    "OPERATIONS",
    "QUANTILES",
    "RESULTS",
    "SECOND_PASS",
    "Backend",
    "ClassCounter",
    "Conversion",
    "DeviceFailed",
    "DeviceOutOfMemory",
    "DeviceUnavailable",
    "FeaturePlan",
    "ForestArrays",
    "ForestUse",
    "KernelError",
    "LabelBackend",
    "MapPlan",
    "MeasurePlan",
    "ObjectBackend",
    "PixelBackend",
    "Range",
    "ResultPlan",
    "ScalePlan",
    "SlabComponents",
    "StagedSource",
    "Storage",
    "TileJob",
    "TilePreference",
    "TileResult",
    "TreeArrays",
    "ValueTable",
    "Voxels",
    "Wanted",
    "as_voxels",
]

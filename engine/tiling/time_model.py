"""Run-time cost model: rates per voxel measured on one machine.

Calibrated with ``bench/calibrate_estimates.py`` on one thread of an AMD EPYC (Zen, AVX2); processors of the last ten
years are within a factor of three. Results that compress badly, slow disks and busy machines take longer.
"""

from __future__ import annotations

import math

from ..project.object_features import HULL_2D, HULL_3D, SKELETON, Features

# Processor seconds of one thread.
START_S = 0.5  # importing libraries, reading a project, loading compiled kernels
PER_COLUMN_S = {False: 3.8e-9, True: 8.5e-9}  # for a voxel with its share of the halo and a feature column; 3-D: True
PER_TREE_S = 1.9e-9  # for a voxel and a tree
PER_EXPORTED_VOXEL_S = 24.0e-9  # reading, converting, compressing, writing

# Of objects, for a voxel of a frame: 82 for the first three together; 93 for labels and measuring where objects are
# few (bench/sparse_volume.py); hulls and skeletons take almost no time there, and 3600 where blobs of some pixels fill
# half of an image. The number of objects is not known, so the rates here are in between.
THRESHOLD_S = 42.0e-9
LABEL_S = 25.0e-9
PAINT_S = 15.0e-9
MEASURE_S = 70.0e-9
NEIGHBOURHOOD_S = 60.0e-9
HULL_S = 600.0e-9

KNOWN_DEVICES = ("cpu",)


def estimate_pixels(
    device: str, *, voxels: int, columns: int, trees: int, is_solid: bool, threads: int
) -> float | None:
    """Estimate the seconds for the pixels of a lane; None for a device without measured rates.

    voxels    number in all tiles with their halos
    columns   of the feature stack; 0 if no features are needed. trees: 0 if no classes are needed
    is_solid  True for 3-D filters
    """
    if device not in KNOWN_DEVICES:
        return None
    per_voxel = columns * PER_COLUMN_S[is_solid] + trees * PER_TREE_S + PER_EXPORTED_VOXEL_S
    return voxels * per_voxel / max(1, threads)


def add_seconds(*parts: float | None) -> float | None:
    """Add durations; None if one is not known."""
    known = [part for part in parts if part is not None]
    return math.fsum(known) if len(known) == len(parts) else None


def estimate_objects(*, voxels: int, is_thresholded: bool, features: Features, threads: int) -> float:
    """Estimate the seconds for finding, measuring and rendering the objects of a lane on the CPU.

    voxels    number in all frames
    features  features that are measured
    """
    names = [name for of_plugin in features.values() for name in of_plugin]
    per_voxel = LABEL_S + MEASURE_S + PAINT_S + (THRESHOLD_S if is_thresholded else 0.0)
    per_voxel += NEIGHBOURHOOD_S if any(" in neighborhood" in name for name in names) else 0.0
    per_voxel += HULL_S if any(features.get(plugin) for plugin in (HULL_2D, HULL_3D, SKELETON)) else 0.0
    return voxels * per_voxel / max(1, threads)

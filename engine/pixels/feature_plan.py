"""Feature plan: the project's table of features and scales as columns of the classifier. One row here is one feature.

Columns are ordered by feature rows in the file's order, then scales, then input channels, then eigenvalues.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

from ...frozen import frozen
from ...kernels.contract import FeaturePlan, ScalePlan
from ..errors import InputMismatch
from ..project.pixel_features import COLUMNS_PER_CHANNEL, FeatureSelection


@frozen
class Feature:
    """One of ilastik's pixel features: its id in a project, its name in the dialog, its operation."""

    id: str
    name: str
    operation: str

    def columns(self, *, slicewise: bool) -> int:
        """Number of columns for one input channel."""
        return COLUMNS_PER_CHANNEL[self.id][0 if slicewise else 1]


FEATURES = {
    f.id: f
    for f in (
        Feature("GaussianSmoothing", "Gaussian Smoothing", "gaussian"),
        Feature("LaplacianOfGaussian", "Laplacian of Gaussian", "laplacian"),
        Feature("GaussianGradientMagnitude", "Gaussian Gradient Magnitude", "gradient_magnitude"),
        Feature("DifferenceOfGaussians", "Difference of Gaussians", "difference_of_gaussians"),
        Feature("StructureTensorEigenvalues", "Structure Tensor Eigenvalues", "structure_tensor"),
        Feature("HessianOfGaussianEigenvalues", "Hessian of Gaussian Eigenvalues", "hessian"),
    )
}


def presmoothing_sigma(scale: float) -> float:
    """Sigma of the Gaussian that is applied before any feature; scales up to 1 are smoothed with the scale itself."""
    return math.sqrt(scale * scale - 1.0) if scale > 1.0 else scale


def feature_sigma(scale: float) -> float:
    """Sigma that remains for the feature filters after pre-smoothing."""
    return min(scale, 1.0)


@lru_cache(maxsize=16)
def plan_features(selection: FeatureSelection, *, channels: int, depth: int) -> FeaturePlan:
    """Plan the features of images with this many channels and z slices; a single slice is always filtered in 2-D."""
    columns: list[dict[str, int]] = [{} for _ in selection.scales]
    width = 0
    for feature, j in _selected(selection):
        columns[j][feature.operation] = width
        width += channels * feature.columns(slicewise=_is_slicewise(selection, j, depth))
    scales = tuple(
        ScalePlan(presmoothing_sigma(s), feature_sigma(s), _is_slicewise(selection, j, depth), columns[j])
        for j, s in enumerate(selection.scales)
        if columns[j]
    )
    return FeaturePlan(scales, channels, width)


def check_size(selection: FeatureSelection, size: tuple[int, int, int], name: str) -> None:
    """Refuse an image (z, y, x) that is too small for a selected scale, as ilastik does. Raises InputMismatch.

    name  of the image, for the message
    """
    for j in sorted({j for _, j in _selected(selection)}, key=lambda j: -selection.scales[j]):  # the largest first
        scale = selection.scales[j]
        needed = math.ceil(3.5 * scale) + 1
        flat = _is_slicewise(selection, j, size[0])
        for axis, n in zip("zyx", size, strict=True):
            if n < needed and not (flat and axis == "z"):
                raise InputMismatch(
                    f"{name} is too small for the feature scale {scale}: {n} pixels along {axis}, {needed} needed; "
                    "use larger images or a project without that scale"
                )


def _selected(selection: FeatureSelection) -> Iterator[tuple[Feature, int]]:
    """Yield the selected features in column order, each with the index of its scale."""
    for i, feature_id in enumerate(selection.ids):
        for j in range(len(selection.scales)):
            if selection.matrix[i][j]:
                yield FEATURES[feature_id], j


def _is_slicewise(selection: FeatureSelection, scale_index: int, depth: int) -> bool:
    return selection.compute_in_2d[scale_index] or depth == 1

"""Feature operations, and the plan of all features of a project."""

from __future__ import annotations

from collections.abc import Mapping

from ...frozen import frozen

OPERATIONS = ("gaussian", "laplacian", "gradient_magnitude", "difference_of_gaussians", "structure_tensor", "hessian")
"""Feature operations of every backend; structure_tensor and hessian mean the eigenvalues, largest first."""


@frozen
class ScalePlan:
    """Contribution of one scale to the feature stack.

    Attributes
    ----------
    presmoothing_sigma
        Width in voxels of the Gaussian applied to the image first.
    feature_sigma
        Width in voxels of the filters applied to the pre-smoothed image; at most 1.
    slicewise
        True: 2-d filters on every z slice. False: 3-d filters.
    columns
        Selected operation -> its first column in the feature stack, for channel 0.
    """

    presmoothing_sigma: float
    feature_sigma: float
    slicewise: bool
    columns: Mapping[str, int]


@frozen
class FeaturePlan:
    """All features of a project: every scale for every channel of the image.

    Attributes
    ----------
    scales
        One plan per scale.
    channels
        Number of channels of the image. The column of channel c is the first column plus c times the columns of one
        channel (1; for eigenvalues 2 or 3).
    width
        Number of columns.
    """

    scales: tuple[ScalePlan, ...]
    channels: int
    width: int

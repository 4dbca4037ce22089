"""Pixel features selected in a project, their scales, and whether each scale is filtered slice by slice.

The meaning of the features and their order in the classifier are decided in ``engine/pixels``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...frozen import frozen
from .hdf5 import ProjectFile
from .lanes import TrainingLane, first_image

GROUP = "FeatureSelections"
# Feature id -> columns it yields per input channel where a scale is filtered in 2-D, and in 3-D.
COLUMNS_PER_CHANNEL = {
    "GaussianSmoothing": (1, 1),
    "LaplacianOfGaussian": (1, 1),
    "GaussianGradientMagnitude": (1, 1),
    "DifferenceOfGaussians": (1, 1),
    "StructureTensorEigenvalues": (2, 3),
    "HessianOfGaussianEigenvalues": (2, 3),
}
MAX_SCALES = 1000
# Sigmas, pixels. Below about 0.17 no feature smooths at all; images for the largest would have 35 000 pixels a side.
MIN_SCALE, MAX_SCALE = 0.01, 1e4


@frozen
class FeatureSelection:
    """A project's table of features and scales.

    ids            feature ids in the order of the file, which is the order of the classifier's columns
    scales         in the order of the file
    matrix         matrix[i][j]: feature i is selected at scale j
    compute_in_2d  per scale: every z slice is filtered on its own
    """

    ids: tuple[str, ...]
    scales: tuple[float, ...]
    matrix: tuple[tuple[bool, ...], ...]
    compute_in_2d: tuple[bool, ...]

    def columns_per_channel(self) -> int:
        """Number of classifier columns per input channel, if no image has a z extent of 1."""
        return _columns(self.ids, self.matrix, self.compute_in_2d)


def read_feature_selection(
    file: ProjectFile,
    lanes: tuple[TrainingLane, ...],
    *,
    group: str = GROUP,
    column_count: int | None = None,
    added_channels: int = 0,
) -> FeatureSelection:
    """Read the feature selection stored in ``group``. Raises ProjectError if there is none that can be computed.

    lanes         tell whether the training data were flat, if the file does not state what to filter in 2-D
    column_count  of the trained classifier; decides if the lanes do not
    added_channels  channels that the classifier gets beside those of the image
    """
    names = ("Scales", "FeatureIds", "SelectionMatrix")
    if not file.has_applet(group) or not all(file.has(f"{group}/{name}") for name in names):
        raise file.error(group, "holds no feature selection; select features in ilastik, train and save")
    if file.has(f"{group}/FeatureListFilename"):
        raise file.error(f"{group}/FeatureListFilename", "features computed by other programs are not supported")
    ids = _read_ids(file, f"{group}/FeatureIds")
    scales = _read_scales(file, f"{group}/Scales")
    matrix = _read_matrix(file, f"{group}/SelectionMatrix", (len(ids), len(scales)))
    stored = file.array(f"{group}/ComputeIn2d", "booleans", max_bytes=1 << 16)
    if stored is None or stored.size == 0:
        flat = _is_training_data_flat(lanes, ids, matrix, column_count, added_channels)
        compute_in_2d = (flat,) * len(scales)
    elif stored.shape != (len(scales),):
        raise file.error(f"{group}/ComputeIn2d", f"has shape {stored.shape} for {len(scales)} scales")
    else:
        compute_in_2d = tuple(bool(value) for value in stored)
    return FeatureSelection(ids, scales, matrix, compute_in_2d)


def _read_ids(file: ProjectFile, path: str) -> tuple[str, ...]:
    ids = file.texts(path) or ()
    unknown = [name for name in ids if name not in COLUMNS_PER_CHANNEL]
    if unknown:
        raise file.error(path, f"feature '{unknown[0][:80]}' is unknown; known: {', '.join(COLUMNS_PER_CHANNEL)}")
    if len(set(ids)) != len(ids):
        raise file.error(path, "names a feature twice; the file is damaged")
    return ids


def _read_scales(file: ProjectFile, path: str) -> tuple[float, ...]:
    scales = file.array(path, "numbers", max_bytes=8 * MAX_SCALES)
    assert scales is not None, "the caller has seen it"
    if scales.ndim != 1 or not ((scales >= MIN_SCALE) & (scales <= MAX_SCALE)).all():  # also false for NaN
        shown = scales.reshape(-1)[:8].tolist()
        raise file.error(
            path, f"is not a list of scales from {MIN_SCALE} to {MAX_SCALE:g}: {shown}; the file is damaged"
        )
    return tuple(float(scale) for scale in scales)


def _read_matrix(file: ProjectFile, path: str, shape: tuple[int, int]) -> tuple[tuple[bool, ...], ...]:
    matrix = file.array(path, "booleans", max_bytes=8 * MAX_SCALES * len(COLUMNS_PER_CHANNEL))
    assert matrix is not None, "the caller has seen it"
    if matrix.shape != shape:
        raise file.error(path, f"has shape {matrix.shape}; {shape[0]} features at {shape[1]} scales need {shape}")
    if not matrix.any():
        raise file.error(path, "selects no feature; select features in ilastik, train and save")
    return tuple(tuple(bool(value) for value in row) for row in matrix)


def _is_training_data_flat(
    lanes: tuple[TrainingLane, ...],
    ids: Sequence[str],
    matrix: Sequence[Sequence[bool]],
    column_count: int | None,
    added_channels: int,
) -> bool:
    """Return True if scales are filtered in 2-D, for files that do not state it (ilastik before 1.3.3).

    ilastik uses the z extent of the first training image. Files of that age do not store a shape either, so if the
    image has a z axis, the number of columns of the classifier decides if only one answer fits it; otherwise a z axis
    is assumed to mean a volume.
    """
    image = first_image(lanes)
    if image is not None and image.shape is not None:
        return image.sizes().get("z", 1) == 1
    axes = image.axes if image is not None else ""
    if axes and "z" not in axes:
        return True
    fitting = _fitting_flatness(
        ids, matrix, column_count, channels=1 + added_channels if axes and "c" not in axes else None
    )
    return "z" not in axes if fitting is None else fitting


def _fitting_flatness(
    ids: Sequence[str], matrix: Sequence[Sequence[bool]], column_count: int | None, *, channels: int | None
) -> bool | None:
    """Return True if the classifier's columns fit 2-D filters, False for 3-D filters, None for both or neither."""
    if column_count is None:
        return None

    def fits(flat: bool) -> bool:
        columns = _columns(ids, matrix, [flat] * len(matrix[0]))
        return column_count == columns * channels if channels else column_count % columns == 0

    flat, deep = fits(True), fits(False)
    return flat if flat != deep else None


def _columns(ids: Sequence[str], matrix: Sequence[Sequence[bool]], compute_in_2d: Sequence[bool]) -> int:
    return sum(
        COLUMNS_PER_CHANNEL[name][0 if flat else 1]
        for name, row in zip(ids, matrix, strict=True)
        for selected, flat in zip(row, compute_in_2d, strict=True)
        if selected
    )

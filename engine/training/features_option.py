"""Selection of features for a new project, from the text of ``--features``."""

from __future__ import annotations

from pathlib import Path

from ..errors import Setting, UsageError, setting
from ..pixels.feature_plan import FEATURES
from ..project import FeatureSelection, open_project, read_feature_selection, read_lanes
from ..project.pixel_features import GROUP, MAX_SCALE, MIN_SCALE
from ..project.pixel_project import stage_suffix
from ..quotes import split_entries

FEATURES_OPTION = setting("features")
SCALES = (0.3, 0.7, 1.0, 1.6, 3.5, 5.0, 10.0)  # of ilastik's dialog
# At the smallest scale its dialog offers this feature only.
_AT_SMALLEST = "GaussianSmoothing"


def parse_features(text: str, *, flat: bool, stage: int = 1, option: Setting = FEATURES_OPTION) -> FeatureSelection:
    """Parse ``all``, ``like:Other.ilp`` or ``Gaussian Smoothing:0.7,1.6;Laplacian of Gaussian:1``.

    flat    True for images without depth, which are filtered in 2-D
    stage   of another project that has several; one that has not has one selection for all
    option  setting that has the text, for messages
    Raises UsageError, and ProjectError for another project that cannot be used.
    """
    if text.startswith("like:"):
        with open_project(Path(text.removeprefix("like:")).expanduser()) as file:
            group = f"{GROUP}{stage_suffix(stage)}"
            return read_feature_selection(file, read_lanes(file), group=group if file.has(group) else GROUP)
    if text == "all":
        wanted: dict[str, set[float]] = {i: set(SCALES[i != _AT_SMALLEST :]) for i in FEATURES}
    else:
        wanted = {i: set() for i in FEATURES}
        for entry in text.split(";"):
            name, _, listed = entry.partition(":")
            wanted[_find(name, option)] |= {_scale(scale, entry, option) for scale in split_entries(listed)}
    scales = tuple(sorted({*SCALES, *(scale for found in wanted.values() for scale in found)}))
    matrix = tuple(tuple(scale in wanted[i] for scale in scales) for i in FEATURES)
    return FeatureSelection(tuple(FEATURES), scales, matrix, (flat,) * len(scales))


def _find(name: str, option: Setting) -> str:
    """Find a feature by its name in the dialog or its id in a project; case and blanks do not matter."""
    key = "".join(name.lower().split())
    for feature in FEATURES.values():
        if key in (feature.id.lower(), "".join(feature.name.lower().split())):
            return feature.id
    known = ", ".join(feature.name for feature in FEATURES.values())
    raise UsageError(f"{option}: there is no feature {name.strip()!r}; choose of: {known}")


def _scale(text: str, entry: str, option: Setting) -> float:
    try:
        scale = float(text)
    except ValueError:
        scale = 0.0
    if not MIN_SCALE <= scale <= MAX_SCALE:
        raise UsageError(
            f"{option}: {entry.strip()!r} names no scales from {MIN_SCALE} to {MAX_SCALE:g}; write a feature and its "
            "scales, such as Gaussian Smoothing:0.7,1.6"
        )
    return scale

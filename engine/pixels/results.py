"""Results of pixel classification: one row per result, with the request to a backend."""

from __future__ import annotations

from collections.abc import Callable

from ...frozen import frozen


@frozen
class PixelResult:
    """A result of pixel classification, equal to ilastik's export source of that name.

    dtype         numpy name
    channels      (classes, feature columns) -> channels of the result
    kernel        its name in kernels/contract/results.py; None: not computed by a backend (annotations.py)
    display_mode  stored with the data
    drange        stored data range in ``dtype``; None: the input image's own
    is_labels     True if values are numbers of classes
    is_scalar     True if a voxel has one value by definition
    """

    name: str
    dtype: str
    channels: Callable[[int, int], int]
    kernel: str | None
    display_mode: str = "grayscale"
    drange: tuple[float, float] | None = None
    is_labels: bool = False
    is_scalar: bool = False


PROBABILITIES, FEATURES, LABELS = "Probabilities", "Features", "Labels"
SEGMENTATION, UNCERTAINTY = "Simple Segmentation", "Uncertainty"
CLASS_RESULTS = frozenset({PROBABILITIES, SEGMENTATION, UNCERTAINTY})

# The segmentation's range is inherited from the probabilities, as in ilastik; it means nothing.
RESULTS = (
    PixelResult(PROBABILITIES, "float32", lambda classes, columns: classes, "probabilities", drange=(0.0, 1.0)),
    PixelResult(
        SEGMENTATION,
        "uint8",
        lambda classes, columns: 1,
        "segmentation",
        drange=(0, 1),
        is_labels=True,
        is_scalar=True,
    ),
    PixelResult(UNCERTAINTY, "float32", lambda classes, columns: 1, "uncertainty", drange=(0.0, 1.0), is_scalar=True),
    PixelResult(FEATURES, "float32", lambda classes, columns: columns, "features"),
    PixelResult(
        LABELS,
        "uint8",
        lambda classes, columns: 1,
        None,
        display_mode="default",
        drange=(0, 255),
        is_labels=True,
        is_scalar=True,
    ),
)

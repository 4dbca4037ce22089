"""Choice of the forest inference engine: our own kernels or nvForest."""

from __future__ import annotations

import logging

from ..shared.nodes import PackedForest
from . import nvforest

logger = logging.getLogger("pixelforest.kernels")

CHOICES = ("auto", "native", "nvforest")
"""``auto`` is native: its bits are the CPU's for every forest. nvForest's are for pure leaves only."""


def check_choice(choice: str) -> None:
    """Raise DeviceUnavailable if the requested engine is not installed, ValueError for an unknown name."""
    if choice not in CHOICES:
        raise ValueError(f"there is no forest {choice!r}; choose one of: {', '.join(CHOICES)}")
    if choice == "nvforest":
        nvforest.require_library()


def warn_of_rounding(packed: PackedForest, choice: str) -> None:
    """Log one warning if the engine may differ from the CPU in the last digits."""
    if choice == "nvforest" and not packed.is_pure:
        logger.warning(
            "This classifier has leaves of several classes, whose sums nvForest rounds in an order of its own: the "
            "last digits of probabilities may differ from those of the native forest"
        )

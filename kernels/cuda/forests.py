"""Which of the two kinds of forests a backend takes: our own kernels, or nvForest."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ..contract import DeviceUnavailable, ForestArrays
from . import forest as native
from . import nvforest
from .device import Device
from .forest import CudaForest
from .nvforest import NvForest

logger = logging.getLogger("pixelforest.kernels")

CHOICES = ("auto", "native", "nvforest")
"""``auto`` is native: its bits are the CPU's for every forest. nvForest's are for pure leaves only."""


def check_choice(choice: str) -> None:
    """Raise DeviceUnavailable if what ``--forest`` asks for is not installed, ValueError for another word."""
    if choice not in CHOICES:
        raise ValueError(f"there is no forest {choice!r}; choose one of: {', '.join(CHOICES)}")
    if choice == "nvforest" and (missing := nvforest.find_missing()):
        raise DeviceUnavailable(f"--forest=nvforest: {missing}; install pixelforest[rapids13] or [rapids12]")


def load_forests(
    devices: Sequence[Device], forests: Sequence[ForestArrays], choice: str = "auto", *, place: nvforest.Place = "gpu"
) -> tuple[CudaForest | NvForest, ...]:
    """A classifier, stored forests in name order, on each device. Warns where results may differ in the last digits.

    place   where nvForest walks, for tests
    Raises DeviceUnavailable where nvForest cannot be used, ValueError where forests do not go together.
    """
    check_choice(choice)
    if choice != "nvforest":
        return tuple(native.load_forest(device, forests) for device in devices)
    loaded = tuple(nvforest.load_forest(device, forests, place=place) for device in devices)
    if not all(each.packed.is_pure for each in loaded):
        logger.warning(
            "This classifier has leaves of several classes, whose sums nvForest rounds in an order of its own: the "
            "last digits of probabilities may differ from those without --forest=nvforest"
        )
    return loaded

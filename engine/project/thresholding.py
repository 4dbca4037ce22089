"""How a project turns prediction maps into objects: the settings of its thresholds, of all generations."""

from __future__ import annotations

from math import isfinite

from ...records import dataclass
from .hdf5 import ProjectFile

GROUP = "ThresholdTwoLevels"
METHODS = ("simple", "hysteresis", "graph cut", "ipht")
TWO_LEVELS = ("hysteresis", "ipht")
MAX_SIGMA = 1e4


@dataclass(frozen=True)
class ThresholdSettings:
    """How prediction maps become a segmentation.

    method                one of METHODS; ipht is hysteresis that keeps the identities of the cores
    min_size, max_size    pixels of an object that is kept, both included
    high, low             core and final threshold; methods with one threshold use ``low``
    sigma                 widths of the smoothing Gaussian along z, y, x, pixels
    channel, core_channel which prediction map the final and the core threshold look at, from 0
    strict                True: a pixel must exceed the threshold; False: reaching it is enough
    """

    method: str = "simple"
    min_size: int = 10
    max_size: int = 1_000_000
    high: float = 0.8
    low: float = 0.5
    sigma: tuple[float, float, float] = (1.0, 1.0, 1.0)
    channel: int = 0
    core_channel: int = 0
    strict: bool = False

    @property
    def channels(self) -> tuple[int, ...]:
        """The prediction maps that are looked at, without repetition, in order of their numbers."""
        used = {self.channel, self.core_channel} if self.method in TWO_LEVELS else {self.channel}
        return tuple(sorted(used))


def read_thresholding(file: ProjectFile, group: str = GROUP) -> ThresholdSettings:
    """The stored settings, with ilastik's defaults for whatever is not stored. Raises ProjectError."""
    usual = ThresholdSettings()
    if not file.has_applet(group):
        return usual

    def number(name: str, default: float) -> float:
        value = file.number(f"{group}/{name}")
        if value is None:
            return default
        if not isfinite(value):
            raise file.error(f"{group}/{name}", f"is {value}, where a finite number belongs")
        return value

    def count(name: str, default: int) -> int:
        value = file.integer(f"{group}/{name}")
        if value is not None and value < 0:
            raise file.error(f"{group}/{name}", f"is {value}, where a number from 0 belongs")
        return default if value is None else value

    index = count("CurOperator", 0)
    if index >= len(METHODS):
        raise file.error(f"{group}/CurOperator", f"is {index}, but only methods 0 to {len(METHODS) - 1} are known")
    method = METHODS[index]
    channel = count("Channel", usual.channel)
    # Projects from before there were two channels use theirs for both thresholds.
    core_usual = channel if method in TWO_LEVELS and file.has(f"{group}/Channel") else usual.core_channel
    low = number("LowThreshold", usual.low)
    z, y, x = (number(f"SmootherSigma/{axis}", 1.0) for axis in "zyx")
    if not all(0 <= s <= MAX_SIGMA for s in (z, y, x)):
        raise file.error(f"{group}/SmootherSigma", f"is {(z, y, x)} along z, y, x, which cannot be meant")
    return ThresholdSettings(
        method=method,
        min_size=count("MinSize", usual.min_size),
        max_size=count("MaxSize", usual.max_size),
        high=number("HighThreshold", usual.high),
        # Early projects keep the threshold of the simple method apart.
        low=number("SingleThreshold", low) if method == "simple" else low,
        sigma=(z, y, x),
        channel=channel,
        core_channel=count("CoreChannel", core_usual),
    )

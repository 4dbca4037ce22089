"""Settings that turn prediction maps into objects, in the formats of all versions of ilastik."""

from __future__ import annotations

from ...frozen import frozen
from .hdf5 import ProjectFile
from .workflow_kinds import read_version, version_order

GROUP = "ThresholdTwoLevels"
METHODS = ("simple", "hysteresis", "graph cut", "ipht")
TWO_LEVELS = ("hysteresis", "ipht")
MAX_SIGMA = 1e4
# Prediction maps go up to 1; those that ilastik could not scale, to the largest value of their type.
MAX_THRESHOLD = float(1 << 32)
MAX_COUNT = (1 << 63) - 1
# Settings that all versions from this one on store, whichever method is chosen.
FULLY_STORED = (1, 2)
STORED = (
    "CurOperator",
    "MinSize",
    "MaxSize",
    "HighThreshold",
    "LowThreshold",
    "Channel",
    *(f"SmootherSigma/{axis}" for axis in "zyx"),
)


@frozen
class ThresholdSettings:
    """Settings of thresholding, which turns prediction maps into a segmentation.

    method                one of METHODS; ipht is hysteresis that keeps the identities of the cores
    min_size, max_size    size limits in pixels of kept objects, inclusive
    high, low             core and final threshold; methods with one threshold use ``low``
    sigma                 widths of the smoothing Gaussian along z, y, x, pixels
    channel, core_channel prediction map of the final and of the core threshold, from 0
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
        """Prediction maps in use, without repetition, in ascending order."""
        used = {self.channel, self.core_channel} if self.method in TWO_LEVELS else {self.channel}
        return tuple(sorted(used))


def read_thresholding(file: ProjectFile, group: str = GROUP) -> ThresholdSettings:
    """Read the settings, with ilastik's defaults for those that early versions did not store. Raises ProjectError."""
    _require_settings(file, group)
    usual = ThresholdSettings()
    if not file.has_applet(group):
        return usual
    settings = _Settings(file, group)
    index = settings.count("CurOperator", 0)
    if index >= len(METHODS):
        raise file.error(f"{group}/CurOperator", f"is {index}, but only methods 0 to {len(METHODS) - 1} are known")
    method = METHODS[index]
    channel = settings.count("Channel", usual.channel)
    # Projects without a second channel use theirs for both thresholds.
    core_usual = channel if method in TWO_LEVELS and file.has(f"{group}/Channel") else usual.core_channel
    low = settings.threshold("LowThreshold", usual.low)
    z, y, x = (settings.number(f"SmootherSigma/{axis}", 1.0, MAX_SIGMA) for axis in "zyx")
    return ThresholdSettings(
        method=method,
        min_size=settings.count("MinSize", usual.min_size),
        max_size=settings.count("MaxSize", usual.max_size),
        high=settings.threshold("HighThreshold", usual.high),
        # Early projects keep the threshold of the simple method apart.
        low=settings.threshold("SingleThreshold", low) if method == "simple" else low,
        sigma=(z, y, x),
        channel=channel,
        core_channel=settings.count("CoreChannel", core_usual),
    )


def _require_settings(file: ProjectFile, group: str) -> None:
    """Refuse a file without settings that its version of ilastik always stores: defaults would give other objects."""
    has_any = file.has_applet(group) and any(file.has(f"{group}/{name}") for name in STORED)
    if not has_any and file.has_group(group):
        raise file.error(
            group, "is empty, so the thresholds are unknown; open the project in ilastik, check them and save"
        )
    if version_order(read_version(file)).release < FULLY_STORED:
        return
    for name in STORED:
        if not file.has(f"{group}/{name}"):
            raise file.error(
                f"{group}/{name}", "is missing, though ilastik always stores it; open the project in ilastik and save"
            )


@frozen
class _Settings:
    """Numbers in the group of the thresholds, each checked against the range that ilastik can store."""

    file: ProjectFile
    group: str

    def number(self, name: str, default: float, largest: float) -> float:
        value = self.file.number(f"{self.group}/{name}")
        if value is None:
            return default
        if not 0 <= value <= largest:  # also false for NaN
            raise self.file.error(
                f"{self.group}/{name}", f"is {value}, where a number from 0 to {largest:g} belongs; the file is damaged"
            )
        return value

    def threshold(self, name: str, default: float) -> float:
        return self.number(name, default, MAX_THRESHOLD)

    def count(self, name: str, default: int) -> int:
        value = self.file.integer(f"{self.group}/{name}")
        if value is not None and not 0 <= value <= MAX_COUNT:
            raise self.file.error(
                f"{self.group}/{name}", f"is {value}, where a number from 0 to {MAX_COUNT} belongs; the file is damaged"
            )
        return default if value is None else value

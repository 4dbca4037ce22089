"""Settings of thresholding for a new project, from the text of ``--thresholds``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..errors import UsageError, setting
from ..project import ThresholdSettings, open_project
from ..project.thresholding import MAX_COUNT, MAX_SIGMA, MAX_THRESHOLD, TWO_LEVELS, read_thresholding
from ..quotes import split_entries

_METHODS = ("simple", "hysteresis", "ipht")
_LIMITS = {
    "low": MAX_THRESHOLD, "high": MAX_THRESHOLD, "sigma": MAX_SIGMA,
    "channel": 255, "core_channel": 255, "min_size": MAX_COUNT, "max_size": MAX_COUNT,
}  # fmt: skip
_WHOLE = ("channel", "core_channel", "min_size", "max_size")


def parse_thresholds(text: str) -> ThresholdSettings:
    """Parse ``like:Other.ilp`` or ``channel=1,low=0.4``; what is not named is ilastik's default.

    Raises UsageError, and ProjectError for another project that cannot be used.
    """
    if text.startswith("like:"):
        with open_project(Path(text.removeprefix("like:")).expanduser()) as file:
            return read_thresholding(file)
    given = dict(_parse(entry) for entry in split_entries(text) if text)
    settings = replace(ThresholdSettings(), **given)  # type: ignore[arg-type]  # each is checked as it is parsed
    if "core_channel" not in given:
        settings = replace(settings, core_channel=settings.channel)
    if settings.method in TWO_LEVELS and settings.high < settings.low:
        raise UsageError(f"{setting('thresholds')}: high, {settings.high:g}, is below low, {settings.low:g}")
    return settings


def _parse(entry: str) -> tuple[str, object]:
    name, _, text = (part.strip() for part in entry.partition("="))
    if name == "method" and text in _METHODS:
        return name, text
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if name not in _LIMITS or not 0 <= number <= _LIMITS[name] or (name in _WHOLE and number != int(number)):
        raise UsageError(
            f"{setting('thresholds')}: {entry.strip()!r} is none of method={'|'.join(_METHODS)}, low=, high= and "
            "sigma= with a number, channel= and core_channel= (from 0), min_size= and max_size= with a number of pixels"
        )
    if name == "sigma":
        return name, (number, number, number)
    return name, int(number) if name in _WHOLE else number

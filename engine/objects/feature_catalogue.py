"""Catalogue of object features: ilastik's names and groups, number of values, and images that have each feature.

The quantities to be measured for a feature are in ``quantities.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache

from ...frozen import frozen
from ...kernels.contract import BINS, QUANTILES
from ..errors import InputMismatch, ProjectError
from ..project.object_features import HULL_2D, HULL_3D, PLUGINS, SKELETON, STANDARD, Features

SHAPE, LOCATION, INTENSITY, OTHER = "Shape", "Location", "Intensity Distribution", "Other"
NEIGHBOURHOOD = " in neighborhood"
OBJECT_AND_NEIGHBOURHOOD = " in object and neighborhood"


class Size(Enum):
    """Number of values of a feature, as a function of the image."""

    ONE = "1"
    AXES = "D"
    AXES_SQUARED = "D*D"
    CHANNELS = "C"
    CHANNELS_SQUARED = "C*C"
    BINS = "bins"
    QUANTILES = "quantiles"

    def count(self, *, dimensions: int, channels: int) -> int:
        """Number of values for an image of 2 or 3 dimensions with that many channels."""
        return _counts(dimensions, channels)[self.value]


@cache
def _counts(dimensions: int, channels: int) -> Mapping[str, int]:
    return {
        Size.ONE.value: 1,
        Size.AXES.value: dimensions,
        Size.AXES_SQUARED.value: dimensions**2,
        Size.CHANNELS.value: channels,
        Size.CHANNELS_SQUARED.value: channels**2,
        Size.BINS.value: BINS,
        Size.QUANTILES.value: len(QUANTILES),
    }


class Needs(Enum):
    """Kind of images that have a feature."""

    ANY = "any number of channels"
    ONE_CHANNEL = "one channel"
    CHANNELS = "more than one channel"

    def holds(self, channels: int) -> bool:
        """Return True if an image with that many channels has it."""
        return self is Needs.ANY or (channels == 1) == (self is Needs.ONE_CHANNEL)


@frozen
class FeatureEntry:
    """One feature of a plugin; ``is_local``: it has a margin and includes the neighbourhood of the object."""

    plugin: str
    name: str
    display_name: str
    group: str
    size: Size
    needs: Needs = Needs.ANY
    is_local: bool = False


_PLUGIN_DIMENSIONS: Mapping[str, int] = {HULL_2D: 2, SKELETON: 2, HULL_3D: 3}
_LOCAL = ("Mean", "Sum", "Variance", "Skewness", "Kurtosis", "Minimum", "Maximum", "Histogram", "Covariance")


def _standard() -> Iterator[FeatureEntry]:
    def rows(group: str, size: Size, needs: Needs, *names: str) -> Iterator[FeatureEntry]:
        for name in names:
            yield FeatureEntry(STANDARD, name, _SHOWN.get(name, name), group, size, needs)

    every, one, several = Needs.ANY, Needs.ONE_CHANNEL, Needs.CHANNELS
    yield from rows(SHAPE, Size.ONE, every, "Count")
    yield from rows(SHAPE, Size.AXES, every, "RegionRadii")
    yield from rows(SHAPE, Size.AXES_SQUARED, every, "RegionAxes")
    yield from rows(LOCATION, Size.AXES, every, "Coord<Minimum>", "Coord<Maximum>", "RegionCenter")
    yield from rows(INTENSITY, Size.CHANNELS, every, *_LOCAL[:7])
    yield from rows(INTENSITY, Size.BINS, one, "Histogram")
    yield from rows(INTENSITY, Size.QUANTILES, one, "Quantiles")
    yield from rows(INTENSITY, Size.CHANNELS_SQUARED, several, "Covariance")
    yield from rows(OTHER, Size.CHANNELS_SQUARED, several, "PrincipalAxes")
    yield from rows(OTHER, Size.CHANNELS, every, *(f"Central<PowerSum<{k}>>" for k in (2, 3, 4)))
    axis = (
        "Coord<DivideByCount<Principal<PowerSum<2>>>>",
        *(f"Coord<Principal<PowerSum<{k}>>>" for k in (2, 3, 4)),
        "Coord<Principal<Skewness>>",
        "Coord<Principal<Kurtosis>>",
        "Coord<PowerSum<1>>",
    )
    yield from rows(OTHER, Size.AXES, every, *axis)
    yield from rows(OTHER, Size.AXES, one, *(f"Weighted<{name}>" for name in axis))
    yield from rows(OTHER, Size.AXES, one, "Weighted<RegionCenter>", "Weighted<RegionRadii>")
    yield from rows(OTHER, Size.AXES, one, "Coord<ArgMinWeight>", "Coord<ArgMaxWeight>")
    yield from rows(OTHER, Size.AXES_SQUARED, one, "Weighted<RegionAxes>")
    yield from rows(OTHER, Size.ONE, one, "Weighted<PowerSum<0>>", "Global<Minimum>", "Global<Maximum>")
    principal = ("Minimum", "Maximum", "Variance", "Skewness", "Kurtosis", *(f"PowerSum<{k}>" for k in (2, 3, 4)))
    yield from rows(OTHER, Size.CHANNELS, several, *(f"Principal<{name}>" for name in principal))


_SHOWN = {
    "Count": "Size in pixels",
    "Coord<Minimum>": "Bounding Box Minimum",
    "Coord<Maximum>": "Bounding Box Maximum",
    "RegionCenter": "Center of the object",
    "RegionRadii": "Radii of the object",
    "RegionAxes": "Principal components of the object",
    "Mean": "Mean Intensity",
    "Sum": "Total Intensity",
    "Variance": "Variance of Intensity",
    "Skewness": "Skewness of Intensity",
    "Kurtosis": "Kurtosis of Intensity",
    "Minimum": "Minimum intensity",
    "Maximum": "Maximum intensity",
    "Histogram": "Histogram of Intensity",
    "Quantiles": "Quantiles of Intensity",
    "Covariance": "Covariance of Channel Intensity",
}
_HULL = (
    ("InputVolume", "Object Area", SHAPE, Size.ONE),
    ("HullVolume", "Convex Hull Area", SHAPE, Size.ONE),
    ("Convexity", "Convexity", SHAPE, Size.ONE),
    ("DefectCount", "Number of Defects", SHAPE, Size.ONE),
    ("DefectVolumeMean", "Mean Defect Area", SHAPE, Size.ONE),
    ("DefectVolumeVariance", "Variance of Defect Area", SHAPE, Size.ONE),
    ("DefectVolumeSkewness", "Skewness of Defect Area", SHAPE, Size.ONE),
    ("DefectVolumeKurtosis", "Kurtosis of Defect Area", SHAPE, Size.ONE),
    ("DefectDisplacementMean", "Mean Defect Displacement", SHAPE, Size.ONE),
    ("InputCenter", "Object Center", LOCATION, Size.AXES),
    ("HullCenter", "Convex Hull Center", LOCATION, Size.AXES),
    ("DefectCenter", "Defect Center", LOCATION, Size.AXES),
)
_SKELETON = (
    ("Diameter", "Diameter", SHAPE, Size.ONE),
    ("Euclidean Diameter", "Euclidean Diameter", SHAPE, Size.ONE),
    ("Total Length", "Length of the Skeleton", SHAPE, Size.ONE),
    ("Average Length", "Average Branch Length", SHAPE, Size.ONE),
    ("Branch Count", "Number of Branches", SHAPE, Size.ONE),
    ("Hole Count", "Number of Holes", SHAPE, Size.ONE),
    ("Skeleton Center", "Center of the Skeleton", LOCATION, Size.AXES),
    ("Terminal 1", "Terminal 1", LOCATION, Size.AXES),
    ("Terminal 2", "Terminal 2", LOCATION, Size.AXES),
)


def _entries() -> Iterator[FeatureEntry]:
    standard = {entry.name: entry for entry in _standard()}
    yield from standard.values()
    for base in (standard[name] for name in _LOCAL):
        around, both = f"{base.name}{NEIGHBOURHOOD}", f"{base.name}{OBJECT_AND_NEIGHBOURHOOD}"
        shown = f"{base.display_name}{NEIGHBOURHOOD}"
        yield FeatureEntry(STANDARD, around, shown, INTENSITY, base.size, base.needs, is_local=True)
        yield FeatureEntry(STANDARD, both, both, INTENSITY, base.size, base.needs, is_local=True)
    for plugin in (HULL_2D, HULL_3D):
        yield from (FeatureEntry(plugin, *row) for row in _HULL)
    yield from (FeatureEntry(SKELETON, *row) for row in _SKELETON)


CATALOGUE: Mapping[str, Mapping[str, FeatureEntry]] = {
    plugin: {entry.name: entry for entry in _entries() if entry.plugin == plugin} for plugin in PLUGINS
}
"""Plugin -> feature -> entry, in the order in which the features' values are stored."""

_DISPLAY_NAMES = {entry.name: entry.display_name for entry in _entries()}


def find_feature(plugin: str, name: str) -> FeatureEntry:
    """Find the entry of a feature. Raises ProjectError, with advice, for an unknown one."""
    if plugin not in CATALOGUE:
        raise ProjectError(
            f"the project computes object features of '{plugin}', which pixelforest does not have; it has "
            f"{', '.join(CATALOGUE)}. Deselect them in ilastik, train and save"
        )
    found = CATALOGUE[plugin].get(name)
    if found is None:
        raise ProjectError(
            f"the project computes the object feature '{name}' of '{plugin}', which pixelforest does not have; "
            "deselect it in ilastik, train and save"
        )
    return found


def display_name(name: str) -> str:
    """Name of a feature in tables; its own name if there is no other."""
    return _DISPLAY_NAMES.get(name, name)


def count_values(plugin: str, name: str, *, dimensions: int, channels: int) -> int:
    """Number of values of a feature for an image. Raises ProjectError for an unknown one."""
    return find_feature(plugin, name).size.count(dimensions=dimensions, channels=channels)


def name_values(features: Features, *, dimensions: int, channels: int) -> tuple[str, ...]:
    """Name every value of features of an image, in the order of the classifier's columns.

    A feature of several values has its display name with an index: ``Radii of the object [0]``.
    """
    names: list[str] = []
    for plugin in sorted(features):
        for feature in sorted(features[plugin]):
            count = count_values(plugin, feature, dimensions=dimensions, channels=channels)
            shown = find_feature(plugin, feature).display_name
            names += [shown] if count == 1 else [f"{shown} [{k}]" for k in range(count)]
    return tuple(names)


def available_features(*, dimensions: int, channels: int) -> tuple[FeatureEntry, ...]:
    """List the features that can be selected for an image of 2 or 3 dimensions with that many channels."""
    return tuple(
        entry
        for plugin, entries in CATALOGUE.items()
        if _PLUGIN_DIMENSIONS.get(plugin, dimensions) == dimensions
        for entry in entries.values()
        if entry.needs.holds(channels) and not entry.name.endswith(OBJECT_AND_NEIGHBOURHOOD)
    )


def check_features(features: Features, *, dimensions: int, channels: int) -> None:
    """Refuse features that an image of 2 or 3 dimensions with that many channels does not have.

    Raises ProjectError for unknown features, InputMismatch for those of other images.
    """
    for plugin, names in features.items():
        for name in names:
            entry = find_feature(plugin, name)
            needed = _PLUGIN_DIMENSIONS.get(plugin, dimensions)
            if needed != dimensions:
                raise InputMismatch(
                    f"the project computes '{plugin}', which need a {needed}-D image, but this one is {dimensions}-D; "
                    "use an image like those of training"
                )
            if not entry.needs.holds(channels):
                raise InputMismatch(
                    f"the project computes the object feature '{name}', which needs an image of {entry.needs.value}, "
                    f"but this one has {channels}; use an image like those of training"
                )

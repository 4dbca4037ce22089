"""Quantities behind the features of objects, their groups of measurement, and the memory for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

from ...frozen import frozen
from ...kernels.contract import MEASURE_NEEDS, MEASURES, MeasurePlan, Voxels
from ...kernels.shared.object_tables import table_bytes
from ..errors import InputMismatch
from ..project.object_features import DEFAULT_FEATURES, HULL_2D, HULL_3D, SKELETON, STANDARD, Features
from .feature_catalogue import CATALOGUE, NEIGHBOURHOOD, OBJECT_AND_NEIGHBOURHOOD, Size, find_feature

# Feature -> its quantity; ``kernels.contract.MEASURES`` defines the group in which it is measured.
QUANTITIES: Mapping[str, str] = {
    "Count": "count",
    "Coord<Minimum>": "low",
    "Coord<Maximum>": "high",
    "RegionCenter": "centre",
    "RegionRadii": "radii",
    "RegionAxes": "axes",
    "Coord<PowerSum<1>>": "position_sum",
    "Coord<DivideByCount<Principal<PowerSum<2>>>>": "axis_variance",
    "Coord<Principal<PowerSum<2>>>": "axis_scatter",
    "Coord<Principal<PowerSum<3>>>": "axis_third",
    "Coord<Principal<PowerSum<4>>>": "axis_fourth",
    "Coord<Principal<Skewness>>": "axis_skewness",
    "Coord<Principal<Kurtosis>>": "axis_kurtosis",
    "Mean": "mean",
    "Sum": "sum",
    "Variance": "variance",
    "Skewness": "skewness",
    "Kurtosis": "kurtosis",
    "Minimum": "smallest",
    "Maximum": "largest",
    "Central<PowerSum<2>>": "second",
    "Central<PowerSum<3>>": "third",
    "Central<PowerSum<4>>": "fourth",
    "Histogram": "histogram",
    "Quantiles": "quantiles",
    "Global<Minimum>": "range_low",
    "Global<Maximum>": "range_high",
    "Coord<ArgMinWeight>": "smallest_at",
    "Coord<ArgMaxWeight>": "largest_at",
    "Weighted<PowerSum<0>>": "weight",
    "Weighted<Coord<PowerSum<1>>>": "weighted_position_sum",
    "Weighted<RegionCenter>": "weighted_centre",
    "Weighted<RegionRadii>": "weighted_radii",
    "Weighted<RegionAxes>": "weighted_axes",
    "Weighted<Coord<DivideByCount<Principal<PowerSum<2>>>>>": "weighted_axis_variance",
    "Weighted<Coord<Principal<PowerSum<2>>>>": "weighted_axis_scatter",
    "Weighted<Coord<Principal<PowerSum<3>>>>": "weighted_axis_third",
    "Weighted<Coord<Principal<PowerSum<4>>>>": "weighted_axis_fourth",
    "Weighted<Coord<Principal<Skewness>>>": "weighted_axis_skewness",
    "Weighted<Coord<Principal<Kurtosis>>>": "weighted_axis_kurtosis",
    "Covariance": "covariance",
    "PrincipalAxes": "principal_axes",
    "Principal<Minimum>": "principal_smallest",
    "Principal<Maximum>": "principal_largest",
    "Principal<Variance>": "principal_variance",
    "Principal<Skewness>": "principal_skewness",
    "Principal<Kurtosis>": "principal_kurtosis",
    "Principal<PowerSum<2>>": "principal_scatter",
    "Principal<PowerSum<3>>": "principal_third",
    "Principal<PowerSum<4>>": "principal_fourth",
}
DEFAULTS = ("Coord<Maximum>", "Coord<Minimum>", "Count", "RegionCenter")

GROUP_OF: Mapping[str, str] = {quantity: group for group, quantities in MEASURES.items() for quantity in quantities}
WITHOUT_VALUES = frozenset({"bounds", "axes", "axis_moments"})  # groups that need no pixels
_Listed: TypeAlias = "tuple[tuple[str, tuple[tuple[str, tuple[int, ...] | None], ...]], ...]"
_BOX_BYTES = 24  # an object's box
_ORDER_BYTES = 32  # slabs and cost of each object: a few numbers per object


@frozen
class Surroundings:
    """Kind of neighbourhood: the features that end in ``suffix``, measured around the object or with it."""

    suffix: str
    includes_object: bool
    names: tuple[str, ...]
    groups: frozenset[str]


def own_groups(wanted: Mapping[str, Sequence[int] | None]) -> frozenset[str]:
    """Groups that standard features of objects themselves need, and the default ones."""
    return close_groups({GROUP_OF[QUANTITIES[name]] for name in wanted if name in QUANTITIES} | {"bounds"})


def find_surroundings(wanted: Mapping[str, Sequence[int] | None]) -> Iterator[Surroundings]:
    """Yield the kinds of neighbourhoods that standard features use."""
    for suffix, includes_object in ((NEIGHBOURHOOD, False), (OBJECT_AND_NEIGHBOURHOOD, True)):
        names = tuple(name.removesuffix(suffix) for name in wanted if name.endswith(suffix))
        if names:
            groups = close_groups({GROUP_OF[QUANTITIES[name]] for name in names} | {"values"})
            yield Surroundings(suffix, includes_object, names, groups)


def close_groups(groups: Iterable[str]) -> frozenset[str]:
    """Add to groups all groups that they depend on."""
    found = set(groups)
    while missing := {MEASURE_NEEDS[group] for group in found if group in MEASURE_NEEDS} - found:
        found |= missing
    return frozenset(found)


def find_margin(wanted: Mapping[str, Sequence[int] | None], dimensions: int) -> Voxels:
    """Extent of neighbourhoods along z, y, x: the largest of all margins."""
    widest = [0] * dimensions
    for name, margin in wanted.items():
        if margin is None:
            continue
        values = [int(m) for m in margin] * dimensions if len(margin) == 1 else [int(m) for m in margin]
        if len(values) < dimensions:
            raise InputMismatch(
                f"the margin of the object feature '{name}' is set for {len(values)} axes, but the image has "
                f"{dimensions}; use an image like those of training"
            )
        widest = [max(a, b) for a, b in zip(widest, values, strict=False)]
    x, y, z = (*widest, 0)[:3]
    return (z, y, x)


def bytes_per_object(wanted: Features, *, dimensions: int, channels: int, voxels: int) -> int:
    """Maximum memory in bytes of measuring, per object of a frame, without the object's box.

    wanted   plugin -> feature -> margin; voxels: of the frame
    """
    listed = tuple(
        (plugin, tuple((name, None if margin is None else tuple(margin)) for name, margin in names.items()))
        for plugin, names in wanted.items()
    )
    return _bytes_per_object(listed, dimensions, channels, voxels)


@lru_cache(64)  # asked several times for each frame
def _bytes_per_object(listed: _Listed, dimensions: int, channels: int, voxels: int) -> int:
    wanted = {plugin: dict(names) for plugin, names in listed}
    standard = wanted.get(STANDARD, {})
    plans = [MeasurePlan(1, voxels, dimensions, channels, own_groups(standard))]
    if any(find_margin(standard, dimensions)):
        plans += [
            MeasurePlan(1, voxels, dimensions, channels, each.groups, own_range=True)
            for each in find_surroundings(standard)
        ]
    results = 8 * (1 + 3 * dimensions) + _BOX_BYTES
    rows = 0
    for plugin, names in wanted.items():
        if plugin == DEFAULT_FEATURES or not names:
            continue
        sizes = [find_feature(plugin, name).size for name in names]
        # Counts of a histogram become the feature in place, in their table.
        results += 4 * sum(s.count(dimensions=dimensions, channels=channels) for s in sizes if s is not Size.BINS)
        if plugin in (HULL_2D, HULL_3D, SKELETON):
            every = (entry.size.count(dimensions=dimensions, channels=channels) for entry in CATALOGUE[plugin].values())
            rows = max(rows, 8 * sum(every))
    return results + max(sum(table_bytes(plan) for plan in plans), rows) + _ORDER_BYTES

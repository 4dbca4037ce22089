"""The catalogue: what exists for which images, and what is refused."""

from __future__ import annotations

import re

import pytest

from pixelforest.engine.errors import InputMismatch, ProjectError
from pixelforest.engine.objects.feature_catalogue import (
    CATALOGUE,
    check_features,
    count_values,
    display_name,
    find_feature,
)
from pixelforest.engine.objects.quantities import QUANTITIES
from pixelforest.kernels.contract import MEASURE_NEEDS, MEASURES, SECOND_PASS

STANDARD, SKELETON = "Standard Object Features", "2D Skeleton Features"
HULLS = ("2D Convex Hull Features", "3D Convex Hull Features")


@pytest.mark.parametrize(("channels", "expected"), [(1, 40), (3, 33)])
def test_number_of_base_features(channels: int, expected: int) -> None:
    entries = [entry for entry in CATALOGUE[STANDARD].values() if not entry.is_local]
    assert sum(entry.needs.holds(channels) for entry in entries) == expected


@pytest.mark.parametrize(
    ("plugin", "name", "dimensions", "channels", "expected"),
    [
        (STANDARD, "Count", 3, 4, 1),
        (STANDARD, "RegionCenter", 2, 1, 2),
        (STANDARD, "RegionAxes", 3, 1, 9),
        (STANDARD, "Mean", 2, 3, 3),
        (STANDARD, "Covariance in neighborhood", 2, 3, 9),
        (STANDARD, "Histogram", 2, 1, 64),
        (STANDARD, "Quantiles", 2, 1, 7),
        (HULLS[1], "DefectCenter", 3, 1, 3),
        (SKELETON, "Terminal 1", 2, 1, 2),
    ],
)
def test_number_of_values(plugin: str, name: str, dimensions: int, channels: int, expected: int) -> None:
    assert count_values(plugin, name, dimensions=dimensions, channels=channels) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Count", "Size in pixels"),
        ("Minimum", "Minimum intensity"),
        ("Mean in neighborhood", "Mean Intensity in neighborhood"),
        ("Mean in object and neighborhood", "Mean in object and neighborhood"),
        ("Central<PowerSum<2>>", "Central<PowerSum<2>>"),
        ("Total Length", "Length of the Skeleton"),
        ("AtlasMapping", "AtlasMapping"),
    ],
)
def test_display_names(name: str, expected: str) -> None:
    assert display_name(name) == expected


def test_every_standard_feature_is_one_quantity() -> None:
    entries = {name for name, entry in CATALOGUE[STANDARD].items() if not entry.is_local}
    assert set(QUANTITIES) == entries
    measured = [quantity for quantities in MEASURES.values() for quantity in quantities]
    assert len(measured) == len(set(measured))
    assert set(QUANTITIES.values()) == set(measured) - {"voxels"}
    assert set(MEASURE_NEEDS) >= SECOND_PASS


@pytest.mark.parametrize(
    ("plugin", "name"),
    [("Spherical Texture", "Polarization Direction"), ("TestFeatures", "with_nans"), (STANDARD, "Colour")],
)
def test_unknown_features_are_refused_by_name(plugin: str, name: str) -> None:
    asked = name if plugin in CATALOGUE else plugin
    with pytest.raises(ProjectError, match=f"'{re.escape(asked)}'.*deselect|'{re.escape(asked)}'.*Deselect"):
        find_feature(plugin, name)


@pytest.mark.parametrize(
    ("plugin", "name", "dimensions", "channels", "message"),
    [
        (HULLS[0], "Convexity", 3, 1, "'2D Convex Hull Features', which need a 2-D image, but this one is 3-D"),
        (HULLS[1], "Convexity", 2, 1, "need a 3-D image"),
        (SKELETON, "Diameter", 3, 1, "need a 2-D image"),
        (STANDARD, "Histogram", 2, 3, "'Histogram', which needs an image of one channel, but this one has 3"),
        (STANDARD, "Covariance", 2, 1, "more than one channel, but this one has 1"),
        (STANDARD, "Covariance in neighborhood", 2, 1, "more than one channel"),
    ],
)
def test_features_of_other_images_are_refused(
    plugin: str, name: str, dimensions: int, channels: int, message: str
) -> None:
    with pytest.raises(InputMismatch, match=message):
        check_features({plugin: {name: None}}, dimensions=dimensions, channels=channels)

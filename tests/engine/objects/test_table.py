"""Columns of tables, their names and order; atlas values and pictures that go with the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pixelforest.engine.objects import atlas as atlas_module
from pixelforest.engine.objects.atlas import map_to_atlas
from pixelforest.engine.objects.classify import ObjectClasses
from pixelforest.engine.objects.crops import cut_objects, squeeze, squeezed_shape
from pixelforest.engine.objects.table import TableLayout, plan_columns

STANDARD, HULL, DEFAULT = "Standard Object Features", "2D Convex Hull Features", "Default features"
FEATURES = {
    STANDARD: {"Mean": None, "Count": None, "Histogram in neighborhood": (3, 3)},
    HULL: {"HullCenter": None, "Convexity": None},
}
FIRST = ["object_id", "timestep", "labelimage_oid", "User Label", "Predicted Class"]


def layout(features: Any = FEATURES, names: tuple[str, ...] = ("A", "B"), **options: Any) -> TableLayout:
    return plan_columns(features, names, **{"dimensions": 2, "channels": 1, **options})


def names_of(plan: TableLayout) -> list[str]:
    return [column.name for column in plan.columns]


def test_the_order_of_columns() -> None:
    assert names_of(layout()) == [
        *FIRST,
        "Probability of A",
        "Probability of B",
        "Convexity",
        "Convex Hull Center_0",
        "Convex Hull Center_1",
        "Size in pixels",
        *(f"Histogram of Intensity in neighborhood_{i}" for i in range(64)),
        "Mean Intensity",
        "Bounding Box Maximum_0",
        "Bounding Box Maximum_1",
        "Bounding Box Minimum_0",
        "Bounding Box Minimum_1",
        "Center of the object_0",
        "Center of the object_1",
    ]


def test_default_features_are_doubles_unless_they_were_selected() -> None:
    types = {column.name: column.dtype for column in layout().columns}
    assert types["Size in pixels"] == np.float32
    assert types["Center of the object_0"] == np.float64
    assert types["Mean Intensity"] == np.float32


def test_dimensions_and_channels_decide_about_numbers_of_columns() -> None:
    found = names_of(layout({STANDARD: {"Mean": None, "RegionAxes": None}}, dimensions=3, channels=2))
    assert [name for name in found if name.startswith("Mean")] == ["Mean Intensity_0", "Mean Intensity_1"]
    assert sum(name.startswith("Principal components") for name in found) == 9
    assert sum(name.startswith("Center of the object") for name in found) == 3


@pytest.mark.parametrize("wanted", [{"Mean"}, {"Mean Intensity"}])
def test_a_choice_by_id_or_display_name(wanted: set[str]) -> None:
    found = names_of(layout(wanted=wanted))
    assert found[7:9] == ["Mean Intensity", "Bounding Box Maximum_0"]
    assert "Size in pixels" in found, "default features are always there"


def test_an_atlas_and_original_ids_come_with_the_default_features() -> None:
    plan = layout({}, atlas=(2, np.dtype(np.uint16)), original_id=np.dtype(np.int64))
    assert names_of(plan)[7:9] == ["AtlasMapping_0", "AtlasMapping_1"]
    assert names_of(plan)[-1] == "original_oid"
    types = {column.name: column.dtype for column in plan.columns}
    assert (types["AtlasMapping_0"], types["original_oid"]) == (np.uint16, np.int64)
    assert names_of(layout({}, atlas=(1, np.dtype(np.uint8))))[7] == "AtlasMapping"


def test_classes_of_one_name_have_columns_of_their_own() -> None:
    assert names_of(layout(names=("A", "A")))[5:7] == ["Probability of A", "Probability of A (2)"]


def test_rows_of_a_table_are_complete() -> None:
    plan = layout({STANDARD: {"Mean": None, "Minimum in neighborhood": (2, 2)}}, original_id=np.dtype(np.int64))
    objects = ObjectClasses(np.array([[0.5, 0.5], [0.0, 1.0]], np.float32), np.array([0, 1]))
    default = {
        "Coord<Minimum>": np.array([[1.0, 2.0], [3.0, 4.0]]),
        "Coord<Maximum>": np.array([[5.0, 6.0], [7.0, 8.0]]),
        "RegionCenter": np.array([[1.5, 2.5], [3.5, 4.5]]),
        "Count": np.array([[9.0], [10.0]]),
    }
    measured = {STANDARD: {"Mean": np.array([[np.nan], [2.0]], np.float32)}, DEFAULT: default}
    rows = plan.rows(3, 10, objects, measured, {"original_oid": np.array([77, 5])})
    found = dict(zip(names_of(plan), [row.tolist() for row in rows], strict=True))
    assert (found["object_id"], found["timestep"], found["labelimage_oid"]) == ([10, 11], [3, 3], [1, 2])
    assert (found["User Label"], found["Predicted Class"]) == ([0, 0], [0, 1])
    assert found["Probability of B"] == [0.5, 1.0]
    assert np.isnan(found["Mean Intensity"][0])
    assert np.isnan(found["Minimum intensity in neighborhood"]).all(), "it could not be measured in this frame"
    assert (found["Center of the object_1"], found["original_oid"]) == ([2.5, 4.5], [77, 5])


def test_a_feature_without_columns_is_nan() -> None:
    plan = layout({STANDARD: {"Minimum in neighborhood": (2, 2)}})
    objects = ObjectClasses(np.ones((1, 2), np.float32), np.array([0]))
    default = {name: np.zeros((1, 2)) for name in ("Coord<Minimum>", "Coord<Maximum>", "RegionCenter")}
    default["Count"] = np.zeros((1, 1))
    measured = {STANDARD: {"Minimum in neighborhood": np.empty((1, 0), np.float32)}, DEFAULT: default}
    found = dict(zip(names_of(plan), plan.rows(0, 0, objects, measured, {}), strict=True))
    assert np.isnan(found["Minimum intensity in neighborhood"]).tolist() == [True]


# -------------------------------------------------------------------------------------------------------------- atlas


@pytest.mark.parametrize("slab", [1, 7, 10**6])
@pytest.mark.parametrize("shape", [(1, 6, 5), (4, 3, 5)])
def test_the_atlas_is_read_where_objects_have_their_centres(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], slab: int
) -> None:
    monkeypatch.setattr(atlas_module, "SLAB_VOXELS", slab)
    image = np.arange(np.prod(shape) * 2, dtype=np.uint16).reshape(*shape, 2)
    rng = np.random.default_rng(1)
    dimensions = 2 if shape[0] == 1 else 3
    centres = rng.uniform(0, np.array(shape[::-1][:dimensions]) - 1, (40, dimensions))
    found = map_to_atlas(lambda box: image[box.slices()], shape, 2, image.dtype, centres)
    z, y, x = (np.rint(centres[:, i]).astype(int) if i < dimensions else np.zeros(40, int) for i in (2, 1, 0))
    assert np.array_equal(found, image[z, y, x])
    assert found.dtype == np.uint16


def test_halves_go_to_the_even_voxel() -> None:
    image = np.arange(8).reshape(1, 1, 8, 1)
    centres = np.array([[0.5, 0], [1.5, 0], [2.5, 0]])
    found = map_to_atlas(lambda box: image[box.slices()], (1, 1, 8), 1, image.dtype, centres)
    assert found[:, 0].tolist() == [0, 2, 2]


# -------------------------------------------------------------------------------------------------------------- crops


def test_pictures_of_objects() -> None:
    labels = np.zeros((1, 6, 7), np.uint32)
    labels[0, 1:3, 2:6] = 1
    labels[0, 4:, :2] = 2
    raw = np.arange(42, dtype=np.uint16).reshape(1, 6, 7, 1)
    boxes = np.array([[[0, 1, 2], [1, 3, 6]], [[0, 4, 0], [1, 6, 2]]])
    first, second = cut_objects(labels, lambda box: raw[box.slices()], boxes, 1)
    assert (first.mask.shape, first.axes, first.mask.sum()) == ((6, 4), "xy", 8)
    assert np.array_equal(first.mask, (labels[0, 0:4, 1:7] == 1).T)
    assert first.raw is not None
    assert np.array_equal(first.raw, raw[0, 0:4, 1:7, 0].T)
    assert (first.raw.dtype, first.raw_axes) == (np.uint16, "xy")
    assert second.mask.shape == (3, 3), "cut off at the edge of the frame"


def test_pictures_without_pieces_of_the_image() -> None:
    labels = np.ones((2, 1, 2), np.uint32)
    (crop,) = cut_objects(labels, None, np.array([[[0, 0, 0], [2, 1, 2]]]), 0)
    assert (crop.raw, crop.axes, crop.mask.tolist()) == (None, "xz", [[1, 1], [1, 1]])


def test_axes_of_one_voxel_vanish() -> None:
    found, axes = squeeze(np.zeros((3, 1, 5, 2)))
    assert (found.shape, axes) == ((5, 3, 2), "xzc")
    assert squeeze(np.zeros((1, 1, 1, 1)))[0].shape == ()
    assert squeezed_shape((4, 1, 6, 7, 1)) == ((4, 7, 6), "txy")

"""The object stage of projects: thresholds, features, blocks and labels, of all generations and damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest

from pixelforest.engine.errors import ClassifierMissing, ProjectError
from pixelforest.engine.project import ObjectProject, PixelProject, ThresholdSettings
from pixelforest.engine.project.object_features import Blocks, ObjectFeatures, largest_margin
from pixelforest.engine.workflows import describe_project, read_project

BINARY = "Object Classification (from binary image)"
PREDICTION = "Object Classification (from prediction image)"
PIXEL = "Object Classification (from pixel classification)"
STANDARD = "Standard Object Features"
MakeObjects = Callable[..., Path]


@pytest.fixture
def make_objects(builders: ModuleType, tmp_path: Path) -> MakeObjects:
    """Writes a small project with an object stage of three columns; ``change`` may then alter the open file."""

    def make(change: Callable[[h5py.File], Any] | None = None, *, workflow: str = BINARY, **options: Any) -> Path:
        path: Path = builders.write_project(tmp_path / "project.ilp", workflow=workflow, **options)
        rng = np.random.default_rng(3)
        with h5py.File(path, "r+") as file:
            for group in ("ObjectExtraction", "ObjectClassification", "Blockwise Object Classification"):
                file[f"{group}/StorageVersion"] = "0.1"
            put_features(file, "ObjectExtraction/Features", {STANDARD: {"Count": None, "RegionCenter": None}})
            put_features(
                file, "ObjectClassification/SelectedFeatures", {STANDARD: {"Count": None, "RegionCenter": None}}
            )
            objects = file["ObjectClassification"]
            builders.put_texts(objects, "LabelNames", ["Good", "Bad"])
            trees = [builders.random_tree(rng, 3, 2, 2) for _ in range(4)]
            builders.put_forest(objects.create_group("ClassifierForests/Forest0000"), trees, columns=3, classes=2)
            objects["LabelInputs/0000/0"] = np.array([0.0, 1.0, 2.0, 1.0])
            objects["LabelInputs/0000/1"] = np.array([0.0, 0.0])
            file["Object Information Export/StorageVersion"] = "0.1"
            file["Object Information Export/OutputFormat"] = "numpy"
            if workflow in (PREDICTION, PIXEL):
                put_thresholds(file)
            if change is not None:
                change(file)
        return path

    return make


def put_features(file: h5py.File, path: str, plugins: dict[str, dict[str, Any]]) -> None:
    for plugin, features in plugins.items():
        for name, margin in features.items():
            group = file.require_group(f"{path}/{plugin}/{name}")
            group["displaytext"] = name
            if margin is not None:
                group["margin"] = margin


def put_thresholds(file: h5py.File, **stored: Any) -> None:
    """ilastik's defaults, replaced by what is given."""
    defaults = {"CurOperator": 0, "MinSize": 10, "MaxSize": 1_000_000, "HighThreshold": 0.8, "LowThreshold": 0.5}
    sigmas = {f"SmootherSigma__{axis}": 1.0 for axis in "zyx"}
    group = file.require_group("ThresholdTwoLevels")
    for name, value in {"StorageVersion": "0.1", **defaults, "Channel": 0, **sigmas, **stored}.items():
        path = name.replace("__", "/")
        if path in group:
            del group[path]
        group[path] = value


def read_objects(path: Path) -> ObjectProject:
    project = read_project(path)
    assert isinstance(project, ObjectProject)
    return project


def thresholds_of(make: MakeObjects, **stored: Any) -> ThresholdSettings:
    settings = read_objects(make(lambda file: put_thresholds(file, **stored), workflow=PREDICTION)).thresholds
    assert settings is not None
    return settings


def early_thresholds_of(make: MakeObjects, **stored: Any) -> ThresholdSettings:
    """Read the blocks of a project that stores nothing else."""

    def put(file: h5py.File) -> None:
        del file["ThresholdTwoLevels"]
        file["ThresholdTwoLevels/StorageVersion"] = "0.1"
        for name, value in stored.items():
            file[f"ThresholdTwoLevels/{name}"] = value

    settings = read_objects(make(put, workflow=PREDICTION, version="1.1.9")).thresholds
    assert settings is not None
    return settings


# ---------------------------------------------------------------------------------------------------- whole projects


def test_a_project_on_segmentations(make_objects: MakeObjects) -> None:
    project = read_objects(make_objects())
    assert project.workflow == BINARY
    assert project.roles[:3] == ("Raw Data", "Segmentation Image", "Atlas")
    assert project.classifier.label_names == ("Good", "Bad")
    assert project.classifier.column_count == 3
    assert project.export.format == "numpy", "from Object Information Export"
    assert (project.thresholds, project.pixels, project.table) == (None, None, None)


def test_a_project_with_pixels_has_a_pixel_stage_of_its_own(make_objects: MakeObjects) -> None:
    def put_atlas(file: h5py.File) -> None:
        file.move("Input Data/infos/lane0000/Prediction Mask", "Input Data/infos/lane0000/Atlas")
        file["Input Data/infos/lane0000/Atlas/nickname"] = "map"

    project = read_objects(make_objects(put_atlas, workflow=PIXEL))
    assert isinstance(project.pixels, PixelProject)
    assert project.pixels.roles == ("Raw Data", "Prediction Mask")
    assert set(project.pixels.lanes[0].images) == {"Raw Data", "Prediction Mask"}
    assert project.pixels.lanes[0].images["Prediction Mask"].nickname == "map"
    assert project.pixels.classifier.label_names == ("Background", "Cell")
    assert project.thresholds == ThresholdSettings()


def test_projects_are_keys_of_caches(make_objects: MakeObjects) -> None:
    path = make_objects(workflow=PIXEL)
    first, second = read_objects(path), read_objects(path)
    assert {first, second, first.pixels, second.pixels} == {first, first.pixels}
    assert first != first.pixels


def test_an_untrained_object_classifier_says_what_to_do(make_objects: MakeObjects) -> None:
    def untrain(file: h5py.File) -> None:
        del file["ObjectClassification/ClassifierForests"]

    with pytest.raises(ClassifierMissing, match="train the object classifier and save"):
        read_project(make_objects(untrain))


@pytest.mark.parametrize("is_flagged", [True, False])
def test_classes_without_names_are_numbered_by_the_labels(make_objects: MakeObjects, is_flagged: bool) -> None:
    def unname(file: h5py.File) -> None:
        if is_flagged:
            file["ObjectClassification/LabelNames"].attrs["isEmpty"] = True
        else:
            del file["ObjectClassification/LabelNames"]

    assert read_objects(make_objects(unname)).classifier.label_names == ("Label 1", "Label 2")


# ----------------------------------------------------------------------------------------------------------- features


def test_features_are_sorted_and_know_their_margins(make_objects: MakeObjects) -> None:
    def put(file: h5py.File) -> None:
        features = {
            "Mean in neighborhood": np.array([9, 7]),
            "Sum in neighborhood": 4,
            "Coord<Minimum>": None,
        }
        put_features(
            file, "ObjectExtraction/Features", {STANDARD: features, "2D Skeleton Features": {"Diameter": None}}
        )

    features = read_objects(make_objects(put)).features
    assert list(features.computed) == ["2D Skeleton Features", STANDARD]
    assert dict(features.computed[STANDARD]) == {
        "Coord<Minimum>": None,
        "Count": None,
        "Mean in neighborhood": (9, 7),
        "RegionCenter": None,
        "Sum in neighborhood": (4,),
    }
    assert list(features.selected[STANDARD]) == ["Count", "RegionCenter"]


def test_early_projects_have_one_level_more(make_objects: MakeObjects) -> None:
    def nest(file: h5py.File) -> None:
        for path in ("ObjectExtraction/Features", "ObjectClassification/SelectedFeatures"):
            file.move(path, "aside")
            file.create_group(path)
            file.move("aside", f"{path}/0")
        put_features(file, "ObjectExtraction/Features/0", {"Default features": {"Count": None}})

    features = read_objects(make_objects(nest)).features
    assert features.computed == features.selected == {STANDARD: {"Count": None, "RegionCenter": None}}


def test_without_a_selection_all_features_count(make_objects: MakeObjects) -> None:
    def drop(file: h5py.File) -> None:
        del file["ObjectClassification/SelectedFeatures"]

    features = read_objects(make_objects(drop)).features
    assert features.selected == features.computed


def test_unknown_plugins_are_refused_by_name(make_objects: MakeObjects) -> None:
    def put(file: h5py.File) -> None:
        put_features(file, "ObjectClassification/SelectedFeatures", {"Spherical Texture": {"Spherical Texture": None}})

    with pytest.raises(ProjectError, match="object features of 'Spherical Texture', which are not supported"):
        read_project(make_objects(put))


def test_no_features_at_all_are_refused(make_objects: MakeObjects) -> None:
    def drop(file: h5py.File) -> None:
        del file[f"ObjectClassification/SelectedFeatures/{STANDARD}"]

    with pytest.raises(ProjectError, match="selects no object features"):
        read_project(make_objects(drop))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("margin", [2.5, -1, np.array([1, 2, 3, 4]), np.nan, 1e12])
def test_margins_that_are_none_are_refused(make_objects: MakeObjects, margin: Any) -> None:
    def put(file: h5py.File) -> None:
        put_features(file, "ObjectExtraction/Features", {STANDARD: {"Mean in neighborhood": margin}})

    with pytest.raises(ProjectError, match="Mean in neighborhood/margin"):
        read_project(make_objects(put))


def test_a_feature_keeps_its_neighbourhood_when_others_are_left_out() -> None:
    computed = {STANDARD: {"Mean in neighborhood": (9, 7), "Sum in neighborhood": (4, 12), "Count": None}}
    selected = {STANDARD: {"Count": None, "Sum in neighborhood": (4, 12)}}
    features = ObjectFeatures(computed, selected)
    assert features.measured(everything=True) == computed
    assert features.measured(everything=False) == {STANDARD: {"Count": None, "Sum in neighborhood": (9, 12)}}


def test_the_largest_margin_is_taken_axis_by_axis() -> None:
    assert largest_margin({"a": {"x": (3, 1), "y": (2,)}, "b": {"z": (1, 1, 5)}}) == (3, 2, 5)
    assert largest_margin({"a": {"x": None}}) == (0,)


# ---------------------------------------------------------------------------------------------- thresholds and blocks


def test_all_settings_of_the_thresholds(make_objects: MakeObjects) -> None:
    settings = thresholds_of(
        make_objects,
        CurOperator=np.int32(1),
        MinSize=5,
        MaxSize=70,
        HighThreshold=0.9,
        LowThreshold=0.3,
        SmootherSigma__x=1.5,
        SmootherSigma__y=2.5,
        SmootherSigma__z=3.5,
        Channel=2,
        CoreChannel=1,
    )
    assert settings == ThresholdSettings("hysteresis", 5, 70, 0.9, 0.3, (3.5, 2.5, 1.5), 2, 1)
    assert settings.channels == (1, 2)


def test_what_is_not_stored_has_defaults(make_objects: MakeObjects) -> None:
    usual = ThresholdSettings("simple", 10, 1_000_000, 0.8, 0.4, (1.0, 1.0, 1.0), 0, 0)
    assert early_thresholds_of(make_objects, LowThreshold=0.4) == usual


def test_early_projects_keep_the_simple_threshold_apart(make_objects: MakeObjects, tmp_path: Path) -> None:
    assert early_thresholds_of(make_objects, LowThreshold=0.2, SingleThreshold=0.6).low == 0.6
    assert early_thresholds_of(make_objects, LowThreshold=0.2, SingleThreshold=0.6, CurOperator=1).low == 0.2


def test_early_projects_have_one_channel(make_objects: MakeObjects) -> None:
    assert early_thresholds_of(make_objects, Channel=3, CurOperator=3).core_channel == 3
    settings = early_thresholds_of(make_objects, Channel=3, CurOperator=0)
    assert (settings.channel, settings.core_channel, settings.channels) == (3, 0, (3,))


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("name", "value"),
    [("CurOperator", 4), ("MinSize", -1), ("LowThreshold", np.nan), ("SmootherSigma__x", -1.0), ("Channel", 0.5)],
)
def test_thresholds_that_cannot_be_are_refused(make_objects: MakeObjects, name: str, value: Any) -> None:
    with pytest.raises(ProjectError, match="ThresholdTwoLevels"):
        thresholds_of(make_objects, **{name: value})


def test_block_sizes_of_an_object_project_are_read(make_objects: MakeObjects) -> None:
    def put(file: h5py.File) -> None:
        for name, sizes in (("BlockShape3dDict", (100, 90, 1)), ("HaloPadding3dDict", (30, 25, 0))):
            for axis, size in zip("xyz", sizes, strict=True):
                file[f"Blockwise Object Classification/{name}/{axis}"] = size

    assert read_objects(make_objects(put)).blocks == Blocks((1, 90, 100), (0, 25, 30))
    assert read_objects(make_objects()).blocks == Blocks((512, 512, 512), (64, 64, 64))


def test_blocks_without_extent_are_refused(make_objects: MakeObjects) -> None:
    def put(file: h5py.File) -> None:
        file["Blockwise Object Classification/BlockShape3dDict/x"] = 0

    with pytest.raises(ProjectError, match="BlockShape3dDict"):
        read_project(make_objects(put))


# ---------------------------------------------------------------------------------------------------------- describing


def test_everything_is_described(make_objects: MakeObjects) -> None:
    summary = describe_project(make_objects(workflow=PREDICTION))
    assert summary.problems == ()
    objects = summary.objects
    assert objects is not None
    assert (objects.class_names, objects.label_counts) == (("Good", "Bad"), (2, 1))
    assert objects.forest is not None
    assert objects.forest.trees == 4


def test_what_is_broken_is_told_beside_the_rest(make_objects: MakeObjects) -> None:
    def spoil(file: h5py.File) -> None:
        del file["ObjectClassification/LabelInputs/0000/1"]
        file["ObjectClassification/LabelInputs/0000/1"] = np.array([0.5])
        file["Blockwise Object Classification/BlockShape3dDict/x"] = -1

    summary = describe_project(make_objects(spoil))
    assert len(summary.problems) == 2
    assert summary.objects is not None
    assert summary.objects.features is not None
    assert (summary.objects.blocks, summary.objects.label_counts) == (None, (0, 0))

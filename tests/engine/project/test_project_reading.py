"""Whole projects of each generation: lanes, features, export settings, versions and workflows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest

from pixelforest.engine.errors import ClassifierMissing, ProjectError
from pixelforest.engine.project import (
    PixelProject,
    StoredExportSettings,
    TrainingImage,
    open_project,
    read_export_settings,
    read_feature_selection,
    read_lanes,
    read_roles,
)
from pixelforest.engine.project.workflow_kinds import version_order
from pixelforest.engine.workflows import describe_project, read_project

MakeProject = Callable[..., Path]
LANE = "Input Data/infos/lane0000"
RAW = f"{LANE}/Raw Data"


def remove(*paths: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        for path in paths:
            del file[path]

    return change


def replace(path: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if path in file:
            del file[path]
        file[path] = value

    return change


def refusal(path: Path, kind: type[ProjectError] = ProjectError) -> str:
    with pytest.raises(kind) as caught:
        read_project(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def raw_image(path: Path) -> TrainingImage:
    with open_project(path) as file:
        return read_lanes(file)[0].images["Raw Data"]


# -- the whole --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["variable", "bytes", "fixed", "void"])
def test_a_project_reads_the_same_whatever_its_string_types(make_project: MakeProject, style: str) -> None:
    project = read_project(make_project(text_style=style))
    assert (project.version, project.workflow) == ("1.4.3", "Pixel Classification")
    assert project.roles == ("Raw Data", "Prediction Mask")
    assert project.path.is_absolute()
    assert [*project.lanes[0].images] == ["Raw Data"]
    assert project.features.ids[0] == "GaussianSmoothing"
    assert project.features.scales == (0.3, 0.7, 1.6)
    assert project.features.matrix[0] == (False, True, True)
    assert project.features.compute_in_2d == (True, True, True)
    assert project.features.columns_per_channel() == project.classifier.column_count == 4
    assert project.classifier.label_names == ("Background", "Cell")
    assert project.export.format == "hdf5"


@pytest.mark.sampled(3)
@pytest.mark.parametrize("version", ["0.6", "1.0.1", "1.2.2rc4", "1.3.3post2", "1.4.1b15", "1.4.3.dev28+g1", "1.5.0"])
def test_compatible_versions_are_read(make_project: MakeProject, version: str) -> None:
    assert read_project(make_project(version=version)).version == version


@pytest.mark.parametrize("version", ["0.5", "0.5.12", "1.6.0", "2.0", "", "new"])
def test_other_versions_are_refused(make_project: MakeProject, version: str) -> None:
    assert "ilastikVersion" in refusal(make_project(version=version))


@pytest.mark.parametrize(
    "change",
    [replace("ilastikVersion", 0.5), replace("ilastikVersion", np.float32(0.5)), replace("Project/x", 1)],
    ids=["float", "float32", "layout"],
)
def test_projects_of_ilastik_05_are_refused_clearly(make_project: MakeProject, change: Any) -> None:
    path = make_project(change, version=None)
    assert "ilastik 0.5 holds no classifier that could be used; open it in ilastik 1.4" in refusal(path)


def test_a_missing_version_is_refused(make_project: MakeProject) -> None:
    assert "ilastikVersion: is missing" in refusal(make_project(version=None))


def test_the_class_name_of_an_unsaved_project_is_understood(make_project: MakeProject) -> None:
    assert read_project(make_project(workflow="PixelClassificationWorkflow")).workflow == "Pixel Classification"


@pytest.mark.parametrize(
    "workflow",
    ["Carving", "Cell Density Counting", "Nonsense"],
)
def test_other_workflows_are_refused_with_what_is_supported(make_project: MakeProject, workflow: str) -> None:
    text = refusal(make_project(workflow=workflow))
    assert f"workflow '{workflow}' is not supported; supported: " in text


def test_a_missing_workflow_is_refused_with_what_is_supported(make_project: MakeProject) -> None:
    assert "workflowName: is missing" in refusal(make_project(workflow=None))
    assert "'Pixel Classification'" in refusal(make_project(workflow=None)).partition("supported: ")[2]


def test_an_untrained_project_says_what_to_do(make_project: MakeProject) -> None:
    path = make_project(remove("PixelClassification/ClassifierForests"))
    assert "train the pixel classifier and save" in refusal(path, ClassifierMissing)


def test_versions_sort_as_they_were_released() -> None:
    released = ["1.2.2rc4", "1.2.2", "1.3.3b1", "1.3.3", "1.3.3post1", "1.3.3post2", "1.4.0b7", "1.4.0b17", "1.4.0rc1"]
    released += ["1.4.0", "1.4.1.dev28+g7", "1.4.1b15", "1.4.1", "1.10.0"]
    shuffled = released[5:] + released[:5]
    assert sorted(shuffled, key=version_order) == released
    assert version_order("?") < version_order("0.6")
    assert version_order(" v1.4.0b7 (copy)") == version_order("1.4.0b7")


# -- lanes ------------------------------------------------------------------------------------------------------


def test_a_training_image_is_read(make_project: MakeProject, builders: ModuleType) -> None:
    def fill(file: h5py.File) -> None:
        group = file[RAW]
        for name, text in {"display_mode": "grayscale", "__class__": "RelativeFilesystemDatasetInfo"}.items():
            builders.put_text(group, name, text)
        builders.put_text(group, "axis_units", '{"y": "um", "x": "um", "c": null}')
        group["drange"] = np.array([0, 255])

    assert raw_image(make_project(fill)) == TrainingImage(
        axes="yxc",
        shape=(30, 40, 1),
        nickname="image 0",
        file_path="./image0.h5/data",
        location="RelativeFilesystemDatasetInfo",
        drange=(0, 255),
        display_mode="grayscale",
        axis_units={"y": "um", "x": "um"},
    )


@pytest.mark.parametrize("units", ["null", "", "{", "[1]", "[" * 5000, '{"y": 1, "other": "um"}'])
def test_unusable_units_count_as_unknown(make_project: MakeProject, units: str) -> None:
    assert raw_image(make_project(replace(f"{RAW}/axis_units", units))).axis_units == {}


def test_an_old_axis_order_stands_in_for_axistags(make_project: MakeProject) -> None:
    def age(file: h5py.File) -> None:
        for name in ("axistags", "shape"):
            del file[RAW][name]
        file[RAW]["axisorder"] = "zyx"
        file[RAW]["location"] = "FileSystem"

    image = raw_image(make_project(age))
    assert (image.axes, image.shape, image.location, image.display_mode) == ("zyx", None, "FileSystem", "default")
    assert image.sizes() == {}


def test_axes_are_guessed_from_the_shape_or_unknown(make_project: MakeProject) -> None:
    assert raw_image(make_project(remove(f"{RAW}/axistags"))).axes == "yxc"
    assert raw_image(make_project(remove(f"{RAW}/axistags", f"{RAW}/shape"))).axes == ""


def test_an_image_inside_the_project_tells_its_shape(make_project: MakeProject, builders: ModuleType) -> None:
    def store(file: h5py.File) -> None:
        group = file[RAW]
        del group["shape"], group["axistags"]
        builders.put_text(group, "location", "ProjectInternal")
        builders.put_text(group, "datasetId", "abc-1")
        data = file.create_dataset("Input Data/local_data/abc-1", (5, 6, 7, 2), "u1")
        data.attrs["axistags"] = builders.axistags("zyxc")

    image = raw_image(make_project(store))
    assert (image.axes, image.shape) == ("zyxc", (5, 6, 7, 2))
    assert image.location == "ProjectInternalDatasetInfo"


def test_lanes_come_in_name_order_and_empty_roles_are_left_out(make_project: MakeProject, builders: ModuleType) -> None:
    def add(file: h5py.File) -> None:
        for lane in (10, 2):
            builders.put_image(file, lane, "yx", (3, 4))
        builders.put_image(file, 2, "yx", (3, 4), role="Prediction Mask")

    with open_project(make_project(add)) as file:
        lanes = read_lanes(file)
    assert [lane.images["Raw Data"].nickname for lane in lanes] == ["image 0", "image 2", "image 10"]
    assert [sorted(lane.images) for lane in lanes] == [["Raw Data"], ["Prediction Mask", "Raw Data"], ["Raw Data"]]


def test_without_role_names_a_lane_is_its_raw_image(make_project: MakeProject) -> None:
    def age(file: h5py.File) -> None:
        del file["Input Data/Role Names"]
        file.move(RAW, "Input Data/infos/info0001")
        del file[LANE]

    with open_project(make_project(age)) as file:
        assert read_roles(file) == ("Raw Data",)
        assert [lane.images["Raw Data"].axes for lane in read_lanes(file)] == ["yxc"]


@pytest.mark.parametrize("change", [remove("Input Data"), remove("Input Data/StorageVersion"), remove(LANE)])
def test_training_images_are_not_needed(make_project: MakeProject, change: Any) -> None:
    project = read_project(make_project(change))
    assert project.lanes == ()
    assert project.roles == ("Raw Data", "Prediction Mask")


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replace(f"{RAW}/axistags", "{"), "axistags"),
        (replace(f"{RAW}/axistags", '{"axes": [{"key": "q"}]}'), "axes 'q'"),
        (replace(f"{RAW}/axistags", '{"axes": [{"key": "x"}, {"key": "x"}, {"key": "y"}]}'), "axes 'xxy'"),
        (replace(f"{RAW}/shape", np.array([3, 4])), "shape of 2 numbers"),
        (replace(f"{RAW}/shape", np.array([3, -4, 1])), "not the shape"),
        (replace(f"{RAW}/shape", np.array([[3, 4, 1]])), "not the shape"),
        (replace(f"{RAW}/shape", "three"), "where integers belong"),
        (replace(f"{RAW}/shape", np.zeros(1000, int)), "at most 1024"),
        (replace(f"{RAW}/nickname", 3), "where text belongs"),
    ],
)
def test_a_damaged_training_image_is_refused(make_project: MakeProject, change: Any, message: str) -> None:
    assert message in refusal(make_project(change))


# -- features ---------------------------------------------------------------------------------------------------


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("axes", "shape", "columns", "flat"),
    [
        ("yxc", (30, 40, 1), 4, True),
        ("zyx", (20, 30, 40), 5, False),
        ("zyx", (1, 30, 40), 4, True),
        ("tzyxc", (3, 1, 30, 40, 2), 8, True),
        ("yx", None, 4, True),
        ("tyxc", None, 12, True),
        ("zyx", None, 5, False),
        ("zyx", None, 4, True),
        ("zyx", None, 7, False),
        ("zyxc", None, 8, True),
        ("zyxc", None, 10, False),
        ("zyxc", None, 20, False),
    ],
)
def test_old_projects_filter_flat_training_data_in_2d(
    make_project: MakeProject, axes: str, shape: tuple[int, ...] | None, columns: int, flat: bool
) -> None:
    """Without a stored decision the first image decides; without its shape, its axes and the classifier's columns."""
    project = read_project(make_project(axes=axes, shape=shape, columns=columns, compute_in_2d=None))
    assert project.features.compute_in_2d == (flat,) * 3


@pytest.mark.parametrize(("columns", "flat"), [(4, True), (5, False), (7, True)])
def test_without_images_the_columns_decide(make_project: MakeProject, columns: int, flat: bool) -> None:
    project = read_project(make_project(remove(LANE), columns=columns, compute_in_2d=None))
    assert project.features.compute_in_2d == (flat,) * 3


def test_an_empty_decision_counts_as_none(make_project: MakeProject) -> None:
    assert read_project(make_project(compute_in_2d=())).features.compute_in_2d == (True,) * 3


def test_scales_may_be_mixed_and_any_number(make_project: MakeProject) -> None:
    project = read_project(make_project(compute_in_2d=(True, True, False)))
    assert project.features.compute_in_2d == (True, True, False)
    assert project.features.columns_per_channel() == 5


def test_the_order_of_features_is_that_of_the_file(make_project: MakeProject, builders: ModuleType) -> None:
    def reorder(file: h5py.File) -> None:
        group = file["FeatureSelections"]
        builders.put_texts(group, "FeatureIds", builders.FEATURE_IDS[::-1], "fixed")

    assert read_project(make_project(reorder)).features.ids == tuple(reversed(builders.FEATURE_IDS))


def test_another_group_of_features_can_be_read(make_project: MakeProject) -> None:
    path = make_project(lambda file: file.move("FeatureSelections", "FeatureSelections01"))
    with open_project(path) as file:
        assert read_feature_selection(file, (), group="FeatureSelections01").scales == (0.3, 0.7, 1.6)


GROUP = "FeatureSelections"


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove(GROUP), "holds no feature selection"),
        (remove(f"{GROUP}/StorageVersion"), "holds no feature selection"),
        (remove(f"{GROUP}/Scales"), "holds no feature selection"),
        (remove(f"{GROUP}/FeatureIds"), "holds no feature selection"),
        (remove(f"{GROUP}/SelectionMatrix"), "holds no feature selection"),
        (replace(f"{GROUP}/FeatureListFilename", "list.txt"), "other programs"),
        (replace(f"{GROUP}/FeatureIds", ["GaussianSmoothing", "DeepFeature"]), "feature 'DeepFeature' is unknown"),
        (replace(f"{GROUP}/FeatureIds", ["GaussianSmoothing"] * 6), "twice"),
        (replace(f"{GROUP}/FeatureIds", ["GaussianSmoothing"]), "need (1, 3)"),
        (replace(f"{GROUP}/Scales", np.array([0.3, 0.7])), "need (6, 2)"),
        (replace(f"{GROUP}/Scales", np.array([0.3, 0.7, np.nan])), "list of scales"),
        (replace(f"{GROUP}/Scales", np.array([0.3, 0.7, np.inf])), "list of scales"),
        (replace(f"{GROUP}/Scales", np.array([0.3, -0.7, 1.0])), "list of scales"),
        (replace(f"{GROUP}/Scales", np.array([[0.3, 0.7, 1.0]])), "list of scales"),
        (replace(f"{GROUP}/Scales", 1.0), "list of scales"),
        (replace(f"{GROUP}/Scales", ["a", "b", "c"]), "where numbers belong"),
        (replace(f"{GROUP}/SelectionMatrix", np.ones((3, 6), bool)), "need (6, 3)"),
        (replace(f"{GROUP}/SelectionMatrix", np.zeros((6, 3), bool)), "selects no feature"),
        (replace(f"{GROUP}/SelectionMatrix", np.ones((6, 3))), "where booleans belong"),
        (replace(f"{GROUP}/ComputeIn2d", np.ones(2, bool)), "for 3 scales"),
    ],
)
def test_unusable_features_are_refused(make_project: MakeProject, change: Any, message: str) -> None:
    assert message in refusal(make_project(change))


# -- export settings --------------------------------------------------------------------------------------------


def stored_settings(path: Path, group: str = "Prediction Export") -> StoredExportSettings:
    with open_project(path) as file:
        return read_export_settings(file, group)


def test_all_export_settings_are_read(make_project: MakeProject) -> None:
    def fill(file: h5py.File) -> None:
        group = file["Prediction Export"]
        for name, value in {
            "OutputInternalPath": "volume",
            "OutputAxisOrder": "cyx",
            "ExportDtype": "uint8",
            "InputMin": 0.0,
            "InputMax": 1.0,
            "ExportMin": 0,
            "ExportMax": 255,
            "RegionStart": np.array([0, -1, 0]),
            "RegionStop": np.array([5, -1, 1]),
        }.items():
            group[name] = value

    settings = stored_settings(make_project(fill))
    assert settings == StoredExportSettings(
        filename_format="{dataset_dir}/{nickname}_{result_type}",
        format="hdf5",
        internal_path="volume",
        axis_order="cyx",
        dtype="uint8",
        input_range=(0.0, 1.0),
        export_range=(0, 255),
        region_start=(0, None, 0),
        region_stop=(5, None, 1),
    )
    assert settings.input_range is not None
    assert settings.export_range is not None
    assert [type(value) for value in settings.input_range + settings.export_range] == [float, float, int, int]


def test_no_export_settings_are_all_none(make_project: MakeProject) -> None:
    assert stored_settings(make_project(remove("Prediction Export"))) == StoredExportSettings()
    assert stored_settings(make_project(remove("Prediction Export/StorageVersion"))) == StoredExportSettings()
    assert stored_settings(make_project(), "Object Information Export") == StoredExportSettings()


def test_half_a_range_and_an_empty_region_are_none(make_project: MakeProject) -> None:
    def fill(file: h5py.File) -> None:
        group = file["Prediction Export"]
        group["InputMin"] = 0.0
        group["RegionStart"] = np.array([7])
        group["RegionStart"].attrs["isEmpty"] = True

    settings = stored_settings(make_project(fill))
    assert settings.input_range is settings.region_start is None


@pytest.mark.parametrize("corner", [np.zeros(6, int), np.array([[1]]), np.array([-2]), np.array([0.5])])
def test_a_region_that_is_none_is_refused(make_project: MakeProject, corner: Any) -> None:
    assert "Prediction Export/RegionStart" in refusal(make_project(replace("Prediction Export/RegionStart", corner)))


# -- recorded projects ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_recorded_projects_are_read(shared_folder: Path) -> None:
    paths = [*shared_folder.glob("golden/*/*.ilp"), *shared_folder.glob("fixtures/*/project.ilp")]
    read = {}
    for path in sorted([*paths, *shared_folder.glob("bench/*.ilp")]):
        if describe_project(path).is_supported:
            read[path.parent.name] = read_project(path)
        else:
            assert "is not supported; supported: " in refusal(path)
    assert len(read) >= 15
    read = {name: project for name, project in read.items() if isinstance(project, PixelProject)}
    flat = {name: project.features.compute_in_2d[0] for name, project in read.items()}
    assert flat["PixelClassification2d"], "has no shape, but no z axis either"
    assert flat["PixelClassification5t2d1c"]
    assert not flat["PixelClassification3d"], "has no shape, but a z axis"
    for name, project in read.items():
        assert project.classifier.column_count % project.features.columns_per_channel() == 0, name

"""Counting labelled pixels, in the axis orders of each generation; and what is told about a project."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest

from pixelforest.engine.errors import ProjectError, ProjectNotFound
from pixelforest.engine.project import LaneLabels, count_labels, count_project_labels, open_project, read_lanes
from pixelforest.engine.workflows import describe_project, read_kind

MakeProject = Callable[..., Path]
OBJECTS = "Object Classification (from pixel classification)"


def count(path: Path, version: str = "1.4.3", workflow: str = "Pixel Classification") -> tuple[LaneLabels, ...]:
    with open_project(path) as file:
        return count_labels(file, read_lanes(file), version=version, workflow=workflow)


def block(*shape: int, **values: Any) -> np.ndarray:
    """A block of zeros but for label=count pairs: the first ``count`` pixels not yet taken."""
    flat = np.zeros(int(np.prod(shape)), np.uint8)
    start = 0
    for name, number in values.items():
        flat[start : start + number] = int(name[1:])
        start += number
    return flat.reshape(shape)


def test_labels_are_counted_per_slice_and_lane(make_project: MakeProject, builders: ModuleType) -> None:
    def draw(file: h5py.File) -> None:
        builders.put_image(file, 1, "zyx", (20, 30, 40))
        put = builders.put_labels
        put(file, "labels000", 0, (2, 5, 6, 0), block(2, 3, 3, 1, _1=10, _2=2), "zyxc")
        put(file, "labels000", 1, (3, 9, 9, 0), block(1, 2, 2, 1, _2=3), "zyxc")
        put(file, "labels001", 0, (19, 0, 0, 0), block(1, 1, 1, 1, _3=1), "zyxc")
        file.create_group("PixelClassification/LabelSets/labels002")

    first, second, third = count(make_project(draw, axes="zyx", shape=(20, 30, 40)))
    assert first.by_slice == {2: {1: 9}, 3: {1: 1, 2: 5}}
    assert (first.has_z, first.z_extent, first.nickname, first.lane) == (True, 20, "image 0", 0)
    assert first.totals() == {1: 10, 2: 5}
    assert [first.count_in_slice(z) for z in (1, 2, 3)] == [0, 9, 6]
    assert [first.count_in_slice(3, label) for label in (1, 2, 3)] == [1, 5, 0]
    assert second.by_slice == {19: {3: 1}}
    assert (third.by_slice, third.nickname, third.z_extent) == ({}, "", None)


def test_lanes_are_matched_by_number_not_alphabetically(make_project: MakeProject, builders: ModuleType) -> None:
    def draw(file: h5py.File) -> None:
        for lane in range(1, 12):
            builders.put_image(file, lane, "yx", (30, 40))
        for lane in (2, 10):
            builders.put_labels(file, f"labels{lane}", 0, (0, 0, 0), block(4, 5, 1, _1=lane), "yxc")

    counted = count(make_project(draw))
    assert [lane.totals().get(1, 0) for lane in counted] == [0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 10, 0]


def test_the_eraser_is_no_label(make_project: MakeProject, builders: ModuleType) -> None:
    path = make_project(lambda f: builders.put_labels(f, "labels000", 0, (0, 0, 0), block(4, 5, 1, _1=3, _100=9)))
    assert count(path)[0].totals() == {1: 3}


def test_blocks_of_masked_images_are_read(make_project: MakeProject, builders: ModuleType) -> None:
    def draw(file: h5py.File) -> None:
        group = file.create_group("PixelClassification/LabelSets/labels000/block0000")
        group["data"] = block(4, 5, 1, _2=6)
        group["mask"] = np.zeros((4, 5, 1), bool)
        group.attrs["blockSlice"] = np.bytes_(b"[0:4,0:5,0:1]")

    assert count(make_project(draw))[0].totals() == {2: 6}


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    ("axes", "shape", "version", "workflow", "block_axes"),
    [
        ("yx", (30, 40), "1.2.2rc4", "Pixel Classification", "yxc"),
        ("xyzc", (40, 30, 20, 1), "1.2.2rc4", "Pixel Classification", "zyxc"),
        ("xyzc", (40, 30, 20, 1), "1.3.3", "Pixel Classification", "zyxc"),
        ("xyzc", (40, 30, 20, 1), "1.3.3post2", "Pixel Classification", "xyzc"),
        ("xyz", (40, 30, 20), "1.4.0b7", "Pixel Classification", "xyzc"),
        ("xyzc", (40, 30, 20, 1), "1.4.0b8", "Pixel Classification", "zyxc"),
        ("xyzc", (40, 30, 20, 1), "1.3.3post1", OBJECTS, "txyzc"),
        ("xyzc", (40, 30, 20, 1), "1.3.3post1", "ObjectClassificationWorkflowPixel", "txyzc"),
        ("tzyxc", (5, 20, 30, 40, 1), "1.2.2", "Pixel Classification", "tzyxc"),
        ("tzyxc", (5, 1, 30, 40, 1), "1.4.3", "Pixel Classification", "tyxc"),
        ("zyx", None, "1.2.2", "Pixel Classification", "zyxc"),
        ("tyxc", None, "1.2.2", "Pixel Classification", "tyxc"),
        ("tzyxc", None, "1.2.2", "Pixel Classification", "tzyxc"),
        ("yx", None, "1.2.2", "Pixel Classification", "yxc"),
    ],
)
def test_blocks_without_axistags_are_read_as_their_version_wrote_them(
    make_project: MakeProject,
    builders: ModuleType,
    axes: str,
    shape: tuple[int, ...] | None,
    version: str,
    workflow: str,
    block_axes: str,
) -> None:
    sizes = {"t": 1, "z": 3, "y": 4, "x": 5, "c": 1}
    values = np.zeros([sizes[a] for a in "tzyxc"], np.uint8)
    values[0, 0, 0, 0, 0], values[0, 2, 3, 4, 0] = 1, 2
    if "z" not in block_axes:
        values = values[:, 2:]
    kept = [a for a in "tzyxc" if a in block_axes]
    stored = values[tuple(slice(None) if a in kept else 0 for a in "tzyxc")]
    stored = np.transpose(stored, [kept.index(a) for a in block_axes])
    start = [7 if a == "z" else 2 if a in "yx" else 0 for a in block_axes]
    path = make_project(lambda f: builders.put_labels(f, "labels000", 0, start, stored), axes=axes, shape=shape)
    expected = {7: {1: 1}, 9: {2: 1}} if "z" in block_axes else {0: {2: 1}}
    counted = count(path, version, workflow)[0]
    assert counted.by_slice == expected
    assert counted.has_z == ("z" in block_axes)


BLOCK = "PixelClassification/LabelSets/labels000/block0000"


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        (None, "no attribute blockSlice"),
        ("", "blockSlice ''"),
        ("[0:4,0:5]", "has the shape"),
        ("[0:4,0:5,0:2]", "has the shape"),
        ("[0:4,0:5,-1:0]", "has the shape"),
        ("[a:b]" * 100, "has the shape"),
        (5, "not a text"),
    ],
)
def test_a_block_of_unknown_place_is_refused(
    make_project: MakeProject, builders: ModuleType, attribute: Any, message: str
) -> None:
    def draw(file: h5py.File) -> None:
        builders.put_labels(file, "labels000", 0, (0, 0, 0), block(4, 5, 1, _1=3))
        del file[BLOCK].attrs["blockSlice"]
        if attribute is not None:
            file[BLOCK].attrs["blockSlice"] = attribute

    with pytest.raises(ProjectError, match=message):
        count(make_project(draw))


@pytest.mark.parametrize("values", [np.full((4, 5, 1), -1), np.full((4, 5, 1), 256), np.zeros((4, 5, 1))])
def test_labels_that_are_none_are_refused(make_project: MakeProject, builders: ModuleType, values: np.ndarray) -> None:
    with pytest.raises(ProjectError, match="block0000: holds"):
        count(make_project(lambda f: builders.put_labels(f, "labels000", 0, (0, 0, 0), values)))


def test_labels_can_be_counted_in_an_untrained_project(make_project: MakeProject, builders: ModuleType) -> None:
    def draw(file: h5py.File) -> None:
        del file["PixelClassification/ClassifierForests"]
        builders.put_labels(file, "labels000", 0, (0, 0, 0), block(4, 5, 1, _1=3))

    with open_project(make_project(draw)) as file:
        assert count_project_labels(file, read_kind(file))[0].totals() == {1: 3}


# -- telling about a project ------------------------------------------------------------------------------------


def test_a_good_project_is_described_in_full(make_project: MakeProject, builders: ModuleType) -> None:
    def draw(file: h5py.File) -> None:
        builders.put_labels(file, "labels000", 0, (0, 0, 0), block(4, 5, 1, _1=3, _2=4))

    summary = describe_project(make_project(draw))
    assert (summary.workflow, summary.version, summary.is_supported) == ("Pixel Classification", "1.4.3", True)
    assert (summary.axes, summary.shape, summary.channels, summary.dimensions) == ("yxc", (30, 40, 1), 1, "2-D")
    assert summary.roles == ("Raw Data", "Prediction Mask")
    assert (summary.lane_count, summary.class_names, summary.label_counts) == (1, ("Background", "Cell"), (3, 4))
    assert summary.features is not None
    assert summary.forest is not None
    assert (summary.forest.forests, summary.forest.trees, summary.forest.columns) == (2, 5, 4)
    assert summary.forest.leaves == summary.forest.nodes // 2 + 3
    assert summary.export.format == "hdf5"
    assert summary.problems == ()


def test_leaves_that_are_certain_are_told_from_others(make_project: MakeProject, builders: ModuleType) -> None:
    for fraction, pure in ((1.0, True), (0.75, False)):
        tree = (1, 0.5, builders.leaf(fraction, 1 - fraction), builders.leaf(0.0, 1.0))
        forest = describe_project(make_project(forests=[[tree]])).forest
        assert forest is not None
        assert (forest.has_pure_leaves, forest.nodes, forest.leaves) == (pure, 3, 2)


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("options", "channels", "dimensions"),
    [
        ({"axes": "yxc", "shape": (9, 9, 3), "columns": 12}, 3, "2-D"),
        ({"axes": "yxc", "shape": None, "columns": 12}, 3, "2-D"),
        ({"axes": "yxc", "shape": None, "columns": 13}, None, "2-D"),
        ({"axes": "zyx", "shape": None, "columns": 5, "compute_in_2d": None}, 1, "3-D"),
        ({"axes": "zyx", "shape": (9, 9, 9), "columns": 5, "compute_in_2d": (False, False, False)}, 1, "3-D"),
        ({"axes": "zyx", "shape": (9, 9, 9), "compute_in_2d": (False, True, False)}, 1, "mixed"),
        ({"axes": "zyx", "shape": (9, 9, 9), "compute_in_2d": (True, False, False)}, 1, "3-D"),
        ({"axes": "zyx", "shape": (1, 9, 9), "compute_in_2d": (False, False, False)}, 1, "2-D"),
    ],
)
def test_channels_and_dimensions_are_found(
    make_project: MakeProject, options: dict[str, Any], channels: int | None, dimensions: str
) -> None:
    summary = describe_project(make_project(**options))
    assert (summary.channels, summary.dimensions) == (channels, dimensions)


def test_a_project_of_another_workflow_is_described(make_project: MakeProject) -> None:
    path = make_project(workflow=OBJECTS)
    summary = describe_project(path)
    assert (summary.workflow, summary.is_supported) == (OBJECTS, True)
    assert summary.roles == ("Raw Data", "Atlas", "Prediction Mask")
    assert summary.forest is not None
    assert summary.objects is not None
    assert summary.objects.forest is None
    assert len(summary.problems) == 3
    assert "train the object classifier and save" in summary.problems[0]
    assert "selects no object features" in summary.problems[1]
    assert "ThresholdTwoLevels/CurOperator: is missing" in summary.problems[2]


def test_what_a_workflow_never_has_is_no_problem(make_project: MakeProject) -> None:
    def strip(file: h5py.File) -> None:
        del file["PixelClassification"], file["FeatureSelections"]

    summary = describe_project(make_project(strip, workflow="Object Classification (from binary image)"))
    assert (summary.forest, summary.features, summary.class_names) == (None, None, ())
    assert all("Object" in problem for problem in summary.problems)


def test_broken_labels_are_told_beside_the_rest(make_project: MakeProject) -> None:
    def spoil(file: h5py.File) -> None:
        del file["FeatureSelections/Scales"]
        del file["PixelClassification/ClassifierForests/Forest0000/Tree_0/topology"]
        del file["ilastikVersion"]

    summary = describe_project(make_project(spoil))
    assert (summary.version, summary.forest, summary.features) == (None, None, None)
    assert (summary.workflow, summary.class_names) == ("Pixel Classification", ("Background", "Cell"))
    assert len(summary.problems) == 3


def test_only_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProjectNotFound):
        describe_project(tmp_path / "nowhere.ilp")
    with h5py.File(tmp_path / "empty.ilp", "w"):
        pass
    summary = describe_project(tmp_path / "empty.ilp")
    assert (summary.workflow, summary.version, summary.lane_count) == (None, None, 0)
    assert summary.problems


@pytest.mark.slow
def test_every_recorded_project_is_described(shared_folder: Path) -> None:
    paths = [*shared_folder.glob("golden/*/*.ilp"), *shared_folder.glob("fixtures/*/project.ilp")]
    for path in sorted([*paths, *shared_folder.glob("bench/*.ilp")]):
        summary = describe_project(path)
        assert summary.workflow, path
        assert summary.axes, path
        assert len(summary.problems) == (0 if summary.is_supported else 1), path
        if summary.forest is not None:
            assert summary.forest.has_pure_leaves, path
            assert sum(summary.label_counts) > 0, path

"""Numbers that ilastik cannot store (NaN, negative, 1e-300) and emptied settings ran with other results and no word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pixelforest.cli import main
from pixelforest.engine.errors import ProjectError
from pixelforest.engine.workflows import describe_project, read_project

PIXELS, OBJECTS = "px2d_gray", "obj2d_pred_hyst"
FOREST = "PixelClassification/ClassifierForests/Forest0000"
LEAF = 0x40000000
nan, inf = float("nan"), float("inf")
Copy = Callable[[str], Path]


def put(case: Path, path: str, value: Any) -> Path:
    """Replace a dataset of the project, or one number of it (a pair of index and number); None deletes it."""
    project = case / "project.ilp"
    with h5py.File(project, "r+") as file:
        if isinstance(value, tuple):
            index, number = value
            values = file[path][()]
            values.reshape(-1)[index] = number
            value = values
        if path in file:
            del file[path]
        if value is not None:
            file[path] = value
    return project


REFUSED = [
    (PIXELS, "FeatureSelections/Scales", (0, 1e-300)),
    (PIXELS, "FeatureSelections/Scales", (0, 1e300)),
    (PIXELS, "FeatureSelections/Scales", (1, nan)),
    (PIXELS, "FeatureSelections/Scales", (1, -1.0)),
    (PIXELS, "FeatureSelections/SelectionMatrix", np.full((6, 7), 2, np.uint8)),
    (PIXELS, "FeatureSelections/ComputeIn2d", np.full(7, 255, np.uint8)),
    (PIXELS, f"{FOREST}/_options/predict_weighted_", np.array([nan])),
    (PIXELS, f"{FOREST}/_options/predict_weighted_", np.array([2.0])),
    (PIXELS, f"{FOREST}/_options/tree_count_", np.array([nan])),
    (PIXELS, f"{FOREST}/_options/tree_count_", np.array([-1.0])),
    (PIXELS, f"{FOREST}/_ext_param/class_count_", np.array([inf])),
    (PIXELS, f"{FOREST}/_ext_param/column_count_", np.array([1e300])),
    *[
        (PIXELS, f"Prediction Export/{name}", value)
        for name in ("InputMin", "InputMax", "ExportMin", "ExportMax")
        for value in (nan, -inf)
    ],
    (PIXELS, "Prediction Export/RegionStart", np.array([-2, 0, 0])),
    (PIXELS, "Input Data/infos/lane0000/Raw Data/shape", np.array([-5, 5])),
    *[
        (OBJECTS, f"ThresholdTwoLevels/{name}", value)
        for name in ("LowThreshold", "HighThreshold", "SmootherSigma/x", "SmootherSigma/z")
        for value in (nan, inf, -inf, -0.5, 1e300)
    ],
    *[
        (OBJECTS, f"ThresholdTwoLevels/{name}", value)
        for name in ("MinSize", "MaxSize", "Channel", "CoreChannel", "CurOperator")
        for value in (nan, -1, 0.5, 1e300)
    ],
    *[
        (OBJECTS, f"ThresholdTwoLevels/{name}", None)
        for name in ("LowThreshold", "HighThreshold", "MinSize", "MaxSize", "Channel", "CurOperator", "SmootherSigma")
    ],
    (OBJECTS, "ThresholdTwoLevels", None),
    (OBJECTS, "ThresholdTwoLevels/StorageVersion", None),
    (OBJECTS, "Blockwise Object Classification/BlockShape3dDict/x", nan),
    (OBJECTS, "Blockwise Object Classification/BlockShape3dDict/x", 0),
    (OBJECTS, "Blockwise Object Classification/HaloPadding3dDict/z", -1),
    (OBJECTS, "ObjectExtraction/Features/Standard Object Features/Mean in neighborhood/margin", np.array([nan, 3])),
    (OBJECTS, "ObjectExtraction/Features/Standard Object Features/Mean in neighborhood/margin", np.array([-3, 3])),
    (OBJECTS, "ObjectClassification/LabelNames", np.array([b"A"] * 256)),
    (PIXELS, "PixelClassification/LabelNames", np.array([b"A"] * 256)),
]


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("case", "path", "value"), REFUSED, ids=[f"{path.rpartition('/')[2]}-{value}" for _, path, value in REFUSED]
)
def test_what_ilastik_cannot_store_is_refused_by_name(copy_golden: Copy, case: str, path: str, value: Any) -> None:
    project = put(copy_golden(case), path, value)
    with pytest.raises(ProjectError) as caught:
        read_project(project)
    # Sizes along several axes are named by their group; without a version the whole group counts as empty.
    place = path.rpartition("/")[0] if "3dDict" in path else path.removesuffix("/StorageVersion")
    assert f"project '{project}', {place}" in str(caught.value)
    assert "\n" not in str(caught.value)


def tree(case: Path) -> tuple[str, np.ndarray, np.ndarray]:
    """The place, topology and parameters of the first tree that has an interior node."""
    with h5py.File(case / "project.ilp") as file:
        for name in sorted(file[FOREST]):
            if name.startswith("Tree_") and file[FOREST][name]["topology"][2] == 0:
                place = f"{FOREST}/{name}"
                return place, file[place]["topology"][()], file[place]["parameters"][()]
    raise AssertionError("every tree is a leaf")


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("offset", "value", "why"),
    [
        (0, nan, "infinite or undefined"),
        (0, -3.0, "negative numbers"),
        (1, nan, "infinite or undefined"),
        (1, inf, "infinite or undefined"),
        (1, -0.25, "negative numbers"),
        (1, 1.5, "do not sum to 1"),
    ],
)
def test_leaves_hold_numbers_of_samples_and_fractions(copy_golden: Copy, offset: int, value: float, why: str) -> None:
    case = copy_golden(PIXELS)
    place, topology, _ = tree(case)
    leaf = next(topology[n + 1] for n in _nodes(topology) if topology[n] == LEAF)
    project = put(case, f"{place}/parameters", (leaf + offset, value))
    with pytest.raises(ProjectError, match=f"{place}: a leaf.* {why}"):
        read_project(project)


def _nodes(topology: np.ndarray) -> list[int]:
    """Addresses of all nodes, which ilastik writes one after the other."""
    found, at = [], 2
    while at < len(topology):
        found.append(at)
        at += 2 if topology[at] == LEAF else 5
    return found


def test_a_threshold_of_a_tree_that_is_nan_is_refused(copy_golden: Copy) -> None:
    case = copy_golden(PIXELS)
    place, topology, _ = tree(case)
    project = put(case, f"{place}/parameters", (topology[3] + 1, nan))
    with pytest.raises(ProjectError, match=f"{place}: the threshold of a node is undefined"):
        read_project(project)


def test_it_is_one_line_of_the_run_of_explain_and_of_info(
    copy_golden: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    case = copy_golden(OBJECTS)
    project = put(case, "ThresholdTwoLevels", None)
    assert any("ThresholdTwoLevels/CurOperator: is missing" in line for line in describe_project(project).problems)
    inputs = [f"--project={project}", f"--raw_data={case / 'raw.h5'}", f"--prediction_maps={case / 'pred.h5'}"]
    for words in (["--headless"], ["explain"]):
        assert main([*words, *inputs]) == 1
        shown = capsys.readouterr()
        lines = [line for line in (shown.out + shown.err).splitlines() if "ThresholdTwoLevels" in line]
        assert len(lines) == 1


KEPT = [
    (PIXELS, "FeatureSelections/Scales", (0, 0.1)),
    (PIXELS, f"{FOREST}/_options/predict_weighted_", np.array([1.0])),
    (PIXELS, "Prediction Export/RegionStart", np.array([-1, -1, -1])),
    (OBJECTS, "ThresholdTwoLevels/LowThreshold", 0.0),
    (OBJECTS, "ThresholdTwoLevels/LowThreshold", 65535.0),
    (OBJECTS, "ThresholdTwoLevels/SmootherSigma/x", 0.0),
    (OBJECTS, "ThresholdTwoLevels/MinSize", 10_000_000),
    (OBJECTS, "ThresholdTwoLevels/MaxSize", np.int64((1 << 63) - 1)),
    (OBJECTS, "ThresholdTwoLevels/MaxSize", 1e6),
    (OBJECTS, "Blockwise Object Classification/HaloPadding3dDict/z", 0),
]


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("case", "path", "value"), KEPT, ids=[f"{path.rpartition('/')[2]}-{value}" for _, path, value in KEPT]
)
def test_what_ilastik_can_store_is_kept(copy_golden: Copy, case: str, path: str, value: Any) -> None:
    read_project(put(copy_golden(case), path, value))


def test_early_versions_did_not_store_everything(copy_golden: Copy) -> None:
    case = copy_golden(OBJECTS)
    put(case, "ilastikVersion", "1.0.6")
    project = put(case, "ThresholdTwoLevels/CurOperator", None)
    read_project(project)


def test_an_emptied_group_is_refused_whatever_the_version(copy_golden: Copy) -> None:
    case = copy_golden(OBJECTS)
    project = put(case, "ilastikVersion", "1.0.6")
    with h5py.File(project, "r+") as file:
        for name in list(file["ThresholdTwoLevels"]):
            del file["ThresholdTwoLevels"][name]
    with pytest.raises(ProjectError, match="ThresholdTwoLevels: is empty"):
        read_project(project)


@pytest.mark.parametrize("place", ["project", "option"])
def test_an_empty_range_to_be_mapped_is_refused(
    copy_golden: Copy, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    case = copy_golden(PIXELS)
    words = ["--headless", f"--project={case / 'project.ilp'}", str(case / "raw.png")]
    if place == "option":
        words += ["--pipeline_result_drange=(0.5,0.5)", "--export_drange=(0,255)"]
    else:
        for name, value in (("InputMin", 0.5), ("InputMax", 0.5), ("ExportMin", 0), ("ExportMax", 255)):
            put(case, f"Prediction Export/{name}", value)
    assert main(words) == 1
    assert "is empty: from 0.5 to 0.5" in capsys.readouterr().err

"""Whole runs on objects beyond the recorded ones: parts of series, atlases, nothing to find, inputs that do not fit."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest

from pixelforest import cli
from pixelforest.engine.axes import axistags_json

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@pytest.fixture
def case(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Copies a recorded project without its own table and makes the copy the current folder."""

    def copy(name: str) -> Path:
        folder = copy_golden(name)
        with h5py.File(folder / "project.ilp", "r+") as file:
            del file["ObjectClassification/ExportSettings"]
        monkeypatch.chdir(folder)
        return folder

    return copy


def run(*options: str, **inputs: str) -> int:
    """Run the project of the current folder."""
    words = [word for role, path in inputs.items() for word in (f"--{role}", path)]
    return cli.main(["--headless", "--project=project.ilp", *options, *words])


def put(path: str, values: np.ndarray, axes: str) -> str:
    """Store an image; returns the argument that names it."""
    with h5py.File(path, "w") as file:
        file["data"] = values
        file["data"].attrs["axistags"] = axistags_json(axes)
    return f"{path}/data"


def get(path: str | Path) -> np.ndarray:
    with h5py.File(path) as file:
        values: np.ndarray = file["exported_data"][()]
    return values


def expected(name: str, result: str) -> np.ndarray:
    return get(GOLDEN / name / "expected" / f"{result}.h5")


def table(path: str) -> dict[str, tuple[str, ...]]:
    with open(path, newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    return dict(zip(head, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(head, ())


# ------------------------------------------------------------------------------------------------- what never matters

SERIES: Mapping[str, str] = {"raw_data": "raw.h5/data", "segmentation_image": "seg.h5/data"}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("options", [("--threads=1",), ("--threads=3", "--memory=300M")])
@pytest.mark.parametrize("name", ["obj2dt_seg", "obj3d_seg"])
def test_threads_and_memory(case: Callable[[str], Path], name: str, options: tuple[str, ...]) -> None:
    case(name)
    sources = "--export_source=Object Identities,Object Predictions,Object Probabilities"
    assert (
        run(*options, sources, "--output_filename_format=out/{result_type}.h5", "--table_filename=t.csv", **SERIES) == 0
    )
    for result in ("Object Identities", "Object Predictions", "Object Probabilities"):
        recorded = expected(name, result.lower().replace(" ", "_"))
        assert np.array_equal(get(f"out/{result}.h5"), recorded), result
    with open(GOLDEN / name / "expected" / "objects_table.csv", newline="") as file:
        head, *rows = csv.reader(file)
    assert table("t.csv") == dict(zip(head, zip(*rows, strict=True), strict=True))


def test_the_axes_of_the_files(case: Callable[[str], Path]) -> None:
    """Ids run along x first, however the files are stored."""
    case("obj2dt_seg")
    with h5py.File("raw.h5") as raw, h5py.File("seg.h5") as segmentation:
        turned = {
            "raw_data": put("r.h5", raw["data"][()].transpose(2, 1, 0), "xyt"),
            "segmentation_image": put("s.h5", segmentation["data"][()].transpose(1, 2, 0), "yxt"),
        }
    options = ["--ignore_training_axistags", "--export_source=Object Identities", "--output_axis_order=tyxc"]
    assert run(*options, "--output_filename_format=o.h5", **turned) == 0
    assert np.array_equal(get("o.h5"), expected("obj2dt_seg", "object_identities"))


# ------------------------------------------------------------------------------------------------------ parts of frames


def test_a_part_of_a_series(case: Callable[[str], Path]) -> None:
    case("obj2dt_seg")
    options = ["--export_source=Object Probabilities", "--cutout_subregion=[(1,20,30,0),(3,90,100,2)]"]
    assert run(*options, "--output_filename_format=o.h5", "--table_filename=t.csv", **SERIES) == 0
    assert np.array_equal(get("o.h5"), expected("obj2dt_seg", "object_probabilities")[1:3, 20:90, 30:100])
    assert set(table("t.csv")["timestep"]) == {"0", "1", "2"}, "the table is about the whole series"


def test_a_part_of_a_blockwise_result(case: Callable[[str], Path]) -> None:
    case("obj2d_seg")
    options = ["--export_source=Blockwise Object Predictions", "--cutout_subregion=[(50,90,0),(150,210,1)]"]
    assert run(*options, "--output_filename_format=o.h5", raw_data="raw.png", segmentation_image="seg.png") == 0
    assert np.array_equal(get("o.h5"), expected("obj2d_seg", "blockwise_object_predictions")[50:150, 90:210])


def test_all_results_in_one_pass(case: Callable[[str], Path]) -> None:
    case("pcoc2d")
    names = ("Object Identities", "Pixel Probabilities", "Simple Segmentation", "Object Probabilities")
    options = [f"--export_source={','.join(names)}", "--output_filename_format=out/{result_type}.h5"]
    assert run(*options, "--table_filename=t.csv", "raw.png") == 0
    for name in names:
        found, recorded = get(f"out/{name}.h5"), expected("pcoc2d", name.lower().replace(" ", "_"))
        assert np.allclose(found, recorded, rtol=0, atol=1.2e-7), name
    assert len(table("t.csv")["object_id"]) > 0


def test_a_part_of_pixels_and_objects_in_one_pass(case: Callable[[str], Path]) -> None:
    case("pcoc2d")
    options = ["--export_source=Object Identities,Pixel Probabilities", "--output_filename_format=out/{result_type}.h5"]
    assert run(*options, "--cutout_subregion=[(10,20,0),(60,90,None)]", "raw.png") == 0
    assert np.array_equal(get("out/Object Identities.h5"), expected("pcoc2d", "object_identities")[10:60, 20:90])
    maps = get("out/Pixel Probabilities.h5")
    assert np.allclose(maps, expected("pcoc2d", "pixel_probabilities")[10:60, 20:90], rtol=0, atol=1.2e-7)


# --------------------------------------------------------------------------------------------------------------- atlas


def test_an_atlas_in_the_table(case: Callable[[str], Path]) -> None:
    case("obj2d_seg")
    rows, columns = np.mgrid[:200, :240]
    place = put("atlas.h5", (rows * 240 + columns).astype(np.uint32), "yx")
    inputs = {"raw_data": "raw.png", "segmentation_image": "seg.png", "atlas": place}
    assert run("--table_filename=t.csv", "--ignore_training_axistags", **inputs) == 0
    found = table("t.csv")
    x, y = (np.rint(np.array(found[f"Center of the object_{i}"], float)).astype(int) for i in (0, 1))
    assert np.array_equal(np.array(found["AtlasMapping"], int), y * 240 + x)


def test_the_atlas_masks_the_pixel_stage(case: Callable[[str], Path]) -> None:
    case("pcoc2d")
    mask = np.ones((150, 170, 1), np.uint8)
    mask[:, 80:] = 0
    inputs = {"raw_data": "raw.png", "atlas": put("mask.h5", mask, "yxc")}
    assert run("--export_source=Object Identities", "--output_filename_format=o.h5", **inputs) == 0
    found = get("o.h5")
    assert found[:, :75].any()
    assert not found[:, 85:].any(), "smoothing reaches a few pixels"


# ------------------------------------------------------------------------------------------------------ nothing to find


def test_no_objects_at_all(case: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    case("obj2d_seg")
    empty = put("s.h5", np.zeros((200, 240, 1), np.uint8), "yxc")
    sources = "Object Identities,Object Predictions,Object Probabilities,Blockwise Object Probabilities"
    options = [f"--export_source={sources}", "--output_filename_format=out/{result_type}.h5"]
    assert run(*options, "--table_filename=t.csv", raw_data="raw.png", segmentation_image=empty) == 0
    for path in Path("out").iterdir():
        assert not get(path).any(), path
    found = table("t.csv")
    assert list(found)[:6] == [
        "object_id",
        "timestep",
        "labelimage_oid",
        "User Label",
        "Predicted Class",
        "Probability of Round",
    ]
    assert set(found.values()) == {()}
    lines = [line for line in capsys.readouterr().err.splitlines() if "has no objects" in line]
    assert len(lines) == 1


@pytest.mark.sampled(1)
@pytest.mark.parametrize("frame", [0, 1, 2])
def test_a_frame_without_objects(case: Callable[[str], Path], frame: int) -> None:
    case("obj2dt_seg")
    with h5py.File("seg.h5", "r+") as file:
        file["data"][frame] = 0
    options = ["--export_source=Object Predictions", "--output_filename_format=o.h5", "--table_filename=t.csv"]
    assert run(*options, **SERIES) == 0
    recorded = expected("obj2dt_seg", "object_predictions")
    recorded[frame] = 0
    assert np.array_equal(get("o.h5"), recorded)
    found = table("t.csv")
    assert set(found["timestep"]) == {"0", "1", "2"} - {str(frame)}
    assert found["object_id"] == tuple(str(i) for i in range(len(found["object_id"])))


# -------------------------------------------------------------------------------------------------- ids of label images


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("dtype", "stored"), [("uint8", "uint8"), ("uint16", "uint32"), ("uint64", "uint64"), ("int32", "int32")]
)
def test_types_of_label_images(case: Callable[[str], Path], dtype: str, stored: str) -> None:
    case("obj2d_label")
    with h5py.File("labels.h5") as file:
        values, axes = file["data"][()], "".join(axis.label for axis in file["data"].dims)
    ids = np.unique(values, return_inverse=True)[1].reshape(values.shape).astype(dtype)
    place = put("l.h5", ids, axes or "yx")
    options = ["--export_source=Object Identities", "--output_filename_format=o.h5", "--table_filename=t.csv"]
    assert run(*options, "--ignore_training_axistags", raw_data="raw.h5/data", label_image=place) == 0
    found = get("o.h5")
    assert found.dtype == stored
    assert np.array_equal(found, expected("obj2d_label", "object_identities"))
    rows = table("t.csv")
    flat = ids.reshape(found.shape)
    for new, original in zip(rows["labelimage_oid"], rows["original_oid"], strict=True):
        assert set(flat[found == int(new)].tolist()) == {int(original)}


# --------------------------------------------------------------------------------------------- inputs that do not fit


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def test_a_missing_role_is_named(case: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    case("obj2d_pred")
    assert run(raw_data="raw.h5/data") == 1
    assert "there is no Prediction Maps for raw.h5/data; name it with --prediction_maps" in error_of(capsys)


def test_sizes_that_differ(case: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    case("obj2d_seg")
    other = put("s.h5", np.zeros((200, 239, 1), np.uint8), "yxc")
    assert run(raw_data="raw.png", segmentation_image=other) == 1
    assert "Shapes do not match: Segmentation Image" in error_of(capsys)


def test_a_segmentation_with_channels(case: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    case("obj2d_seg")
    other = put("s.h5", np.zeros((200, 240, 2), np.uint8), "yxc")
    assert run(raw_data="raw.png", segmentation_image=other) == 1
    assert "has 2 channels" in error_of(capsys)


def test_labels_that_are_no_integers(case: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    case("obj2d_label")
    other = put("l.h5", np.zeros((140, 150), np.float32), "yx")
    assert run("--ignore_training_axistags", raw_data="raw.h5/data", label_image=other) == 1
    assert "holds float32, but ids are integers" in error_of(capsys)


def test_a_negative_id_is_found_in_its_file(case: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """It is met while the run is under way, with other files open."""
    case("obj2d_label")
    ids = np.zeros((140, 150), np.int32)
    ids[7, 9] = -3
    other = put("l.h5", ids, "yx")
    assert run("--ignore_training_axistags", raw_data="raw.h5/data", label_image=other) == 1
    found = error_of(capsys)
    assert f"{other}: a label image must not hold negative ids, but there is -3" in found
    assert "(z, y, x) = (0, 7, 9)" in found


def test_prediction_maps_without_the_channel(case: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    case("obj2d_pred")
    other = put("p.h5", np.zeros((180, 200, 1), np.float32), "yxc")
    assert run(raw_data="raw.h5/data", prediction_maps=other) == 1
    assert "channel" in error_of(capsys)


def test_a_raw_image_with_other_channels(case: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    case("obj2d_seg")
    other = put("r.h5", np.zeros((200, 240, 3), np.uint8), "yxc")
    assert run(raw_data=other, segmentation_image="seg.png") == 1
    assert "image of one channel, but this one has 3" in error_of(capsys)


def test_an_object_that_fills_the_image(case: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Its neighbourhood is empty, for it and so for all."""
    case("obj2d_seg")
    full = put("s.h5", np.ones((200, 240, 1), np.uint8), "yxc")
    assert run("--table_filename=t.csv", raw_data="raw.png", segmentation_image=full) == 1
    assert "in neighborhood of Standard Object Features, which cannot be measured" in error_of(capsys)
    assert not Path("t.csv").exists()


def test_a_volume_for_a_flat_project(case: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    case("obj2d_pred_hyst")
    raw, maps = np.zeros((5, 40, 50), np.uint8), np.zeros((5, 40, 50, 2), np.float32)
    inputs = {"raw_data": put("r.h5", raw, "zyx"), "prediction_maps": put("p.h5", maps, "zyxc")}
    assert run("--ignore_training_axistags", **inputs) == 1
    assert "trained on 20 values an object" in error_of(capsys)


def test_an_image_of_one_row(case: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    case("obj2d_seg")
    inputs = {"raw_data": put("r.h5", np.zeros((1, 9, 1), np.uint8), "yxc")}
    inputs["segmentation_image"] = put("s.h5", np.zeros((1, 9, 1), np.uint8), "yxc")
    assert run(**inputs) == 1
    assert "one pixel along y" in error_of(capsys)


def test_graph_cut(case: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    case("obj2d_pred")
    with h5py.File("project.ilp", "r+") as file:
        file["ThresholdTwoLevels/CurOperator"][()] = 2
    assert run(raw_data="raw.h5/data", prediction_maps="pred.h5/data") == 1
    error = error_of(capsys)
    assert "graph cut" in error
    assert "Simple, Hysteresis" in error


def test_one_bad_lane_among_good_ones(case: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = case("obj2d_seg")
    shutil.copy("raw.png", "second.png")
    bad = put("s.h5", np.zeros((20, 20, 1), np.uint8), "yxc")
    argv = ["--project=project.ilp", "--table_filename=out/{nickname}.csv", "--raw_data", "raw.png", "second.png"]
    assert cli.main([*argv, "--segmentation_image", bad, "seg.png"]) == 3
    assert [path.name for path in (folder / "out").iterdir()] == ["second.csv"]


# -------------------------------------------------------------------------------------------------------------- memory


def noise(shape: tuple[int, ...]) -> np.ndarray:
    """A segmentation of very many tiny objects."""
    return np.random.default_rng(8).integers(0, 3, shape).astype(np.uint8)


def test_tables_of_objects_that_exceed_the_memory(case: Callable[[str], Path]) -> None:
    """Groups are measured one after the other: the same table and images as with memory for all."""
    case("obj2d_seg")
    inputs = {"raw_data": put("r.h5", noise((160, 200, 1)), "yxc")}
    inputs["segmentation_image"] = put("s.h5", noise((160, 200, 1)), "yxc")
    for name, memory in (("large", "1G"), ("small", "10MB")):
        results = f"--output_filename_format={name}_{{result_type}}.h5"
        options = ["--export_source=Object Predictions,Object Probabilities", results, f"--memory={memory}"]
        assert run(*options, f"--table_filename={name}.csv", "--threads=2", **inputs) == 0
    assert len(Path("small.csv").read_text().splitlines()) > 6_000
    assert Path("small.csv").read_bytes() == Path("large.csv").read_bytes()
    for result in ("Object Predictions", "Object Probabilities"):
        np.testing.assert_array_equal(get(f"small_{result}.h5"), get(f"large_{result}.h5"))


def test_more_objects_than_the_memory_holds(case: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """One line that says what, where, and what to do; before anything is measured, and nothing is left behind."""
    folder = case("obj2d_seg")
    before = sorted(path.name for path in folder.iterdir())
    inputs = {"raw_data": put("r.h5", noise((400, 500, 1)), "yxc")}
    inputs["segmentation_image"] = put("s.h5", noise((400, 500, 1)), "yxc")
    options = ["--export_object_prediction_img", "--table_filename=t.csv", "--memory=8MB", "--threads=2"]
    assert run(*options, **inputs) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert re.search(
        r"error: r\.h5/data: the features of \d{5} objects take \d+ MiB \(\d{3} bytes each\), but only \d+ MiB are "
        r"left for them; allow more with --memory, deselect features in ilastik",
        lines[0],
    )
    assert sorted(path.name for path in folder.iterdir()) == sorted([*before, "r.h5", "s.h5"])


def test_objects_that_need_no_features_need_no_memory_for_them(case: Callable[[str], Path]) -> None:
    case("obj2d_seg")
    inputs = {"raw_data": put("r.h5", noise((400, 500, 1)), "yxc")}
    inputs["segmentation_image"] = put("s.h5", noise((400, 500, 1)), "yxc")
    options = ["--export_source=Object Identities", "--output_filename_format=o.h5", "--memory=64MB"]
    assert run(*options, **inputs) == 0
    assert get("o.h5").max() > 40_000

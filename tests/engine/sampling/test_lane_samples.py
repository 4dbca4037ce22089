"""Samples of lanes: exact numbers, the same for every division of the work, and no effect on the results."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from pixelforest import cli

DOCS = Path(__file__).resolve().parents[3] / "docs" / "report.md"
OBJECTS = ["--raw_data=raw.h5", "--segmentation_image=seg.h5"]
RUNS = {
    "pixels": ("px2d_rgb", ["raw.png"], "Simple Segmentation,Uncertainty,Probabilities"),
    "volume": ("px3d", ["raw.h5"], "Simple Segmentation"),
    "stages": ("autocontext_2d", ["raw.png"], "Simple Segmentation Stage 2"),
    "objects": ("obj2dt_seg", OBJECTS, "Object Predictions"),
    "both": ("pcoc2d", ["raw.png"], "Object Predictions,Pixel Probabilities"),
}


def run(*words: str, status: int = 0) -> dict[str, Any]:
    """The report of a run."""
    argv = ["--project=project.ilp", "--report_json=r.json", "--report_html=r.html", "--quiet", *words]
    assert cli.main(argv) == status
    report: dict[str, Any] = json.loads(Path("r.json").read_text(encoding="utf-8"))
    return report


def results(folder: str) -> dict[str, np.ndarray]:
    found = {}
    for path in sorted(Path(folder).glob("*.h5")):
        with h5py.File(path) as file:
            found[path.name] = file["exported_data"][()]
    return found


@pytest.fixture(params=RUNS.values(), ids=RUNS.keys())
def case(
    request: pytest.FixtureRequest, copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Words of a run in the folder of its project, which is the current one."""
    name, inputs, source = request.param
    monkeypatch.chdir(copy_golden(name))
    return [f"--export_source={source}", *inputs]


def test_results_do_not_change(case: list[str]) -> None:
    names = "--output_filename_format={}/{{nickname}}_{{result_type}}"
    assert cli.main(["--project=project.ilp", "--quiet", names.format("plain"), *case]) == 0
    run(names.format("sampled"), *case)
    plain, sampled = results("plain"), results("sampled")
    assert plain.keys() == sampled.keys() != set()
    assert all(np.array_equal(plain[name], sampled[name]) for name in plain)


def test_every_kind_of_project_has_pictures_and_classes(case: list[str]) -> None:
    (lane,) = run("--output_filename_format=out/{nickname}_{result_type}", *case)["lanes"]
    sample = lane["sample"]
    assert {"image", "classes", "outlines"} <= set(sample["pictures"])
    unit = "voxels" if sample["objects"] is None else "objects"
    total = sample["voxels"] if sample["objects"] is None else sample["objects"]["count"]
    assert sum(each[unit] for each in sample["classes"]) == total > 0
    assert sum(map(len, sample["pictures"].values())) < 100_000


@pytest.fixture
def rgb(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = copy_golden("px2d_rgb")
    monkeypatch.chdir(folder)
    return folder


def test_numbers_are_those_of_the_results(rgb: Path) -> None:
    words = ["--export_source=Simple Segmentation,Uncertainty", "--output_filename_format=out/{result_type}"]
    sample = run(*words, "raw.png")["lanes"][0]["sample"]
    found = results("out")
    classes, uncertainty = found["Simple Segmentation.h5"], found["Uncertainty.h5"]
    assert [each["voxels"] for each in sample["classes"]] == np.bincount(classes.ravel(), minlength=4)[1:].tolist()
    assert [each["name"] for each in sample["classes"]] == ["Background", "Red cells", "Blue cells"]
    assert sample["classes"][1]["colour"] == "#0082c8"
    assert abs(sample["uncertainty"]["mean"] - uncertainty[::16].mean()) < 0.002
    assert sum(sample["uncertainty"]["histogram"]) == classes[::16].size
    with Image.open("raw.png") as picture:
        raw = np.asarray(picture)
    assert [each["maximum"] for each in sample["channels"]] == raw.max(axis=(0, 1)).tolist()
    assert [each["mean"] for each in sample["channels"]] == pytest.approx(raw.mean(axis=(0, 1)), rel=1e-4)
    with Image.open(BytesIO(base64.b64decode(sample["pictures"]["classes"]))) as picture:
        assert np.array_equal(np.asarray(picture), classes[..., 0])


def test_samples_do_not_depend_on_what_is_exported_or_on_threads(rgb: Path) -> None:
    sources = ["Probabilities", "Uncertainty", "Simple Segmentation"]
    words = [["--threads=1"], ["--threads=2"], ["--pipeline_result_drange=(0,1)", "--export_drange=(0,200)"]]
    found = [
        run(f"--export_source={source}", "--output_filename_format=out/{nickname}", *more, "raw.png")["lanes"][0]
        for source, more in zip(sources, words, strict=True)
    ]
    assert found[0]["sample"] == found[1]["sample"] == found[2]["sample"]


SAME = {
    "gray": ("px2d_gray", ["raw.png"]),
    "mask": ("px2d_mask", ["--raw_data=raw.png", "--prediction_mask=mask.png"]),
    "volume": ("px3d", ["raw.h5"]),
    "times": ("px2dt", ["raw_tzyxc.h5"]),
    "region": ("px3d", ["raw.h5", "--cutout_subregion=[(3, 5, 7, 0), (11, 30, 36, 2)]"]),
    "bytes": (
        "px2d_rgb",
        ["raw.png", "--export_dtype=uint8", "--pipeline_result_drange=(0,1)", "--export_drange=(0,255)"],
    ),
    "one channel": ("px2d_rgb", ["raw.png", "--cutout_subregion=[(0, 0, 1), (90, 80, 2)]"]),
    "several": ("px2d_rgb", ["raw.png", "--export_source=Probabilities,Simple Segmentation"]),
    "blocks": ("px3d", ["raw.h5", "--output_format=n5", "--resume"]),
    "stages": ("autocontext_2d", ["raw.png", "--export_source=Probabilities Stage 2"]),
    "first stage": ("autocontext_2d", ["raw.png", "--export_source=Probabilities Stage 1"]),
}


@pytest.mark.parametrize(("name", "words"), SAME.values(), ids=SAME.keys())
def test_probabilities_have_the_sample_of_the_results_that_are_made_of_them(
    name: str, words: list[str], copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pixelforest.engine.tiling import blocks
    from pixelforest.kernels.cpu.pixel_backend import CpuPixels

    monkeypatch.chdir(copy_golden(name))
    monkeypatch.setattr(blocks, "BLOCK_VOXELS", 20_000)
    count, counted = CpuPixels.count_classes, []

    def watch(self: CpuPixels, probabilities: np.ndarray, first: int, every: int) -> tuple[np.ndarray, np.ndarray]:
        counted.append(probabilities[..., 0].size)
        return count(self, probabilities, first, every)

    monkeypatch.setattr(CpuPixels, "count_classes", watch)
    found = run("--output_filename_format=counted/{nickname}_{result_type}", *words)["lanes"][0]["sample"]
    assert sum(counted) == found["voxels"] > 0
    monkeypatch.delattr(CpuPixels, "count_classes")
    computed = run("--output_filename_format=computed/{nickname}_{result_type}", *words)["lanes"][0]["sample"]
    assert found == computed
    assert results("counted").keys() == results("computed").keys()
    assert all(np.array_equal(values, results("computed")[name]) for name, values in results("counted").items())


def test_pixels_without_a_class_are_counted_as_in_the_segmentation(
    copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy_golden("px2d_gray"))
    voxels = np.random.default_rng(0).random((60, 70), np.float32)
    voxels[10:20, 5:40] = np.nan
    np.save("raw.npy", voxels)
    found = [
        run(f"--export_source={source}", "--output_filename_format=out/{nickname}", "raw.npy")["lanes"][0]["sample"]
        for source in ("Probabilities", "Simple Segmentation")
    ]
    assert found[0] == found[1]
    assert found[0]["uncertainty"]["histogram"][-1] > 0


def test_a_region_is_counted_alone(rgb: Path) -> None:
    region = "--cutout_subregion=[(10, 20, 0), (50, 90, 3)]"
    sample = run(region, "--output_filename_format=out/{nickname}", "raw.png")["lanes"][0]["sample"]
    assert sample["voxels"] == sum(each["voxels"] for each in sample["classes"]) == 40 * 70
    assert sample["plane"]["shape"] == [40, 70]


def test_blocks_are_counted_together(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from pixelforest.engine.tiling import blocks

    monkeypatch.chdir(copy_golden("px3d"))
    monkeypatch.setattr(blocks, "BLOCK_VOXELS", 20_000)
    whole = run("--output_filename_format=out/{nickname}", "raw.h5")["lanes"][0]["sample"]
    words = ["--output_format=n5", "--resume", "--output_filename_format=cut/{nickname}"]
    assert run(*words, "raw.h5")["lanes"][0]["sample"] == whole


@pytest.mark.parametrize("is_sampled", [True, False])
def test_parts_of_one_image_are_counted_together(
    is_sampled: bool, copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts leave what they have sampled in the folder of the run; if one has not, there are no wrong sums."""
    from pixelforest.engine.storage import chunks
    from pixelforest.engine.tiling import blocks

    monkeypatch.chdir(copy_golden("px3d"))
    monkeypatch.setattr(blocks, "BLOCK_VOXELS", 20_000)
    monkeypatch.setitem(chunks.chunk_shape.__kwdefaults__, "chunk_bytes", 1 << 13)  # several blocks
    sources = "--export_source=Simple Segmentation"
    whole = run(sources, "--output_filename_format=out/{nickname}", "raw.h5")["lanes"][0]["sample"]
    words = [sources, "--output_format=n5", "--output_filename_format=cut/{nickname}", "raw.h5"]
    assert run("--blocks=1/2", *words)["lanes"][0]["sample"] is None
    if is_sampled:
        run("--blocks=2/2", *words)
    else:
        assert cli.main(["--project=project.ilp", "--quiet", "--blocks=2/2", *words]) == 0
    assert run("--finish", *words)["lanes"][0]["sample"] == (whole if is_sampled else None)


def test_features_alone_need_no_classes(rgb: Path) -> None:
    words = ["--export_source=Features", "--output_filename_format=out/{nickname}"]
    sample = run(*words, "raw.png")["lanes"][0]["sample"]
    assert (sample["classes"], set(sample["pictures"])) == ([], {"image"})


def test_a_run_without_a_page_has_no_samples(rgb: Path) -> None:
    argv = ["--project=project.ilp", "--report_json=r.json", "--quiet", "--output_filename_format=o", "raw.png"]
    assert cli.main(argv) == 0
    report = json.loads(Path("r.json").read_text(encoding="utf-8"))
    assert (report["provenance"], report["lanes"][0]["sample"]) == (None, None)


def test_objects_have_sizes_and_pictures_of_some(copy_golden: Callable[[str], Path], monkeypatch: Any) -> None:
    monkeypatch.chdir(copy_golden("obj2d_seg"))
    words = ["--table_filename=t.csv", "--raw_data=raw.png", "--segmentation_image=seg.png"]
    sample = run("--output_filename_format=out/{nickname}", *words)["lanes"][0]["sample"]
    objects = sample["objects"]
    assert objects["count"] == len(Path("t.csv").read_text("utf-8").splitlines()) - 1
    assert sum(map(sum, objects["sizes"]["counts"])) == objects["count"]
    assert len({each["class"] for each in objects["samples"]}) > 1
    assert all(f"object {i + 1}" in sample["pictures"] for i in range(len(objects["samples"])))


def test_other_colours(rgb: Path) -> None:
    words = ["--report_colours=okabe-ito", "--output_filename_format=out/{nickname}"]
    sample = run(*words, "raw.png")["lanes"][0]["sample"]
    assert [each["colour"] for each in sample["classes"]] == ["#e69f00", "#56b4e9", "#009e73"]


def test_every_field_of_samples_is_documented(copy_golden: Callable[[str], Path], monkeypatch: Any) -> None:
    monkeypatch.chdir(copy_golden("obj2d_seg"))
    words = ["--output_filename_format=out/{nickname}", "--raw_data=raw.png", "--segmentation_image=seg.png"]
    sample = run(*words)["lanes"][0]["sample"]
    text = DOCS.read_text(encoding="utf-8")
    fields = {*sample, *sample["plane"], *sample["channels"][0], *sample["classes"][0]}
    fields |= {*sample["objects"], *sample["objects"]["sizes"], *sample["objects"]["samples"][0]}
    assert not {name for name in fields if f"`{name}`" not in text}

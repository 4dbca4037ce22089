"""``explain`` and ``--dry_run``: their output, and that a run then does just that."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image
from support.forecast import explain

from pixelforest import cli
from pixelforest.engine.jobs import Request, resolve_job
from pixelforest.engine.run.batch import run_batch
from pixelforest.engine.run.explain import SCHEMA, explain_job

DOCS = Path(__file__).resolve().parents[2] / "docs" / "explain.md"


@pytest.fixture
def gray(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a 2-D project, which is the current one."""
    folder = copy_golden("px2d_gray")
    monkeypatch.chdir(folder)
    return folder


def snapshot(folder: Path) -> list[tuple[Path, int]]:
    return sorted((path, path.lstat().st_mtime_ns) for path in folder.rglob("*"))


# ----------------------------------------------------------------------------------------------- what is said of a lane


def test_the_text_says_what_a_user_wants_to_know(gray: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(gray.parent)
    assert cli.main(["explain", "--project=project.ilp", "--threads=2", "--memory=1G", "raw.png"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    text = " ".join(captured.out.split())
    for part in (
        f"project: {gray / 'project.ilp'} (Pixel Classification, saved by ilastik 1.4",
        "machine: cpu, 2 threads, 1.0 GiB of memory",
        f"Raw Data: {gray / 'raw.png'} y=160 x x=200 x c=1, uint8",
        "read as yxc; the project says yxc, the file says yxc",
        "result: Probabilities: y=160 x x=200 x c=2, float32, 250 KiB before compression",
        f"as compressed hdf5 to {gray / 'raw_Probabilities.h5'}/exported_data",
        "each read with a halo of y ",
        "memory: at most ",
        "time: less than a second",
        "exit status: 0: all would be done",
    ):
        assert part in text
    assert snapshot(gray.parent) == before


def test_dry_run_of_a_command_is_the_same(gray: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--headless", "--project=project.ilp", "--memory=1G", "raw.png", "gone.png"]
    assert cli.main(["explain", *words]) == 3
    explained = capsys.readouterr().out
    assert cli.main([*words, "--dry-run"]) == 3
    assert capsys.readouterr().out == explained
    assert "  FAILS:         no file matches gone.png" in explained
    assert "exit status:     3: some lanes would fail" in explained


def test_the_document_is_the_only_thing_on_stdout(gray: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "--json", "--project=project.ilp", "--debug", "raw.png", "gone.png"]) == 3
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert (document["schema"], document["status"]) == (SCHEMA, 3)
    assert document["error"] == "1 of 2 inputs would fail (gone.png); 1 would be done"
    assert [lane["state"] for lane in document["lanes"]] == ["ok", "fails"]
    assert document["lanes"][1]["status"] == 1
    assert "lane 2 (gone.png): no file matches" in captured.err
    assert "INFO" in captured.err


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--project=gone.ilp", "raw.png"], 1),
        (["--project=project.ilp", "--output_format=docx", "raw.png"], 2),
        (["raw.png"], 2),
    ],
)
def test_a_run_that_does_not_come_to_its_lanes_has_a_document_too(
    gray: Path, words: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--dry_run", *words]) == status
    line = capsys.readouterr().err
    assert cli.main(["--dry_run", "--json", *words]) == status
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert (document["schema"], document["status"], document["lanes"]) == (SCHEMA, status, [])
    assert captured.err == line == f"pixelforest: error: {document['error']}\n"


def test_every_field_of_explain_is_documented(gray: Path, capsys: pytest.CaptureFixture[str]) -> None:
    documented = DOCS.read_text(encoding="utf-8")
    document = explain(capsys, "--project=project.ilp", "raw.png")

    def names(value: Any) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(names, value))
        if not isinstance(value, dict) or set(value) <= set("tzyxc"):
            return set()
        return set(value).union(*map(names, value.values()))

    missing = {name for name in names(document) if f"`{name}`" not in documented}
    assert not missing
    assert f"`{SCHEMA}`" in documented


def test_axes_that_are_wanted_and_axes_that_are_read(gray: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save("plain.npy", np.zeros((160, 200, 1), np.uint8))
    (lane,) = explain(capsys, "--project=project.ilp", "plain.npy")["lanes"]
    (image,) = lane["inputs"]
    assert (image["axes"], image["axes_of_file"], image["axes_wanted"]) == ("yxc", None, "yxc")
    assert image["axes_wanted_by"] == "the project"
    assert image["shape"] == {"y": 160, "x": 200, "c": 1}
    assert lane["notes"] == ["Could not find stored axistags. Inferred yxc from dataset shape."]
    (lane,) = explain(capsys, "--project=project.ilp", "--input_axes=xyc", "plain.npy")["lanes"]
    assert (lane["inputs"][0]["axes"], lane["inputs"][0]["axes_wanted_by"]) == ("xyc", "--input_axes")


def test_pixel_sizes_are_shown(gray: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = ["--project=project.ilp", "--output_format=multi-scale OME-Zarr", "--output_filename_format=p", "raw.png"]
    assert cli.main(first) == 0
    with h5py.File("sized.h5", "w") as file:
        file["data"] = np.zeros((160, 200, 1), np.uint8)
        keys = [{"key": a, "typeFlags": 2 if a != "c" else 1, "resolution": 0.5, "description": ""} for a in "yxc"]
        file["data"].attrs["axistags"] = json.dumps({"axes": keys})
        file["data"].attrs["axis_units"] = json.dumps({"y": "um", "x": "um"})
    (lane,) = explain(capsys, "--project=project.ilp", "sized.h5/data")["lanes"]
    assert lane["inputs"][0]["pixel_size"]["y"] == 0.5
    assert lane["inputs"][0]["units"] == {"y": "um", "x": "um"}
    capsys.readouterr()
    cli.main(["explain", "--project=project.ilp", "sized.h5/data"])
    assert "pixel size y 0.5 um, x 0.5 um" in capsys.readouterr().out


def test_what_stands_in_the_way_is_shown(gray: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["--project=project.ilp", "raw.png", "--output_filename_format=there"]
    Path("there.npy").write_bytes(b"old")
    (lane,) = explain(capsys, *base, "--output_format=numpy")["lanes"]
    assert lane["results"][0]["exists"] == [str(gray / "there.npy")]
    assert Path("there.npy").read_bytes() == b"old"
    Path("there.zarr").mkdir()
    document = explain(capsys, *base, "--output_format=single-scale OME-Zarr")
    assert document["status"] == 1
    assert "--overwrite replaces it" in document["lanes"][0]["error"]


def test_odd_placeholders_are_noted(gray: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--project=project.ilp", "--output_filename_format=o/{nick_name}.h5", "raw.png"]
    line = "--output_filename_format: {nick_name} is not a placeholder and is kept in the name"
    assert cli.main(["--dry_run", *words]) == 0
    assert line in capsys.readouterr().out
    assert cli.main(words) == 0
    lines = [text for text in capsys.readouterr().err.splitlines() if line in text]
    assert len(lines) == 1
    assert lines[0].endswith("did you mean {nickname}?")
    assert [path.name for path in Path("o").iterdir()] == ["{nick_name}.h5"]


def test_placeholders_of_axes_that_are_not_there_are_noted(gray: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (lane,) = explain(capsys, "--project=project.ilp", "--output_filename_format=o/{t_start}_{x_stop}", "raw.png")[
        "lanes"
    ]
    assert lane["warnings"] == ["{t_start} stays in the output path as it is: the result has only the axes yxc"]
    assert lane["results"][0]["files"] == [str(gray / "o" / "{t_start}_200.h5")]


def test_json_without_an_explanation_is_refused(gray: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--json", "--project=project.ilp", "raw.png"]) == 2
    assert "--json goes with --dry_run or explain; --report_json" in capsys.readouterr().err
    assert not Path("raw_Probabilities.h5").exists()


def test_nothing_to_do(gray: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "--project=project.ilp"]) == 0
    assert "there are no input images" in capsys.readouterr().out


# -------------------------------------------------------------------------------------------- then a run does just that


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "words",
    [
        ["raw.png"],
        ["--export_source=Probabilities,Simple Segmentation", "--output_format=numpy", "raw.png"],
        ["--export_source=Simple Segmentation", "--output_format=png", "raw.png", "--output_filename_format=o/a.b"],
        [
            "--output_format=png sequence",
            "--output_axis_order=cyx",
            "--output_filename_format=o/{slice_index}",
            "raw.png",
        ],
        ["--output_format=single-scale OME-Zarr", "raw.png"],
        ["--output_format=compressed n5", "--output_internal_path={nickname}/data", "raw.png"],
        ["--cutout_subregion=[(10,20,0),(50,90,1)]", "--output_filename_format=o/{roi}_{x_start}.h5", "raw.png"],
        ["raw.png", "other.png", "gone.png"],
        ["--fail_fast", "raw.png", "gone.png", "other.png"],
    ],
    ids=lambda words: " ".join(words)[-40:],
)
def test_a_run_writes_what_was_foretold(gray: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy("raw.png", "other.png")
    before = snapshot(gray.parent)
    document = explain(capsys, "--project=project.ilp", *words)
    assert snapshot(gray.parent) == before
    assert cli.main(["--project=project.ilp", *words]) == document["status"]
    stores = {Path(file) for lane in document["lanes"] for result in lane["results"] for file in result["files"]}
    if document["status"] == 1:  # the first that fails ends all
        stores = set()
    new = {path for path, _ in snapshot(gray)} - {path for path, _ in before}
    inside = {path for path in new if any(store in path.parents for store in stores)}
    assert {path for path in new - inside if path.is_file() or path in stores} == stores


def test_one_bad_slice_of_a_stack_is_foretold(
    copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_golden("px3d")
    monkeypatch.chdir(folder)
    for z in range(12):
        Image.fromarray(np.zeros((40, 41 if z == 7 else 40), np.uint8)).save(f"s{z:02d}.png")
    words = ["--project=project.ilp", "--ignore_training_axistags", "s*.png"]
    assert cli.main(["--dry_run", *words]) == 1
    foretold = capsys.readouterr().err
    assert "cannot stack" in foretold
    assert "s07.png" in foretold
    assert cli.main(words) == 1
    assert foretold.splitlines()[-1] == capsys.readouterr().err.splitlines()[-1]


def test_too_little_memory_is_foretold(gray: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--project=project.ilp", "--memory=1K", "--threads=2", "raw.png"]
    assert cli.main(["--dry_run", *words]) == 1
    foretold = capsys.readouterr().err
    assert "; raise --memory\n" in foretold
    assert cli.main(words) == 1
    assert capsys.readouterr().err == foretold


@pytest.mark.sampled(1)
@pytest.mark.parametrize("output_format", ["numpy", "png"])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_memory_that_is_said_suffices(gray: Path, output_format: str, threads: int) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (600, 700), np.uint8)
    Image.fromarray(noise).save("large.png")
    job = resolve_job(
        Request(
            project="project.ilp",
            inputs=("large.png",),
            output_format=output_format,
            export_source="Simple Segmentation",
            threads=threads,
            memory=1 << 30,
        )
    )
    (lane,) = explain_job(job)["lanes"]
    run_batch(job)  # everything is compiled and loaded now
    tracemalloc.start()
    try:
        run_batch(job)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 100_000 < peak <= lane["work"]["memory_bytes"]

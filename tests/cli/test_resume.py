"""``--resume``: runs that were killed continue, and skip exactly what was done."""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image
from support.killed_runs import KILLED, UNDISTURBED, State, contents, run_until

from pixelforest import cli

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no SIGKILL")
NAMES = "abcd"
FORMATS = {"numpy": "npy", "single-scale OME-Zarr": "zarr", "n5": "n5", "compressed hdf5": "h5"}
DONE = State("run.done_lanes:DoneLanes.complete", "after", 2)
COMPUTED = Path("computed")
STATES = {
    "two lanes are done": DONE,
    "before results appear": State("run.done_lanes:DoneLanes.begin", "after", 3),
    "results are there, their record is not": State("run.done_lanes:DoneLanes.complete", "before", 3),
    "before the record is on disk": State("run.done_lanes:make_durable", "after", 3),
}


@pytest.fixture
def gray(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a 2-D project with four images a to d, which is the current one."""
    folder = copy_golden("px2d_gray")
    monkeypatch.chdir(folder)
    for name in NAMES:
        shutil.copy("raw.png", f"{name}.png")
    return folder


def words(*more: str, out: str = "out", format: str = "numpy") -> list[str]:
    argv = ["--project=project.ilp", f"--output_format={format}", f"--output_filename_format={out}/{{nickname}}"]
    return [*argv, "--threads=1", "--device=cpu", *more, *(f"{name}.png" for name in NAMES)]


def resume(*more: str, **options: str) -> tuple[int, dict[str, Any]]:
    """Status and report of a resumed run in this process."""
    status = cli.main(words("--resume", "--report_json=report.json", *more, **options))
    return status, json.loads(Path("report.json").read_text(encoding="utf-8"))


def states(report: dict[str, Any]) -> list[str]:
    return [lane["state"] for lane in report["lanes"]]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
@pytest.mark.parametrize("format", FORMATS)
def test_a_killed_batch_continues(gray: Path, format: str, state: State) -> None:
    """Also where existing results are not replaced without --overwrite, as with OME-Zarr."""
    assert cli.main(words(out="undisturbed", format=format)) == 0
    assert run_until(state, words("--resume", format=format), computed=COMPUTED)[0] == KILLED
    status, report = resume(format=format)
    done = len(COMPUTED.read_text().splitlines()) - (state != DONE)
    assert (status, states(report)) == (0, ["skipped"] * done + ["done"] * (4 - done))
    assert contents(Path("out")) == contents(Path("undisturbed"))


def test_a_second_run_skips_everything_and_says_so(gray: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert resume()[0] == 0
    before = {file: file.stat().st_mtime_ns for file in Path("out").glob("*.npy")}
    capsys.readouterr()
    status, report = resume()
    assert (status, states(report)) == (0, ["skipped"] * 4)
    assert report["lanes"][0]["outputs"] == [str(gray / "out/a.npy")]
    assert {file: file.stat().st_mtime_ns for file in Path("out").glob("*.npy")} == before
    lines = capsys.readouterr().out.splitlines()
    assert "INFO pixelforest.batch: 4 of 4 inputs are done already and are skipped" in lines
    assert sum("Skipped" in line and "an earlier run has written" in line for line in lines) == 4
    assert not any("Wrote" in line for line in lines)


def test_explanations_say_what_would_be_skipped(gray: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert resume()[0] == 0
    Path("out/b.npy").unlink()
    capsys.readouterr()
    assert cli.main(["explain", *words("--resume", "--json")]) == 0
    assert [lane["state"] for lane in json.loads(capsys.readouterr().out)["lanes"]] == ["done", "ok", "done", "done"]
    assert cli.main(["explain", *words("--resume")]) == 0
    assert capsys.readouterr().out.count("an earlier run has written its results, so it is skipped") == 3


def test_removed_and_changed_results_are_computed_again(gray: Path) -> None:
    assert resume()[0] == 0
    expected = contents(Path("out"))
    Path("out/b.npy").unlink()
    Path("out/c.npy").write_bytes(b"something else")
    assert states(resume()[1]) == ["skipped", "done", "done", "skipped"]
    assert contents(Path("out")) == expected


def test_a_line_written_in_part_is_no_record(gray: Path) -> None:
    assert resume()[0] == 0
    (ledger,) = Path("out/.pixelforest-resume").iterdir()
    ledger.write_bytes(ledger.read_bytes()[:-20])
    assert states(resume()[1]) == ["skipped"] * 3 + ["done"]


def test_inputs_that_are_added_are_computed(gray: Path) -> None:
    assert resume()[0] == 0
    shutil.copy("raw.png", "e.png")
    assert states(resume("e.png")[1]) == ["done"] + ["skipped"] * 4


def test_shards_of_a_batch_share_the_records(gray: Path) -> None:
    assert resume("--shard=1/2")[0] == 0
    assert states(resume()[1]) == ["skipped", "done", "skipped", "done"]


def change_project() -> list[str]:
    """Change the threshold of one root."""
    with h5py.File("project.ilp", "r+") as file:
        parameters: list[h5py.Dataset] = []
        file["PixelClassification"].visititems(
            lambda name, node: parameters.append(node) if name.endswith("/parameters") else None
        )
        parameters[0][1] += 1
    return []


def change_input() -> list[str]:
    Path("a.png").touch()
    return []


def change_setting() -> list[str]:
    return ["--export_dtype=uint8", "--pipeline_result_drange=(0,1)", "--export_drange=(0,255)"]


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (change_project, "project"),
        (change_input, "Raw Data: contents"),
        (change_setting, "Probabilities: type (float32, now uint8), Probabilities: range, Probabilities: metadata"),
        (lambda: ["--cutout_subregion=[(0,0,None),(20,20,None)]"], "Probabilities: region"),
        (lambda: ["--export_source=Simple Segmentation"], "Probabilities: format (numpy, now none)"),
    ],
)
def test_changes_are_refused_with_what_differs(
    gray: Path,
    change: Callable[[], list[str]],
    difference: str,
) -> None:
    assert run_until(DONE, words("--resume"), computed=COMPUTED)[0] == KILLED
    before = contents(Path("out"))
    options = change()
    status, report = resume(*options)
    assert (status, states(report)) == (1, ["not done"] * 4)
    assert "cannot resume: " in report["error"]
    assert f"a.npy is the result of another run; these differ: {difference}" in report["error"]
    assert contents(Path("out")) == before
    assert cli.main(words(*options)) == 0  # without --resume everything is computed


@pytest.mark.sampled(1)
@pytest.mark.parametrize("option", ["--threads=2", "--memory=1G"])
def test_threads_and_memory_may_change(gray: Path, option: str) -> None:
    assert resume()[0] == 0
    assert states(resume(option)[1]) == ["skipped"] * 4


def test_tables_of_objects_are_resumed(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy_golden("obj2d_seg"))
    argv = ["--project=project.ilp", "--resume", "--report_json=report.json", "--raw_data=raw.png"]
    argv += ["--segmentation_image=seg.png", "--table_filename=out/t.csv"]
    for state in ("done", "skipped"):
        assert cli.main(argv) == 0
        assert states(json.loads(Path("report.json").read_text(encoding="utf-8"))) == [state]
    assert cli.main([*argv, "--table_filename=out/t.csv", "--safe_csv"]) == 1


def test_results_that_are_no_files_cannot_be_resumed(gray: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--project=project.ilp", "--resume", "--output_format=numpy", "a.png"]
    assert cli.main([*argv, "--output_filename_format=/dev/stdout"]) == 1
    assert "--resume continues runs whose results are files or folders" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(900)  # thousands of files are synced to disk
def test_a_batch_killed_ten_times_gives_the_files_of_an_undisturbed_one(gray: Path) -> None:
    """Killed before random writes of voxels; no lane is computed again once its record is there."""
    images = [f"{i:03d}.png" for i in range(1000)]
    rng = np.random.default_rng(1)
    for image in images:
        Image.fromarray(rng.integers(0, 256, (40, 50), np.uint8)).save(image)

    def argv(out: str) -> list[str]:
        return [*words(out=out)[:-4], *images]

    assert cli.main(argv("undisturbed")) == 0
    draw, kills = random.Random(1), 0
    while kills < 10:
        place = draw.choice(["export.tile_sinks:ImageExport.write_converted", "run.done_lanes:DoneLanes.complete"])
        state = State(place, draw.choice(["before", "after"]), draw.randint(1, 90))
        assert run_until(state, [*argv("out"), "--resume"], computed=COMPUTED)[0] == KILLED
        kills += 1
    assert run_until(UNDISTURBED, [*argv("out"), "--resume"], computed=COMPUTED)[0] == 0
    assert contents(Path("out")) == contents(Path("undisturbed"))
    computed = Counter(COMPUTED.read_text().splitlines())
    assert len(computed) == len(images)
    assert computed.total() - len(images) <= kills

"""``--report_json`` and ``--shard``: what batch systems need."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.forecast import explain
from support.golden import GOLDEN

from pixelforest import cli
from pixelforest.engine.machine import granted_cpus
from pixelforest.frontend.json_report import SCHEMA

DOCS = Path(__file__).resolve().parents[2] / "docs" / "cluster.md"


@pytest.fixture
def gray(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a 2-D project with five images a to e, which is the current one."""
    folder = copy_golden("px2d_gray")
    monkeypatch.chdir(folder)
    for name in "abcde":
        shutil.copy("raw.png", f"{name}.png")
    return folder


def run(*words: str) -> tuple[int, dict[str, Any]]:
    """The status of a run that classifies into out/, and its report."""
    Path("report.json").unlink(missing_ok=True)
    argv = ["--project=project.ilp", "--output_format=numpy", "--output_filename_format=out/{nickname}"]
    status = cli.main([*argv, "--report-json=report.json", *words])
    return status, json.loads(Path("report.json").read_text(encoding="utf-8"))


# ------------------------------------------------------------------------------------------------------------- reports


def test_the_report_tells_what_became_of_every_input(gray: Path) -> None:
    status, report = run("--threads=2", "a.png", "gone.png", "b.png")
    assert (status, report["status"], report["schema"]) == (3, 3, SCHEMA)
    assert report["error"] == "1 of 3 inputs failed (gone.png); 2 are done"
    assert report["project"] == str(gray / "project.ilp")
    assert (report["threads"], report["shard"]) == (min(2, granted_cpus()), None)
    assert [lane["state"] for lane in report["lanes"]] == ["done", "failed", "done"]
    first, second, _ = report["lanes"]
    assert (first["lane"], first["inputs"], first["outputs"]) == (1, {"Raw Data": "a.png"}, [str(gray / "out/a.npy")])
    assert first["device"] == "cpu"
    assert first["seconds"] > 0
    assert (first["error"], first["warnings"]) == (None, [])
    assert second["error"].startswith("no file matches gone.png")
    assert second["outputs"] == []
    assert report["seconds"] >= first["seconds"]


def test_warnings_stand_with_their_lane(gray: Path) -> None:
    options = ["--pipeline_result_drange=(0,1)", "--export_drange=(0,300)", "--export_dtype=uint8", "--threads=2"]
    _, report = run(*options, "a.png", "b.png")
    for lane, name in zip(report["lanes"], "ab", strict=True):
        (warning,) = lane["warnings"]
        assert f"{name}.npy" in warning
        assert "wrapped around" in warning


@pytest.mark.parametrize(
    ("words", "status", "part"),
    [
        (["gone.png"], 1, "no file matches gone.png"),
        (["--output_format=docx", "a.png"], 2, "there is no output format"),
        (["--segmentation_image=x.png", "--raw_data", "a.png"], 2, "is not an input"),
        (["--output_filename_format=out/same", "a.png", "b.png"], 1, "lanes 1 and 2"),
    ],
)
def test_a_run_that_fails_has_a_report_too(gray: Path, words: list[str], status: int, part: str) -> None:
    found, report = run(*words)
    assert (found, report["status"]) == (status, status)
    assert part in report["error"]


def test_an_interrupted_run_has_a_report_too(gray: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pixelforest.engine.workflows.pixel import workflow as pixel_workflow

    classify, calls = pixel_workflow.classify_lane, []

    def classify_once(*args: Any, **options: Any) -> None:
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        classify(*args, **options)

    monkeypatch.setattr(pixel_workflow, "classify_lane", classify_once)
    status, report = run("--threads=1", "a.png", "b.png", "c.png")
    assert (status, report["status"], report["error"]) == (130, 130, "interrupted; no unfinished file was left behind")
    assert [lane["state"] for lane in report["lanes"]] == ["done", "not done", "not done"]


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_done(
    gray: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").touch()
    argv = ["--project=project.ilp", "--report_json=file/report.json", "a.png"]
    assert cli.main(["--dry_run", *argv]) == 1
    foretold = capsys.readouterr().err
    assert "choose another folder with --report_json" in foretold
    assert cli.main(argv) == 1
    assert capsys.readouterr().err == foretold
    assert not Path("a_Probabilities.h5").exists()


def test_every_field_of_run_reports_is_documented(gray: Path) -> None:
    _, report = run("a.png")
    documented = DOCS.read_text(encoding="utf-8")
    assert not {name for name in (*report, *report["lanes"][0]) if f"`{name}`" not in documented}
    assert f"`{SCHEMA}`" in documented


# --------------------------------------------------------------------------------------------------------------- shards


@pytest.mark.sampled(2)
@pytest.mark.parametrize("parts", [1, 2, 4, 7])
def test_shards_share_the_inputs(gray: Path, parts: int, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"{name}.png" for name in "abcde"]
    dealt = []
    for part in range(1, parts + 1):
        words = ["--project=project.ilp", f"--shard={part}/{parts}", *names]
        dealt.append([lane["lane"] for lane in explain(capsys, *words)["lanes"]])
    assert sorted(lane for lanes in dealt for lane in lanes) == [1, 2, 3, 4, 5]
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
    for part, lanes in enumerate(dealt):
        assert all((lane - 1) % parts == part for lane in lanes)


def test_a_shard_writes_what_the_whole_would(gray: Path) -> None:
    status, report = run("--shard=2/2", "a.png", "b.png", "c.png")
    assert (status, report["shard"]) == (0, [2, 2])
    assert [lane["lane"] for lane in report["lanes"]] == [2]
    assert [path.name for path in Path("out").iterdir()] == ["b.npy"]


def test_a_shard_without_inputs_is_one_line(gray: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, report = run("--shard=3/3", "--quiet", "a.png", "b.png")
    assert (status, report["lanes"]) == (0, [])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("Shard 3/3 of 2 inputs is empty, so there is nothing to do")


def test_tables_of_shards_keep_the_numbers_of_the_whole(
    copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy_golden("obj2d_seg"))
    shutil.copy("raw.png", "second.png")
    roles = ["--raw_data", "raw.png", "second.png", "--segmentation_image", "seg.png", "seg.png"]
    for part in (1, 2):
        argv = ["--project=project.ilp", "--table_filename=out/t.csv", f"--shard={part}/2", *roles]
        assert cli.main(argv) == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["t-0.csv", "t-1.csv"]


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_shards_that_cannot_be_meant(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([f"--shard={text}", "--project=project.ilp", "a.png"]) == 2
    assert "expected part/parts, such as 1/4" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------------------------- beginnings


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no such signals")
def test_an_interrupt_while_modules_are_imported_is_one_line() -> None:
    code = textwrap.dedent("""\
        import os, signal, sys
        from importlib.abc import MetaPathFinder
        class Interrupt(MetaPathFinder):
            def find_spec(self, name, path, target=None):
                if name == "pixelforest.frontend.console":
                    os.kill(os.getpid(), signal.SIGINT)
        sys.meta_path.insert(0, Interrupt())
        from pixelforest.__main__ import main
        sys.exit(main())""")
    done = subprocess.run([sys.executable, "-c", code, "--version"], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "pixelforest: error: interrupted\n")


def test_the_installed_command_begins_with_the_handler(repository: Path) -> None:
    setup = (repository / "setup.py").read_text(encoding="utf-8")
    assert '"pixelforest = pixelforest.__main__:start"' in setup


def test_neither_home_nor_the_current_folder_have_to_be_writable(gray: Path, tmp_path: Path) -> None:
    """As in a container: HOME cannot even be made, and what is temporary goes to TMPDIR."""
    place, temporary, blocked = tmp_path / "place", tmp_path / "temporary", tmp_path / "file"
    place.mkdir()
    temporary.mkdir()
    blocked.touch()
    place.chmod(0o500)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "HOME"))}
    environment |= {"HOME": str(blocked / "home"), "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [f"--project={gray / 'project.ilp'}", f"--output_filename_format={tmp_path / 'out.h5'}", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "pixelforest", *argv, str(gray / "raw.png")],
        cwd=place,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(place.iterdir()) == []
    recorded = GOLDEN / "px2d_gray" / "expected" / "probabilities.h5"
    with h5py.File(tmp_path / "out.h5") as found, h5py.File(recorded) as expected:
        assert np.array_equal(found["exported_data"][()], expected["exported_data"][()])

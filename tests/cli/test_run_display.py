"""Display of a run on a terminal, and ilastik's log wherever scripts read it."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from pixelforest import cli

LOG_LINE = "INFO ilastik.shell.projectManager: Opening Project: project.ilp"
COLOUR = re.compile(r"\x1b\[\d+m")


class Terminal(io.StringIO):
    """Standard stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


@pytest.fixture(autouse=True)
def gray(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = copy_golden("px2d_gray")
    monkeypatch.chdir(folder)
    shutil.copy("raw.png", "b.png")
    return folder


def run(screen: Terminal, *words: str, status: int = 0, stdout: io.StringIO | None = None) -> None:
    """Run with standard error, and unless it is given standard output, on a terminal."""
    argv = ["--project=project.ilp", "--no_progress", "--output_filename_format=out/{nickname}", *words]
    with redirect_stdout(stdout or screen), redirect_stderr(screen):
        assert cli.main(argv) == status


def test_people_see_the_project_the_device_and_every_input(screen: Terminal) -> None:
    run(screen, "raw.png", "gone.png", "b.png", status=3)
    lines = COLOUR.sub("", screen.getvalue()).splitlines()
    assert lines[0] == "project.ilp  Pixel Classification; classes Background, Cell; 100 trees"
    assert re.fullmatch(r"Using device CPU, \d+ threads?, .* of memory", lines[1])
    assert lines[2].startswith("failed  gone.png: no file matches gone.png")
    done = [line for line in lines if line.startswith("done  ")]
    assert len(done) == 2
    for line, name in zip(sorted(done), ("b", "raw"), strict=True):
        assert re.fullmatch(rf"done  {name}\.png  \d+\.\d\d s  Background 82%, Cell 18%  -> out/{name}\.h5", line)
    assert lines[-1] == "pixelforest: error: 1 of 3 inputs failed (gone.png); 2 are done"
    assert "INFO" not in screen.getvalue()


def test_warnings_are_in_place_and_have_colours_on_a_terminal_only(
    screen: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--pipeline_result_drange=(0,1)", "--export_drange=(0,300)", "--export_dtype=uint8", "raw.png"]
    run(screen, *words)
    shown = screen.getvalue()
    assert re.search("\x1b\\[33mwarning: .*wrapped around.*\x1b\\[0m\n", shown)
    assert shown.index("wrapped around") < shown.index("done")
    screen.seek(0)
    screen.truncate(0)
    monkeypatch.setenv("NO_COLOR", "1")
    run(screen, *words)
    assert "\x1b" not in screen.getvalue()
    assert "warning: " in screen.getvalue()


def test_the_error_of_a_single_input_is_shown_once(screen: Terminal) -> None:
    run(screen, "gone.png", status=1)
    assert screen.getvalue().count("no file matches gone.png") == 1


@pytest.mark.parametrize("words", [["--log=ilastik"], ["--debug"]])
def test_the_log_is_shown_on_request(screen: Terminal, words: list[str]) -> None:
    run(screen, *words, "raw.png")
    assert LOG_LINE in screen.getvalue()
    assert "done  raw.png" not in screen.getvalue()


@pytest.mark.parametrize("name", ["run_ilastik.sh", "ilastik.bat"])
def test_ilastik_s_scripts_show_ilastik_s_log(screen: Terminal, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("PIXELFOREST_STARTED_AS", name)
    run(screen, "raw.png")
    assert LOG_LINE in screen.getvalue()


def test_a_standard_output_that_is_read_by_a_program_has_the_log(screen: Terminal) -> None:
    pipe = io.StringIO()
    run(screen, "raw.png", stdout=pipe)
    assert LOG_LINE in pipe.getvalue()
    assert "INFO" not in screen.getvalue()
    assert "raw.png" in screen.getvalue()


def test_a_log_file_has_the_log(screen: Terminal) -> None:
    run(screen, "--logfile=log.txt", "raw.png")
    assert "Opening Project: project.ilp" in Path("log.txt").read_text(encoding="utf-8")
    assert "done" in screen.getvalue()


def test_quiet_runs_show_nothing(screen: Terminal) -> None:
    run(screen, "--quiet", "raw.png")
    assert screen.getvalue() == ""


def test_without_a_terminal_nothing_changes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--project=project.ilp", "--output_filename_format=out/{nickname}", "raw.png"]) == 0
    captured = capsys.readouterr()
    assert LOG_LINE in captured.out
    assert captured.err == ""
    assert "done  " not in captured.out


def test_names_cannot_change_the_terminal(screen: Terminal) -> None:
    name = "a\x1b[31mb.png"
    shutil.copy("raw.png", name)
    run(screen, name)
    assert "\x1b[31m" not in screen.getvalue()
    assert r"a\x1b[31mb.png" in screen.getvalue()


def test_objects_are_counted(
    screen: Terminal, copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy_golden("obj2d_seg"))
    run(screen, "--raw_data=raw.png", "--segmentation_image=seg.png")
    assert "43 objects: Small 35%, " in screen.getvalue()

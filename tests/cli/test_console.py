"""Output of a run: streams, log file, progress bar, errors, endings. The computation is a stand-in."""

from __future__ import annotations

import io
import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixelforest import cli
from pixelforest.engine.progress import Progress, format_duration
from pixelforest.engine.storage import run_folder
from pixelforest.frontend import exit_status as endings
from pixelforest.frontend.console import Console, ConsoleSettings, write_line

GRAY = Path(__file__).resolve().parent.parent / "golden" / "px2d_gray"
PROJECT = f"--project={GRAY / 'project.ilp'}"
RAW = str(GRAY / "raw.png")
DETAILED = re.compile(r"(WARNING|ERROR) \d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \w+ \d+ \S+ .+")


@pytest.fixture
def classify(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Replaces the computation of a lane by a function; the results are black images."""
    from pixelforest.engine.workflows.pixel import workflow as pixel_workflow

    def install(act: Callable[[], None]) -> None:
        def classify_lane(project: object, images: object, exports: dict[str, Any], **options: object) -> None:
            act()
            write_black(exports)

        monkeypatch.setattr(pixel_workflow, "classify_lane", classify_lane)

    return install


def write_black(exports: dict[str, Any]) -> None:
    for export in exports.values():
        export.write(export.region, np.zeros(export.region.shape, export.plan.result.dtype))


def run(*argv: str) -> int:
    return cli.main([PROJECT, "--output_format=numpy", "--output_filename_format=out/{nickname}", *argv])


def raise_(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


# ------------------------------------------------------------------------------------------------------------- streams


def test_info_goes_to_stdout_and_warnings_to_stderr(
    work_folder: Path, capsys: pytest.CaptureFixture[str], classify: Callable[..., None]
) -> None:
    classify(lambda: logging.getLogger("some.library").warning("look out"))
    assert run(RAW) == 0
    captured = capsys.readouterr()
    assert all(re.match(r"INFO [\w.]+: .", line) for line in captured.out.splitlines())
    assert captured.out.splitlines()[0].startswith("INFO ilastik.app: Starting pixelforest ")
    assert DETAILED.fullmatch(captured.err.strip())
    assert captured.err.strip().endswith("look out")


def test_quiet_shows_warnings_only(
    work_folder: Path, capsys: pytest.CaptureFixture[str], classify: Callable[..., None]
) -> None:
    classify(lambda: logging.getLogger("some.library").warning("look out"))
    assert run("--quiet", RAW) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1


def test_debug_shows_debug_lines(
    work_folder: Path, capsys: pytest.CaptureFixture[str], classify: Callable[..., None]
) -> None:
    classify(lambda: logging.getLogger("some.library").debug("detail %d", 7))
    assert run("--debug", RAW) == 0
    assert "DEBUG some.library: detail 7" in capsys.readouterr().out


def test_debug_from_the_configuration_file(
    work_folder: Path, capsys: pytest.CaptureFixture[str], classify: Callable[..., None]
) -> None:
    Path("i.ini").write_text("[ilastik]\ndebug: yes\n")
    classify(lambda: logging.getLogger("some.library").debug("detail"))
    assert run("--configfile=i.ini", RAW) == 0
    assert "DEBUG some.library: detail" in capsys.readouterr().out


def test_process_name_begins_every_line(
    work_folder: Path, capsys: pytest.CaptureFixture[str], classify: Callable[..., None]
) -> None:
    classify(lambda: logging.getLogger("some.library").warning("look out"))
    assert run("--process_name=node 50%", RAW) == 0
    captured = capsys.readouterr()
    assert all(line.startswith("node 50% ") for line in (captured.out + captured.err).splitlines())


def test_logfile_gets_everything_in_detail(
    work_folder: Path, capsys: pytest.CaptureFixture[str], classify: Callable[..., None]
) -> None:
    classify(raise_(ValueError("oops")))
    assert run("--logfile=logs/deep/log.txt", RAW) == 1
    text = Path("logs/deep/log.txt").read_text(encoding="utf-8")
    assert "Beginning Batch Processing" in text
    assert re.search(r"ERROR .* unexpected ValueError: oops", text)
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", ["/dev/null", os.devnull])
def test_no_logfile_on_request(work_folder: Path, name: str, classify: Callable[..., None]) -> None:
    classify(lambda: None)
    assert run(f"--logfile={name}", RAW) == 0


def test_redirect_output_appends(
    work_folder: Path, capsys: pytest.CaptureFixture[str], classify: Callable[..., None]
) -> None:
    classify(raise_(ValueError("oops")))
    Path("all.txt").write_text("before\n")
    assert run("--redirect_output=all.txt", RAW) == 1
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    text = Path("all.txt").read_text()
    assert text.startswith("before\nINFO ")
    assert text.endswith("pixelforest: error: unexpected ValueError: oops; run with --debug for the traceback\n")


@pytest.mark.parametrize("option", ["--logfile", "--redirect_output"])
def test_a_log_that_cannot_be_written_is_one_line(
    work_folder: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").touch()
    assert run(f"{option}=file/log.txt", RAW) == 2
    assert capsys.readouterr().err.startswith(f"pixelforest: error: {option}: file/log.txt cannot be written: ")


def test_handlers_are_gone_afterwards(work_folder: Path, classify: Callable[..., None]) -> None:
    before = list(logging.getLogger().handlers), logging.getLogger().level
    classify(lambda: None)
    run("--debug", "--logfile=log.txt", RAW)
    assert (logging.getLogger().handlers, logging.getLogger().level) == before


def test_warnings_of_python_are_log_lines(
    work_folder: Path, capsys: pytest.CaptureFixture[str], classify: Callable[..., None]
) -> None:
    import warnings

    def warn() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("strange numbers", stacklevel=1)

    # catch_warnings would put the test's own showwarning back, so the console's is called through it
    classify(warn)
    assert run(RAW) == 0
    assert "UserWarning: strange numbers" in capsys.readouterr().err


def test_text_the_terminal_cannot_show_is_escaped() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="")
    assert write_line(stream, "µ.png")
    assert stream.buffer.getvalue() == b"\\xb5.png\n"  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_reader_that_leaves_does_not_stop_the_work(work_folder: Path) -> None:
    code = "import sys; from pixelforest.cli import main; sys.exit(main())"
    first = f"""\
import logging, pathlib, time
import numpy as np
from pixelforest.engine.workflows.pixel import workflow as pixel_workflow
def classify(project, images, exports, **options):
    time.sleep(0.5)
    for export in exports.values():
        export.write(export.region, np.zeros(export.region.shape, np.float32))
    for i in range(2000):
        logging.getLogger("x").info("line %d of many that nobody reads any more", i)
    pathlib.Path("done").touch()
pixel_workflow.classify_lane = classify
{code}"""
    argv = [sys.executable, "-c", first, PROJECT, "--output_format=numpy", "--output_filename_format=o/x", RAW]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(timeout=60) == 0
    assert Path("done").exists()
    assert "Broken" not in errors
    assert "Exception" not in errors


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("argv", "status", "complaint"),
    [
        (["--project=gone.ilp", RAW], 1, "gone.ilp"),
        ([PROJECT, "gone.png"], 1, "no file matches gone.png"),
        ([PROJECT, "--output_format=docx", RAW], 2, "there is no output format"),
        ([PROJECT, "--segmentation_image=x.png", "--raw_data", RAW], 2, "--segmentation_image is not an input"),
        ([PROJECT, "--table_filename=t.csv", RAW], 2, "no table"),
        ([PROJECT, "--configfile=gone.ini", RAW], 2, "ilastik config file gone.ini does not exist"),
        ([PROJECT, "--prediction_mask", RAW], 2, "You must provide values for Raw Data for every lane"),
        (["info"], 2, "a project is missing"),
        (["info", "gone.ilp"], 1, "gone.ilp"),
    ],
)
def test_errors_are_one_line_with_a_status(
    work_folder: Path, argv: list[str], status: int, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == status
    error = capsys.readouterr().err
    assert error.startswith("pixelforest: error: ")
    assert complaint in error
    assert error.count("\n") == 1


def test_a_bad_number_of_threads_in_the_environment(
    work_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAZYFLOW_TOTAL_RAM_MB", "16")
    assert run(RAW) == 2
    assert "RAM is limited to 16 MB. Remember to specify RAM in MB, not GB." in capsys.readouterr().err


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), "out of memory; lower --memory, or close other programs"),
        (
            OSError(28, "No space left on device"),
            "[Errno 28] No space left on device; free some space, or let TMPDIR and the options for outputs name "
            "folders with more room",
        ),
        (KeyError("x"), "unexpected KeyError: 'x'; run with --debug for the traceback"),
        (ValueError("é" * 999), f"unexpected ValueError: {'é' * 300}…; run with --debug for the traceback"),
        (RuntimeError(), "unexpected RuntimeError: no message; run with --debug for the traceback"),
    ],
)
def test_exceptions_of_all_kinds_are_one_line(
    work_folder: Path,
    error: Exception,
    line: str,
    capsys: pytest.CaptureFixture[str],
    classify: Callable[..., None],
) -> None:
    classify(raise_(error))
    assert run(RAW) == 1
    assert capsys.readouterr().err == f"pixelforest: error: {line}\n"


def test_debug_shows_the_traceback(
    work_folder: Path, capsys: pytest.CaptureFixture[str], classify: Callable[..., None]
) -> None:
    classify(raise_(KeyError("x")))
    assert run("--debug", RAW) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().out


def test_debug_shows_the_traceback_of_what_concerns_all_lanes(
    work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--project=gone.ilp", "--debug", RAW]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().out


def test_failures_among_many_inputs(
    work_folder: Path, capsys: pytest.CaptureFixture[str], classify: Callable[..., None]
) -> None:
    classify(lambda: None)
    assert run("gone.png", RAW) == 3
    lines = capsys.readouterr().err.splitlines()
    assert DETAILED.fullmatch(lines[0])
    assert lines[0].endswith(
        "lane 1 (gone.png): no file matches gone.png (looked in " + lines[0].split("looked in ")[1]
    )
    assert lines[1:] == ["pixelforest: error: 1 of 2 inputs failed (gone.png); 1 are done"]


# -------------------------------------------------------------------------------------------------------- interruptions


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyboardInterrupt(), 130, "interrupted; no unfinished file was left behind"),
        (endings.Terminated(), 143, "terminated; no unfinished file was left behind"),
    ],
)
def test_interrupts_have_their_status(
    work_folder: Path,
    error: BaseException,
    status: int,
    line: str,
    capsys: pytest.CaptureFixture[str],
    classify: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_folder, "_kept", {Path("of an earlier command")})
    classify(raise_(error))
    assert run(RAW) == status
    assert capsys.readouterr().err == f"pixelforest: error: {line}\n"
    assert list(work_folder.glob("out/*")) == []


@pytest.mark.sampled(1)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no such signals")
@pytest.mark.parametrize("inputs", [1, 2])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_end_a_run_cleanly(work_folder: Path, number: signal.Signals, status: int, inputs: int) -> None:
    code = textwrap.dedent("""\
        import pathlib, sys, time
        from pixelforest.cli import main
        from pixelforest.engine.workflows.pixel import workflow as pixel_workflow
        def classify(*args, on_progress, **options):
            pathlib.Path("begun").touch()
            while True:
                time.sleep(0.02)
                on_progress(1)
        pixel_workflow.classify_lane = classify
        sys.exit(main())""")
    images = [RAW]
    if inputs == 2:
        Path("second.png").write_bytes(Path(RAW).read_bytes())
        images.append("second.png")
    argv = [sys.executable, "-c", code, PROJECT, "--output_format=hdf5", "--output_filename_format=o/{nickname}.h5"]
    argv += ["--threads=2", *images]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not Path("begun").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert errors.count("\n") == 1
    assert "Traceback" not in errors
    assert list(work_folder.glob("o/*")) == []


def test_handlers_of_signals_are_put_back(work_folder: Path, classify: Callable[..., None]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    classify(lambda: None)
    run(RAW)
    assert signal.getsignal(signal.SIGTERM) is before


# ------------------------------------------------------------------------------------------------------------ progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bar_shows_rate_and_time_left() -> None:
    terminal, clock = Terminal(), Clock()
    progress = Progress(terminal=terminal, clock=clock)
    progress.start(10_000_000)
    clock.now = 2.0
    progress.add(2_500_000)
    assert "[########......................]  25 %  1.25 Mvoxels/s  6 s left" in terminal.getvalue()
    progress.finish()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_a_bar_is_not_drawn_for_a_moment_nor_too_often() -> None:
    terminal, clock = Terminal(), Clock()
    progress = Progress(terminal=terminal, clock=clock)
    progress.start(1000)
    progress.add(100)
    assert terminal.getvalue() == ""
    clock.now = 1.0
    for _ in range(50):
        progress.add(1)
    assert terminal.getvalue().count("%") == 1


def test_lines_instead_of_a_bar_come_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    progress = Progress(clock=clock)
    progress.start(1_000_000)
    for step in range(1000):
        clock.now = step * 0.1
        progress.add(1000)
    shares = [int(record.getMessage().split("%")[0]) for record in caplog.records]
    assert shares == [10, 20, 30, 40, 50, 60, 70, 80, 90]


def test_slow_work_has_a_line_every_half_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    progress = Progress(clock=clock)
    progress.start(1_000_000)
    for step in range(120):
        clock.now = float(step)
        progress.add(10)
    assert len(caplog.records) == 3


def test_short_work_has_no_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    progress = Progress(clock=clock)
    progress.start(100)
    clock.now = 4.0
    progress.add(100)
    assert caplog.records == []


def test_no_progress_shows_none() -> None:
    terminal, clock = Terminal(), Clock()
    progress = Progress(terminal=terminal, is_shown=False, clock=clock)
    progress.start(100)
    clock.now = 9.0
    progress.add(50)
    assert terminal.getvalue() == ""


def test_a_log_line_takes_the_bar_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Console(ConsoleSettings()) as console:
        monkeypatch.setattr(console.progress, "_started_s", -100.0)
        console.progress.start(100)
        monkeypatch.setattr(console.progress, "_started_s", -100.0)
        monkeypatch.setattr(console.progress, "_shown_s", -100.0)
        console.progress.add(10)
        assert terminal.getvalue().endswith(" left")
        logging.getLogger("x").warning("hello")
        assert "left\r\x1b[KWARNING" in terminal.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text

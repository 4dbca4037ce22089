"""All measurements by one command: their order, their time, and what is kept of those that do not end."""

from __future__ import annotations

import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
ROW = "import sys, time; open(sys.argv[1].removeprefix('--json='), 'a').write('{name}\\n'); print('{name} said')"


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCH))
    return import_module("on_gpu")


def step(on_gpu: Any, name: str, then: str = "", seconds: float = 60) -> Any:
    """A step that writes a row and says a line, before it does something else."""
    return on_gpu.Step(name, ("{python}", "-c", f"{ROW.replace('{name}', name)}; {then}", "--json={rows}"), seconds)


def test_steps_end_alone_and_their_rows_are_kept(
    on_gpu: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [step(on_gpu, "fails", "sys.exit(3)"), step(on_gpu, "hangs", "sys.stdout.flush(); time.sleep(600)", 15)]
    groups = {
        "needed": step(on_gpu, "needed"), "steps": steps, "tests": step(on_gpu, "tests"),
        "rest": [step(on_gpu, "last")],
    }  # fmt: skip
    assert on_gpu.main([f"--folder={tmp_path}", "--tests"], **groups) == 1
    (rows,) = tmp_path.glob("*.jsonl")
    assert rows.read_text().split() == ["needed", "fails", "hangs", "tests", "last"]
    said = capsys.readouterr().out
    (log,) = tmp_path.glob("*.txt")
    assert log.read_text() == said
    assert [line for line in said.splitlines() if line.endswith(" said")] == [
        f"{name} said" for name in ("needed", "fails", "hangs", "tests", "last")
    ]
    outcomes = dict(line.split(maxsplit=1) for line in said.splitlines()[-7:-2])
    assert outcomes == {
        "needed": "done",
        "fails": "failed with status 3",
        "hangs": "stopped after 15 s; what it had measured is kept",
        "tests": "done",
        "last": "done",
    }


def test_without_time_no_step_is_started(on_gpu: Any, tmp_path: Path) -> None:
    rows, log = tmp_path / "rows", tmp_path / "log"
    assert on_gpu.run_step(step(on_gpu, "late"), rows, log, time.monotonic() - 1) == "no time left"
    assert not rows.exists()
    assert not log.exists()


def test_without_a_gpu_nothing_else_is_started(on_gpu: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    needed, never = step(on_gpu, "needed", "sys.exit(1)"), step(on_gpu, "never")
    assert on_gpu.main([f"--folder={tmp_path}"], needed=needed, steps=[never]) == 1
    assert "never" not in capsys.readouterr().out


def test_every_step_is_a_command_that_exists(on_gpu: Any) -> None:
    for each in (*on_gpu.STEPS, *on_gpu.REST):
        words = [word.format(python=sys.executable, bench=BENCH, rows="rows") for word in each.words]
        done = subprocess.run([*words, "--dry-run"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_all_steps_before_the_tests_have_time(on_gpu: Any) -> None:
    assert on_gpu.SECONDS <= 600
    assert sum(each.seconds for each in (on_gpu.NEEDED, *on_gpu.STEPS)) <= 700, "few of them take all of theirs"

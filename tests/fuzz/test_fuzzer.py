"""The fuzzer finds what it is made to find, and its cases can be made again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.golden import REPOSITORY

from tests.fuzz.cases import KINDS, make_case, read_case, undamaged_cases
from tests.fuzz.corpus import GOLDEN, PROJECTS
from tests.fuzz.forks import MAX_GROWTH_BYTES, Ending
from tests.fuzz.verdicts import judge

GOOD = Ending(0, 0.1, 0, json.dumps({"lanes": [{"unchecked": []}]}), "", is_hung=False)
UNSURE = Ending(0, 0.1, 0, json.dumps({"lanes": [{"unchecked": ["the PNG data of Raw Data"]}]}), "", is_hung=False)
FAILED = Ending(1, 0.1, 0, "", "pixelforest: error: cannot read a.png: the file is truncated\n", is_hung=False)
# A stand-in for the command, run as the fuzzer runs it.
STAND_IN = """
import sys, time
from pathlib import Path
from tests.fuzz import forks
import pixelforest.cli
def main(words):
{body}
pixelforest.cli.main = main
ending = forks.run_command(["--word"], Path(sys.argv[1]), Path(sys.argv[1]), hang_s=2.0)
print(ending.status, ending.growth_bytes, ending.is_hung, repr(ending.stderr[-60:]))
"""


def stand_in(folder: Path, body: str) -> tuple[int, int, bool, str]:
    program = STAND_IN.format(body="\n".join(f"    {line}" for line in body.splitlines()))
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], check=True, capture_output=True, text=True, cwd=REPOSITORY
    )
    status, growth, is_hung, stderr = done.stdout.split(" ", 3)
    return int(status), int(growth), is_hung == "True", stderr


def test_a_good_run_is_good() -> None:
    assert judge(GOOD, GOOD) == []
    assert judge(FAILED, FAILED) == []


@pytest.mark.parametrize(
    ("ending", "verdict"),
    [
        (Ending(1, 0.1, 0, "", "pixelforest: error: unexpected KeyError: 'a'; run with --debug", False), "unexpected"),
        (Ending(99, 0.1, 0, "", "Traceback (most recent call last):\n", False), "Traceback"),
        (Ending(-11, 0.1, 0, "", "", False), "status -11"),
        (Ending(-9, 10.1, 0, "", "", True), "took more than 10 s"),
        (Ending(0, 0.1, MAX_GROWTH_BYTES + 1, GOOD.stdout, "", False), "grew by 500 MiB"),
        (Ending(0, 0.1, 0, GOOD.stdout, "WARNING \x1b[31m", False), "control character"),
        (Ending(1, 0.1, 0, "", "something else", False), "failed without a line"),
        (Ending(1, 0.1, 0, "", "pixelforest: error: a\npixelforest: error: b", False), "several last words"),
    ],
)
def test_what_must_not_be_is_found(ending: Ending, verdict: str) -> None:
    assert any(verdict in line for line in judge(GOOD, ending))
    assert any(verdict in line for line in judge(ending, GOOD))


@pytest.mark.parametrize(
    ("explained", "done", "agrees"),
    [
        (GOOD, FAILED, False),
        (UNSURE, FAILED, True),
        (FAILED, GOOD, False),
        (GOOD, GOOD, True),
    ],
)
def test_an_explanation_foretells_the_run(explained: Ending, done: Ending, agrees: bool) -> None:
    assert (judge(explained, done) == []) is agrees


def test_every_recorded_project_is_a_start() -> None:
    """But for the large one, which would take all of the time."""
    assert set(PROJECTS) == {path.parent.name for path in GOLDEN.glob("*/project.ilp")} - {"px2d_big"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_number_is_always_the_same_case(kind: str, tmp_path: Path) -> None:
    for number in range(1, 4):
        case = make_case(5, number, tmp_path / "edited.h5", (kind,))
        again = make_case(5, number, tmp_path / "edited.h5", (kind,))
        assert (case.label, case.words) == (again.label, again.words)
        assert case.files.keys() == again.files.keys()
    assert make_case(6, 1, tmp_path / "edited.h5", (kind,)).files != case.files or kind == "words"


def test_a_finding_keeps_the_case(tmp_path: Path) -> None:
    case = undamaged_cases()[0]
    (tmp_path / "finding.json").write_text(case.to_json(seed=1, number=2, wrong=["a"]), encoding="utf-8")
    assert read_case(tmp_path / "finding.json") == case


@pytest.mark.slow
def test_a_command_that_hangs_is_ended(tmp_path: Path) -> None:
    status, _, is_hung, _ = stand_in(tmp_path, "while True: pass")
    assert (status, is_hung) == (-9, True)


@pytest.mark.slow
def test_growth_is_measured(tmp_path: Path) -> None:
    status, growth, _, _ = stand_in(tmp_path, "data = b'1' * 600_000_000\nreturn 0")
    assert status == 0
    assert MAX_GROWTH_BYTES < growth < 700 * 2**20


def test_an_exception_is_seen(tmp_path: Path) -> None:
    status, _, _, stderr = stand_in(tmp_path, "raise RuntimeError('surprise')")
    assert status == 99
    assert "RuntimeError: surprise" in stderr


@pytest.mark.slow
def test_a_few_random_cases(tmp_path: Path) -> None:
    """The whole program, but for the named cases: ``make fuzz`` has those."""
    words = ["--cases=20", "--workers=2", "--skip-named", f"--findings={tmp_path / 'findings'}"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *words],
        check=False,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stdout
    assert "20 random cases" in done.stdout

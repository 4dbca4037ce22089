r"""Names of classes and roles with escape sequences cleared the terminal, changed its title and forged lines."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.stored_settings import store

from pixelforest import cli
from pixelforest.engine.terminal_text import printable, printable_json, printable_lines
from pixelforest.frontend.console import Console, ConsoleSettings, write_line

CopyGolden = Callable[[str], Path]
EVIL = "\x1b]0;pwned\x07\x1b[2J\x9b31mFAKE\r\n  OK \u202egpj.exe\u2069 \x7f"
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def evil(copy_golden: CopyGolden, work_folder: Path) -> Path:
    """A project with escape sequences in every text that is shown."""
    folder = copy_golden("px2d_gray")
    project = folder / "project.ilp"
    with h5py.File(project, "r+") as file:
        names = file["PixelClassification/LabelNames"][()]
        values = {
            "PixelClassification/LabelNames": np.array([EVIL.encode()] * len(names)),
            "ilastikVersion": np.bytes_(b"1.4.3" + EVIL.encode()),
            "Input Data/infos/lane0000/Raw Data/nickname": np.bytes_(EVIL.encode()),
            "Input Data/Role Names": np.array([b"Raw Data", b"Pred" + EVIL.encode()]),
        }
        for path, value in values.items():
            if path in file:
                del file[path]
            file[path] = value
    return folder


def assert_harmless(text: str) -> None:
    assert text
    assert RAW.search(text) is None
    assert not any(line.startswith("  OK") for line in text.splitlines())


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "words",
    [
        ("info",),
        ("explain", "raw.png"),
        ("explain", "--json", "raw.png"),
        ("raw.png", "--report_json=report.json", "--logfile=log.txt"),
        ("raw.png", "--debug"),
        ("raw.png", "--export_source=\x1b[31mNothing"),
        ("raw.png", "--redirect_output=all.txt"),
        ("\x1b[31m.png",),
        ("--\x1b[31m",),
        ("--print_labels_by_slice",),
    ],
    ids=lambda words: printable(" ".join(words)),
)
def test_nothing_reaches_the_terminal(
    evil: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(evil)
    cli.main(
        [*words[:1], "--project=project.ilp", *words[1:]]
        if words[0] == "explain"
        else [*words, "project.ilp"]
        if words[0] == "info"
        else [*words, "--project=project.ilp"]
    )
    shown = "".join(capsys.readouterr())
    shown += "".join(path.read_text() for path in map(Path, ("report.json", "log.txt", "all.txt")) if path.exists())
    assert_harmless(shown)


def test_info_shows_the_escapes(evil: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", str(evil / "project.ilp")]) == 0
    shown = capsys.readouterr().out
    assert r"\x1b]0;pwned\x07\x1b[2J\x9b31mFAKE\x0d\x0a  OK \u202egpj.exe\u2069 \x7f" in shown


def test_json_still_reads_as_the_same_values(evil: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = evil / "project.ilp"
    assert cli.main(["explain", "--json", f"--project={project}", str(evil / "raw.png")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["project"]["saved_by"] == "1.4.3" + EVIL
    for value in (EVIL, "\udcff\ud800", "µ", "\\x1b", '"'):
        assert json.loads(printable_json(json.dumps([value], ensure_ascii=False))) == [value]


def test_a_stored_path_with_controls_is_refused_and_shown_escaped(
    evil: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(evil / "project.ilp", OutputFilenameFormat="out/" + EVIL)
    for words in ((), ("--dry_run",)):
        assert cli.main([*words, f"--project={evil / 'project.ilp'}", str(evil / "raw.png")]) == 1
        shown = "".join(capsys.readouterr())
        assert_harmless(shown)
        assert "control characters" in shown
        assert "--output_filename_format" in shown
    assert not (evil / "out").exists()


def test_every_control_is_escaped() -> None:
    for code in (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)):
        escape = f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
        assert printable(f"a{chr(code)}b") == f"a{escape}b"
        assert printable_lines(f"a{chr(code)}b") == ("a\nb" if code == 0x0A else f"a{escape}b")


@pytest.mark.parametrize(
    ("text", "shown"),
    [("\udcff.png", r"\xff.png"), ("\udc80", r"\x80"), ("\ud800", r"\ud800"), ("µ → 漢 🙂", "µ → 漢 🙂"), ("", "")],
)
def test_names_that_are_not_utf8_and_other_letters(text: str, shown: str) -> None:
    assert printable(text) == shown
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    assert write_line(stream, text)
    assert stream.buffer.getvalue() == f"{shown}\n".encode()  # type: ignore[attr-defined]


def test_a_traceback_keeps_its_lines_and_a_message_its_one(
    work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Console(ConsoleSettings(logfile="log.txt")):
        try:
            raise ValueError("\x1b[31mred")
        except ValueError:
            logging.getLogger("x").warning("one\nline", exc_info=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith(r"one\x0aline")
    assert lines[1].startswith("Traceback")
    assert lines[-1] == r"ValueError: \x1b[31mred"
    assert Path("log.txt").read_text().splitlines()[-1] == lines[-1]

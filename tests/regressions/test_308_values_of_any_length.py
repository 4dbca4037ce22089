"""A message repeated a value of 5000 characters in full, once for each time that it named it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pixelforest import cli
from pixelforest.engine.errors import InputError, as_flag, setting
from pixelforest.engine.public_text import MAX_MESSAGE, MAX_WORD, shorten
from pixelforest.frontend.options import Takes
from pixelforest.frontend.options_table import OPTIONS

LONG = "v" * 5000
TYPED = [f"{option.name}={LONG}" for option in OPTIONS if option.takes in (Takes.VALUE, Takes.PATHS)]


@pytest.mark.sampled(12)
@pytest.mark.parametrize("word", [*TYPED, f"--{LONG}", LONG], ids=lambda word: word.partition("=")[0][:20])
def test_no_line_repeats_it(
    word: str, copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copy_golden("px2d_gray"))
    cli.main(["--quiet", "--project=project.ilp", "--dry_run", *([word] if "raw_data" in word else [word, "raw.png"])])
    shown = capsys.readouterr().err
    assert max(map(len, shown.splitlines()), default=0) < 2000


@pytest.mark.parametrize("value", ["-" * 90_000 + "1", "[" * 90_000], ids=["signs", "lists"])
def test_a_value_that_is_parsed_is_not_nested_at_will(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--project=p.ilp", f"--distributed_block_roi={value}", "raw.png"]) == 2
    assert "expected a number, or a dictionary" in capsys.readouterr().err


def test_the_middle_is_left_out() -> None:
    text = shorten(f"cannot read {LONG}.png: no such file")
    assert text == f"cannot read {'v' * 300}…{'v' * 95}.png: no such file"
    assert len(shorten("many words " * 1000)) < MAX_MESSAGE


def test_paths_that_people_have_are_shown_in_full() -> None:
    text = f"cannot read /{'f' * 250}/{'g' * (MAX_WORD - 253)}: no such file"
    assert shorten(text) == text
    lines = " ".join(["a sentence of several words"] * 100)
    assert shorten(lines) == lines


def test_names_of_settings_survive() -> None:
    error = InputError(f"{LONG}: see {setting('input_axes', LONG)}")
    assert "see --input_axes=vvv" in error.render(as_flag)
    assert len(error.render(as_flag)) < 1000

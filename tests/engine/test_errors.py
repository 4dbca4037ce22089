"""Settings in messages: a field in Python, an option on a terminal."""

from __future__ import annotations

import ast
import json
import logging
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.sources import nodes_of

from pixelforest.engine.errors import (
    ExportError,
    InputMismatch,
    PixelforestError,
    Text,
    as_field,
    as_flag,
    as_marked,
    render_settings,
    setting,
)
from pixelforest.engine.messages import describe_error, describe_record
from pixelforest.frontend.console import Console, ConsoleSettings

# Text below the front end that looks like an option of ours but is one of another program.
EXCEPTIONS = {
    ("kernels/cpu/build/linker.py", "--cache"): "an option of the linker",
    ("kernels/cpu/build/linker.py", "--global"): "an option of the linker",
    ("kernels/cuda/cupy_device.py", "--gpu"): "an option of the compiler",
    ("kernels/cuda/launch.py", "--define"): "an option of the compiler",
    ("kernels/cuda/launch.py", "--fmad"): "an option of the compiler",
    ("kernels/cuda/launch.py", "--ftz"): "an option of the compiler",
    ("kernels/cuda/launch.py", "--prec"): "an option of the compiler",
    ("kernels/cuda/launch.py", "--std"): "an option of the compiler",
}


def spelled_options(path: Path) -> Iterator[str]:
    """Yield the options that string literals of a module spell; documentation is left out."""
    if "--" not in path.read_text(encoding="utf-8"):  # parsing takes far longer
        return
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = [node.body for node in nodes_of(path) if isinstance(node, documented)]
    documentation = {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
    for node in nodes_of(path):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield from re.findall(r"--[a-z_]+", node.value)


def test_only_the_front_end_spells_options(repository: Path) -> None:
    found = {
        (str(path.relative_to(repository).as_posix()), option)
        for folder in ("engine", "kernels")
        for path in sorted((repository / folder).rglob("*.py"))
        for option in spelled_options(path)
    }
    assert sorted(found - set(EXCEPTIONS)) == []
    assert sorted(set(EXCEPTIONS) - found) == [], "exceptions that are no longer needed"


def test_a_message_is_spelled_by_its_reader() -> None:
    error = InputMismatch(f"{setting('input_axes')}=yx does not fit; {setting('stack_along', 'z')} would")
    assert str(error) == "input_axes=yx does not fit; stack_along=z would"
    assert error.render(as_flag) == "--input_axes=yx does not fit; --stack_along=z would"
    assert describe_error(error) == str(error)
    assert describe_error(error, as_flag) == error.render(as_flag)


def test_a_message_inside_another_keeps_its_settings() -> None:
    inner = ExportError(f"it exists; {setting('overwrite')} replaces it")
    outer = ExportError(f"lane 1: {inner.render(as_marked)}")
    assert outer.render(as_flag) == "lane 1: it exists; --overwrite replaces it"
    assert str(outer) == "lane 1: it exists; overwrite replaces it"


def test_errors_of_other_kinds_are_spelled_too() -> None:
    assert "lower --memory," in describe_error(MemoryError(), as_flag)
    assert "lower memory," in describe_error(MemoryError())
    assert describe_error(ZeroDivisionError("x"), as_flag).endswith("run with --debug for the traceback")


def test_a_setting_is_plain_in_lines_of_the_log() -> None:
    assert "%s" % setting("memory", "8G") == "memory=8G"  # noqa: UP031  # as logging does it


def test_a_line_of_the_log_is_spelled_by_its_reader(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("pixelforest.test")
    log.warning("%s: %s", setting("clip"), Text(f"{setting('memory', '8G')} of 3%"))
    log.warning("%d of %s", 3, "it")
    assert caplog.messages == ["clip: memory=8G of 3%", "3 of it"]
    lines = [describe_record(record, as_flag) for record in caplog.records]
    assert lines == ["--clip: --memory=8G of 3%", "3 of it"]


def test_lines_of_the_log_are_options_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Console(ConsoleSettings()):
        logging.getLogger("pixelforest.test").info("%s has no effect", setting("clip"))
    assert capsys.readouterr().out == "INFO pixelforest.test: --clip has no effect\n"


def test_a_text_keeps_its_settings() -> None:
    text = Text(f"see {setting('clip')}")
    copy: Text = pickle.loads(pickle.dumps(text))
    for each in (text, copy, Text(f"{text}")):
        assert each == "see clip"
        assert json.dumps([each]) == '["see clip"]'
        assert render_settings(each, as_flag) == "see --clip"


def test_a_pickled_error_is_spelled_as_before() -> None:
    error: PixelforestError = pickle.loads(pickle.dumps(ExportError(f"see {setting('clip')}")))
    assert error.render(as_flag) == "see --clip"
    assert str(error) == "see clip"


def test_keys_in_urls_are_hidden_in_every_spelling() -> None:
    error = ExportError(f"cannot write http://me:secret@host/x; {setting('overwrite')}")
    for spell in (as_field, as_flag, as_marked):
        assert "secret" not in error.render(spell)


def test_text_without_settings_stays_as_it_is() -> None:
    assert render_settings("a -- b --c", as_flag) == "a -- b --c"

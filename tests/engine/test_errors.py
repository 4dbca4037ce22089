"""Settings in messages: a field in Python, an option on a terminal."""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

from pixelforest.engine.errors import (
    ExportError,
    InputMismatch,
    PixelforestError,
    as_field,
    as_flag,
    as_marked,
    render_settings,
    setting,
)
from pixelforest.engine.messages import describe_error

# Text below the front end that spells options itself. Lines of the log and warnings are read by scripts and by
# reports as they are; only messages of exceptions are spelled by their reader.
EXCEPTIONS = {
    ("engine/backends.py", "--device"): "a line of the log",
    ("engine/export/formulas.py", "--safe"): "a warning",
    ("engine/export/images.py", "--clip"): "a warning",
    ("engine/export/images.py", "--export_drange"): "a warning",
    ("engine/export/settings.py", "--output_internal_path"): "a line of the log",
    ("engine/formats/images/ome_zarr.py", "--ome"): "the description in the list of formats",
    ("engine/formats/support/tiff_planes.py", "--allow"): "spelled with dashes",
    ("engine/inputs/axes_rule.py", "--input_axes"): "a warning",
    ("engine/inputs/images.py", "--preconvert_stacks"): "a line of the log",
    ("engine/jobs.py", "--label_search_value"): "a warning",
    ("engine/jobs.py", "--print_labels_by_slice"): "a warning",
    ("engine/jobs.py", "--safe_csv"): "a warning",
    ("engine/jobs.py", "--output_filename_format"): "a warning",
    ("engine/jobs.py", "--output_internal_path"): "a warning",
    ("engine/jobs.py", "--table_filename"): "a warning",
    ("engine/run/explain.py", "--input_axes"): "a value of the JSON document",
    ("kernels/cuda/cupy_device.py", "--gpu"): "an option of the compiler",
    ("kernels/cuda/forest_choice.py", "--forest"): "a line of the log",
    ("kernels/cuda/launch.py", "--define"): "an option of the compiler",
    ("kernels/cuda/launch.py", "--fmad"): "an option of the compiler",
    ("kernels/cuda/launch.py", "--ftz"): "an option of the compiler",
    ("kernels/cuda/launch.py", "--prec"): "an option of the compiler",
    ("kernels/cuda/launch.py", "--std"): "an option of the compiler",
}


def spelled_options(path: Path) -> Iterator[str]:
    """Yield the options that string literals of a module spell; documentation is left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, documented)]
    documentation = {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
    for node in ast.walk(tree):
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
    assert "with --memory," in describe_error(MemoryError(), as_flag)
    assert "with memory," in describe_error(MemoryError())
    assert describe_error(ZeroDivisionError("x"), as_flag).endswith("run with --debug for the traceback")


def test_a_setting_is_plain_in_lines_of_the_log() -> None:
    assert "%s" % setting("memory", "8G") == "memory=8G"  # noqa: UP031  # as logging does it


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

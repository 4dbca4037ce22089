"""Docstrings in plain English: they open with an imperative verb or a noun phrase, as in PEP 257 and numpydoc."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("engine", "frontend", "kernels")
MODULES = ("__main__.py", "box.py", "cli.py")
# First words of relative clauses: "What is known of a job" instead of "Findings about a job".
CLAUSES = {"How", "Of", "That", "What", "When", "Where", "Whether", "Which", "Who", "Whose", "Why"}
# Beginnings of names of constants that MAX_ and MIN_ replace.
SUPERLATIVES = ("FEWEST_", "LARGEST_", "LEAST_", "LONGEST_", "MOST_", "SHORTEST_", "SMALLEST_")


def find_docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and text of every docstring of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text


def find_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and name of every assignment to a name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id


def sources(folder: str) -> list[Path]:
    if folder == "top level":
        return [ROOT / name for name in MODULES]
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", [*FOLDERS, "top level"])
def test_no_docstring_opens_with_a_relative_clause(folder: str) -> None:
    offenders = [
        f"{file.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for file in sources(folder)
        for line, text in find_docstrings(ast.parse(file.read_text(encoding="utf-8")))
        if text.split()[0].strip(".,:;") in CLAUSES
    ]
    assert offenders == []


@pytest.mark.parametrize("folder", [*FOLDERS, "top level"])
def test_limits_are_called_max_and_min(folder: str) -> None:
    offenders = [
        f"{file.relative_to(ROOT)}:{line}: {name}"
        for file in sources(folder)
        for line, name in find_names(ast.parse(file.read_text(encoding="utf-8")))
        if name.lstrip("_").startswith(SUPERLATIVES)
    ]
    assert offenders == []

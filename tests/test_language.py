"""Docstrings in plain English: they open with an imperative verb or a noun phrase, as in PEP 257 and numpydoc."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from support.sources import nodes_of

ROOT = Path(__file__).parents[1]
FOLDERS = ("bench", "docs", "engine", "frontend", "kernels", "testing", "tests")
MODULES = ("__main__.py", "box.py", "cli.py", "frozen.py", "setup.py")
# First words of relative clauses: "What is known of a job" instead of "Findings about a job".
CLAUSES = {"How", "Of", "That", "What", "When", "Where", "Whether", "Which", "Who", "Whose", "Why"}
# Beginnings of names of constants that MAX_ and MIN_ replace.
SUPERLATIVES = ("FEWEST_", "LARGEST_", "LEAST_", "LONGEST_", "MOST_", "SHORTEST_", "SMALLEST_")


def sources(pattern: str) -> list[Path]:
    """Modules of the repository in whose text a pattern occurs: parsing all takes seconds."""
    files = [ROOT / name for name in MODULES]
    files += [file for each in FOLDERS for file in sorted((ROOT / each).rglob("*.py"))]
    return [file for file in files if re.search(pattern, file.read_text(encoding="utf-8"))]


def test_no_docstring_opens_with_a_relative_clause() -> None:
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    offenders = [
        f"{file.relative_to(ROOT)}:{node.body[0].lineno}: {text.splitlines()[0]}"
        for file in sources(rf"[\"']\s*({'|'.join(CLAUSES)})\b")
        for node in nodes_of(file)
        if isinstance(node, documented) and (text := ast.get_docstring(node))
        if text.split()[0].strip(".,:;") in CLAUSES
    ]
    assert offenders == []


def test_limits_are_called_max_and_min() -> None:
    offenders = [
        f"{file.relative_to(ROOT)}:{node.lineno}: {node.id}"
        for file in sources("|".join(SUPERLATIVES))
        for node in nodes_of(file)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        if node.id.lstrip("_").startswith(SUPERLATIVES)
    ]
    assert offenders == []

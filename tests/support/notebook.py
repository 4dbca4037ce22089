"""Notebooks run cell by cell, without Jupyter: values and printed text as in the stored outputs."""

from __future__ import annotations

import ast
import contextlib
import io
import json
from pathlib import Path
from typing import Any


def run_cells(path: Path) -> list[tuple[str, str]]:
    """Run the cells of a notebook in the current folder. Returns what each prints, and the text of its last value."""
    names: dict[str, Any] = {}
    found = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(tree, path.name, "exec"), names)
            value = None
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), path.name, "eval"), names)
        found.append((printed.getvalue(), "" if value is None else repr(value)))
    return found


def stored_outputs(path: Path) -> list[tuple[str, str]]:
    """Return the outputs that a notebook contains, as ``run_cells`` does."""
    found = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            outputs = cell["outputs"]
            printed = "".join("".join(each["text"]) for each in outputs if each["output_type"] == "stream")
            values = ["".join(e["data"]["text/plain"]) for e in outputs if e["output_type"] == "execute_result"]
            found.append((printed, "".join(values)))
    return found

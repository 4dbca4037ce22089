"""The examples of docs/arrays.md and of the docstrings of the functions on arrays, run as they stand."""

from __future__ import annotations

import doctest
import re
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from support.array_inputs import golden_array, load_golden
from support.golden import GOLDEN, REPOSITORY
from support.notebook import run_cells, stored_outputs

import pixelforest
from pixelforest.engine.arrays.compatibility import from_project_file
from pixelforest.engine.arrays.model import Model, load
from pixelforest.engine.arrays.objects import Table
from pixelforest.engine.run.batch import run

BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.fixture
def projects(work_folder: Path) -> Path:
    """The current folder, with the projects that the examples name."""
    shutil.copy(GOLDEN / "px2d_gray" / "project.ilp", "MyProject.ilp")
    shutil.copy(GOLDEN / "obj2d_seg" / "project.ilp", "MyCells.ilp")
    return work_folder


@pytest.mark.slow
def test_the_document_runs(projects: Path) -> None:
    names: dict[str, Any] = {
        "image": golden_array("px2d_gray"),
        "cells_image": golden_array("obj2d_seg"),
        "cells_segmentation": golden_array("obj2d_seg", "seg.png"),
    }
    blocks = BLOCK.findall((REPOSITORY / "docs" / "arrays.md").read_text(encoding="utf-8"))
    libraries = [name for name in ("dask", "xarray") if find_spec(name) is None]
    # Later blocks use what earlier ones made.
    runnable = [text for text in blocks if not any(name in text or "picture" in text for name in libraries)]
    assert len(blocks) > 8
    for block in runnable:
        exec(compile(block, "docs/arrays.md", "exec"), names)
    assert (projects / "cells.csv").stat().st_size > 1000


def test_the_readme_runs(projects: Path) -> None:
    blocks = BLOCK.findall((REPOSITORY / "README.md").read_text(encoding="utf-8"))
    shutil.copy(GOLDEN / "px2d_gray" / "raw.png", "my_next_image.png")
    names: dict[str, Any] = {"image": golden_array("px2d_gray")}
    for block in [text for text in blocks if ".predict(" in text or ".run(" in text]:
        exec(compile(block, "README.md", "exec"), names)
    assert [file.name for file in names["report"].files] == ["my_next_image_Probabilities.h5"]


def test_the_notebook_has_the_outputs_of_its_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = REPOSITORY / "docs" / "examples" / "arrays.ipynb"
    monkeypatch.chdir(notebook.parent)
    found = run_cells(notebook)
    assert found == stored_outputs(notebook)
    assert all(printed or value for printed, value in found)


def examples() -> Iterator[Any]:
    of_project = {load: "px2d_gray", Model.predict: "px2d_gray", from_project_file: "px2d_gray"}
    of_project |= {Model.predict_objects: "pcoc2d", Table: "pcoc2d", run: "px2d_gray"}
    for documented, project in of_project.items():
        for test in doctest.DocTestFinder(recurse=False).find(documented, documented.__qualname__):
            yield pytest.param(test, project, id=test.name)


@pytest.mark.parametrize(("test", "project"), list(examples()))
def test_a_docstring_runs(test: doctest.DocTest, project: str, projects: Path) -> None:
    assert test.examples
    shutil.copy(GOLDEN / "px2d_gray" / "raw.png", "image.png")
    test.globs = {"pf": pixelforest, "model": load_golden(project), "image": golden_array(project)}
    shown: list[str] = []
    failures, _ = doctest.DocTestRunner().run(test, out=shown.append)
    assert (failures, "".join(shown)) == (0, "")

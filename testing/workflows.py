"""Suite that every kind of project passes.

A test class names the package and makes a project with its inputs::

    class TestCounting(WorkflowSuite):
        package = my_package.counting

        def make(self, folder):
            write_project(folder / "p.ilp")
            return [f"--project={folder / 'p.ilp'}", str(folder / "image.npy")]
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

from ..cli import main
from ..engine.project import Project
from ..engine.workflows import read_project
from ..engine.workflows.protocol import Workflow


class WorkflowSuite:
    """Tests of a kind of project, which is installed, through the command line."""

    package: ClassVar[ModuleType]

    def make(self, folder: Path) -> Sequence[str]:
        """Write a project and its inputs; return the words of a command line, ``--project`` first, no output."""
        raise NotImplementedError

    def read(self, words: Sequence[str]) -> Project:
        """Read the project of a command line."""
        return read_project(words[0].removeprefix("--project="))

    def test_it_has_every_part_of_the_protocol(self) -> None:
        workflow = import_module(f"{self.package.__name__}.workflow")
        parts = [name for name, part in vars(Workflow).items() if callable(part) and not name.startswith("_")]
        assert [name for name in parts if not callable(getattr(workflow, name, None))] == []
        assert self.package.KINDS
        assert len({kind.name for kind in self.package.KINDS}) == len(self.package.KINDS)

    def test_a_project_is_of_this_kind_and_a_value(self, tmp_path: Path) -> None:
        words = self.make(tmp_path)
        project = self.read(words)
        assert project.workflow in {kind.name for kind in self.package.KINDS}
        assert self.read(words) == project
        assert pickle.loads(pickle.dumps(project)) == project

    def test_the_default_result_is_one_of_its_results(self, tmp_path: Path) -> None:
        project = self.read(self.make(tmp_path))
        names = import_module(f"{self.package.__name__}.workflow").result_names(project)
        assert len(set(names)) == len(names) > 0

    def test_a_run_writes_what_explain_lists(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = [*self.make(tmp_path), f"--output_filename_format={tmp_path / 'out' / '{nickname}'}", "--device=cpu"]
        assert main(["explain", "--json", *words]) == 0
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert not (tmp_path / "out").exists()
        assert main(words) == 0
        listed = [Path(file) for lane in document["lanes"] for result in lane["results"] for file in result["files"]]
        assert listed
        assert sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file()) == sorted(listed)

    def test_threads_change_nothing(self, tmp_path: Path) -> None:
        words = [*self.make(tmp_path), "--device=cpu", "--output_format=numpy"]
        contents = []
        for threads in (1, 3):
            folder = tmp_path / f"threads-{threads}"
            assert main([*words, f"--threads={threads}", f"--output_filename_format={folder / '{nickname}'}"]) == 0
            contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
        assert contents[0] == contents[1]

    def test_info_describes_the_project(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (option, *_) = self.make(tmp_path)
        assert main(["info", option.removeprefix("--project=")]) == 0
        assert any(kind.name in capsys.readouterr().out for kind in self.package.KINDS)

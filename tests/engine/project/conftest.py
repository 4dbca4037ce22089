from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import pytest


def _load(path: Path) -> ModuleType:
    """A helper module by its path: tests are no package, so it cannot be imported by name."""
    spec = importlib.util.spec_from_file_location(f"project_tests_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def builders() -> ModuleType:
    return _load(Path(__file__).with_name("builders.py"))


@pytest.fixture(scope="session")
def reference_forest() -> ModuleType:
    return _load(Path(__file__).parents[2] / "reference" / "forest.py")


@pytest.fixture
def make_project(builders: ModuleType, tmp_path: Path) -> Callable[..., Path]:
    """Writes a small project; ``change`` may then alter the open file in any way."""

    def make(change: Callable[[h5py.File], Any] | None = None, **options: Any) -> Path:
        path: Path = builders.write_project(tmp_path / "project.ilp", **options)
        if change is not None:
            with h5py.File(path, "r+") as file:
                change(file)
        return path

    return make

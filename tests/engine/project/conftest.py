from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import pytest
from support import project_files
from support.forests_read_once import read_forests

from pixelforest.engine.project import forest as stored_forest
from pixelforest.testing.reference import forest


@pytest.fixture(scope="session")
def builders() -> ModuleType:
    return project_files


@pytest.fixture(scope="session")
def reference_forest() -> ModuleType:
    return forest


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


@pytest.fixture(autouse=True)
def _forests_are_read_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is recalled: these are the tests of reading."""
    monkeypatch.setattr(stored_forest, "_read_forests", read_forests)

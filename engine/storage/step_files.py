"""Values of steps that were computed, each a file of named arrays in the folder of a run."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .atomic_write import export_errors
from .durable import make_durable

_SUFFIX = ".npz"


class StepFiles:
    """Files of the steps of a run, which several processes add; equal steps have equal files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "steps"

    def count(self) -> int:
        """Return the number of steps that are done."""
        try:
            return sum(name.endswith(_SUFFIX) and not name.startswith(".") for name in os.listdir(self._folder))
        except OSError:  # there is no folder yet
            return 0

    def load(self, key: str) -> dict[str, np.ndarray] | None:
        """Read the arrays of a step; None if it has not been computed."""
        try:
            with np.load(self._folder / f"{key}{_SUFFIX}", allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # damaged: it is computed again
            return None

    def save(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write the arrays of a step, which are on disk when this returns. Raises ExportError."""
        path = self._folder / f"{key}{_SUFFIX}"
        with export_errors(path):
            self._folder.mkdir(exist_ok=True)
            new = path.with_name(f".{key}.{os.urandom(6).hex()}")
            with new.open("xb") as file:
                np.savez(file, allow_pickle=False, **arrays)
            os.replace(new, path)
            make_durable([path])

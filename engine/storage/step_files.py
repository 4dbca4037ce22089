"""Values of steps that were computed, each a file of named arrays in the folder of a run, also behind a URL."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .atomic_write import export_errors
from .durable import make_durable
from .object_storage import RemotePath, RemoteTarget
from .packed_arrays import read_arrays, unpack_arrays

_FOLDER, _SUFFIX = "steps", ".npz"


class StepFiles:
    """Files of the steps of a run, which several processes add; equal steps have equal files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / _FOLDER

    def count(self) -> int:
        """Return the number of steps that are done."""
        try:
            return sum(name.endswith(_SUFFIX) and not name.startswith(".") for name in os.listdir(self._folder))
        except OSError:  # there is no folder yet
            return 0

    def load(self, key: str) -> dict[str, np.ndarray] | None:
        """Read the arrays of a step; None if it has not been computed."""
        return read_arrays(self._folder / f"{key}{_SUFFIX}")

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


class RemoteStepFiles:
    """The same behind a URL; see ``StepFiles``."""

    def __init__(self, folder: RemotePath) -> None:
        self._target = RemoteTarget(folder)

    def count(self) -> int:
        """Return the number of steps that are done. Raises ExportError."""
        return len(self._target.keys(f"{_FOLDER}/"))

    def load(self, key: str) -> dict[str, np.ndarray] | None:
        """Read the arrays of a step; None if it has not been computed. Raises ExportError."""
        content = self._target.read(f"{_FOLDER}/{key}{_SUFFIX}")
        return None if content is None else unpack_arrays(content)

    def save(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write the arrays of a step, which the server has when this returns. Raises ExportError."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        self._target.put(f"{_FOLDER}/{key}{_SUFFIX}", buffer.getvalue())

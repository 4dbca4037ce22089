"""Export and table settings as ilastik's dialogs store them, put into a copy of a project."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np


def store(project: Path, **values: str | bytes) -> None:
    """Store export settings such as ``OutputFilenameFormat`` in a Pixel Classification project."""
    with h5py.File(project, "r+") as file:
        group = file.require_group("Prediction Export")
        if "StorageVersion" not in group:
            group["StorageVersion"] = "0.1"
        for name, value in values.items():
            if name in group:
                del group[name]
            group[name] = np.bytes_(value.encode() if isinstance(value, str) else value)


def store_table(project: Path, path: str, *, file_type: str = "csv", features: tuple[str, ...] = ("Count",)) -> None:
    """Set a project with objects up to write a table."""
    settings = {"file type": file_type, "file path": path, "margin": 0, "compression": {}, "include raw": False}
    content = pickle.dumps((settings, list(features)), protocol=0)
    with h5py.File(project, "r+") as file:
        name = "ObjectClassification/ExportSettings"
        if name in file:
            del file[name]
        file[name] = np.void(content)

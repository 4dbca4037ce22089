"""Inputs of recorded runs as arrays."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
from PIL import Image
from support.golden import GOLDEN

import pixelforest


def read_array(path: Path) -> np.ndarray:
    """Read a file that a recorded run names, such as raw.png or raw.h5/data; the array states no axes."""
    if path.parent.suffix == ".h5":
        with h5py.File(path.parent, "r") as file:
            array: np.ndarray = file[path.name][()]
            return array
    if path.suffix == ".tif":
        return tifffile.imread(path)
    with Image.open(path) as image:
        return np.asarray(image)


@cache
def load_golden(name: str, *, threads: int = 1) -> Any:
    """Load a project of tests/golden."""
    return pixelforest.load(GOLDEN / name / "project.ilp", device="cpu", threads=threads)


@cache
def golden_array(name: str, file: str = "raw.png") -> np.ndarray:
    """Read an input of a folder of tests/golden; read-only, since tests share it."""
    array = read_array(GOLDEN / name / file)
    array.flags.writeable = False
    return array

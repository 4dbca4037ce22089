"""Annotations in a project, read without the code under test.

ilastik exports Labels of zeros even for an image that the project was trained on; pixelforest exports the annotations
(docs/differences.md). Recorded runs of that kind are compared with these instead.
"""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
from support.recorded import assert_same_attributes, assert_same_values


def read_annotations(project: Path, shape: tuple[int, ...], group: str = "PixelClassification") -> np.ndarray:
    """The labels drawn on the first training image, of ``shape``, which is the image's with one channel."""
    labels = np.zeros(shape, np.uint8)
    with h5py.File(project, "r") as file:
        for block in file[f"{group}/LabelSets/labels000"].values():
            bounds = re.findall(r"(\d+):(\d+)", block.attrs["blockSlice"])
            labels[tuple(slice(int(start), int(stop)) for start, stop in bounds)] = block[()]
    return labels


def assert_annotations(
    found: h5py.Dataset, recorded: h5py.Dataset, project: Path, group: str = "PixelClassification"
) -> None:
    """Values are the project's annotations, where ilastik wrote zeros; the rest is as ilastik wrote it."""
    assert not recorded[()].any()
    annotations = read_annotations(project, recorded.shape, group)
    assert annotations.any()
    assert_same_values(found[()], annotations.astype(recorded.dtype))
    assert_same_attributes(found, recorded)

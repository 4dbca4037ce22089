"""A project in which one class has no labelled object was refused, although ilastik exports it with probability 0.

The recorded case obj2dt_pred_hyst_all holds the values; here is what such a project may say about its labels.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.golden import GOLDEN

from pixelforest.engine.errors import ProjectError
from pixelforest.engine.project import open_project, read_classifier

OBJECTS, PIXELS = "ObjectClassification", "PixelClassification"


def project_with(folder: Path, case: str, group: str, known: Sequence[int], names: int | None = None) -> Path:
    """A copy of a recorded project whose classifier says that it knows these labels, of so many classes."""
    copy = Path(shutil.copy(GOLDEN / case / "project.ilp", folder / "project.ilp"))
    with h5py.File(copy, "r+") as file:
        del file[f"{group}/ClassifierForests/known_labels"]
        file[f"{group}/ClassifierForests/known_labels"] = np.array(known, np.uint32)
        if names is not None:
            del file[f"{group}/LabelNames"]
            file[f"{group}/LabelNames"] = [f"class {i}".encode() for i in range(names)]
    return copy


@pytest.mark.sampled(2)
@pytest.mark.parametrize("known", [(1, 3), (2,), (1, 2, 3)])
@pytest.mark.parametrize("names", [3, 5], ids=["as many names as classes", "classes named later"])
def test_labels_of_no_object_are_classes_all_the_same(tmp_path: Path, known: tuple[int, ...], names: int) -> None:
    with open_project(project_with(tmp_path, "obj2dt_pred_hyst_all", OBJECTS, known, names)) as file:
        classifier = read_classifier(file, OBJECTS)
    assert (classifier.class_count, classifier.known_labels) == (3, (1, 2, 3))


@pytest.mark.parametrize("known", [(), (3, 1), (1, 1), (1, 4), (1, 2, 3, 4)])
def test_labels_that_ilastik_would_not_store_are_refused(tmp_path: Path, known: tuple[int, ...]) -> None:
    with (
        open_project(project_with(tmp_path, "obj2dt_pred_hyst_all", OBJECTS, known)) as file,
        pytest.raises(ProjectError, match=rf"known_labels.*names {len(known)} labels, but the forests know 3 classes"),
    ):
        read_classifier(file, OBJECTS)


def test_pixels_whose_classes_have_no_place_are_refused(tmp_path: Path) -> None:
    """Forests of pixels know the labels seen only; of three classes and two labels no one could say which is which."""
    with (
        open_project(project_with(tmp_path, "px2d_rgb", PIXELS, (1, 3), names=4)) as file,
        pytest.raises(ProjectError, match="names 2 labels, but the forests know 3 classes"),
    ):
        read_classifier(file)

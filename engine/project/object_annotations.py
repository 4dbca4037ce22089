"""Objects labelled by the user: names of the classes, and number of objects with each label."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from .annotations import MAX_LABEL, check_names
from .hdf5 import ProjectFile

GROUP = "ObjectClassification"


def read_object_class_names(file: ProjectFile) -> tuple[str, ...]:
    """Read the names of the object classes; a project without names has as many classes as its largest label."""
    names = file.texts(f"{GROUP}/LabelNames")
    if names:
        return check_names(file, f"{GROUP}/LabelNames", names)
    return tuple(f"Label {i + 1}" for i in range(len(count_object_labels(file))))


def count_object_labels(file: ProjectFile) -> tuple[int, ...]:
    """Count the objects of all training lanes with each label, from label 1 to the largest in use."""
    counts = np.zeros(MAX_LABEL + 1, np.int64)
    for lane in file.groups(f"{GROUP}/LabelInputs"):
        for frame in file.datasets(f"{GROUP}/LabelInputs/{lane}"):
            counts += np.bincount(_read_labels(file, f"{GROUP}/LabelInputs/{lane}/{frame}"), minlength=MAX_LABEL + 1)
    counts[0] = 0
    used = np.flatnonzero(counts)
    return tuple(int(n) for n in counts[1 : used[-1] + 1]) if used.size else ()


def read_object_labels(file: ProjectFile) -> dict[int, Mapping[int, np.ndarray]]:
    """Read the labels of objects: lane -> time point -> label of each id from 0, where 0 is none; only where some are.

    A vector ends where no further object has a label, or later. Raises ProjectError.
    """
    found = {}
    for lane in file.groups(f"{GROUP}/LabelInputs"):
        place = f"{GROUP}/LabelInputs/{lane}"
        times = {_number(file, f"{place}/{name}"): name for name in file.datasets(place)}
        read = {time: _read_labels(file, f"{place}/{times[time]}") for time in sorted(times)}
        if labelled := {time: labels for time, labels in read.items() if labels.any()}:
            found[_number(file, place)] = labelled
    return dict(sorted(found.items()))


def _read_labels(file: ProjectFile, place: str) -> np.ndarray:
    labels = file.array(place, "numbers")
    if labels is None or labels.size == 0:
        return np.zeros(1, np.intp)
    if not (np.isin(labels, np.arange(MAX_LABEL + 1)).all()):
        raise file.error(place, f"holds labels that are not integers from 0 to {MAX_LABEL}")
    return labels.reshape(-1).astype(np.intp)


def _number(file: ProjectFile, place: str) -> int:
    """Number of a lane or a time point, from the name of its entry."""
    name = place.rpartition("/")[2]
    if not re.fullmatch(r"\d{1,9}", name):
        raise file.error(place, "is not named by the number of an image or a time point; the file is damaged")
    return int(name)

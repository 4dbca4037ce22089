"""Objects labelled by the user: names of the classes, and number of objects with each label."""

from __future__ import annotations

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
            place = f"{GROUP}/LabelInputs/{lane}/{frame}"
            labels = file.array(place, "numbers")
            if labels is None or labels.size == 0:
                continue
            if not (np.isin(labels, np.arange(MAX_LABEL + 1)).all()):
                raise file.error(place, f"holds labels that are not integers from 0 to {MAX_LABEL}")
            counts += np.bincount(labels.reshape(-1).astype(np.intp), minlength=MAX_LABEL + 1)
    counts[0] = 0
    used = np.flatnonzero(counts)
    return tuple(int(n) for n in counts[1 : used[-1] + 1]) if used.size else ()

"""New projects from images and labels: label images or tables of points."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import UsageError, setting
from ..inputs.arguments import NATIVE
from ..inputs.images import open_image
from ..inputs.lanes import InputOptions
from ..project.annotations import MAX_LABEL
from ..project.hdf5_writer import NewLane, NewProject
from .features_option import parse_features
from .label_files import read_label_file


def describe_new_project(
    folder: Path,
    raw_data: Sequence[str],
    labels: Sequence[str],
    classes: Sequence[str],
    features: str,
    *,
    stack_along: str = "z",
) -> NewProject:
    """Read labels and describe the project that is made of them and the images.

    folder   of the project: paths in it are relative to that
    labels   a label image or a table of points for each image
    classes  names of the classes 1, 2, …; none: ``Label 1``, … for the labels that are found
    stack_along  axis along which several files become one image
    Raises InputError, UsageError.
    """
    if not raw_data or len(raw_data) != len(labels):
        raise UsageError(
            f"there are {len(raw_data)} images and {len(labels)} label images or tables; give the same number of both, "
            f"with {setting('raw_data')} and {setting('labels')}"
        )
    if len(set(classes)) != len(classes) or not all(classes) or len(classes) > MAX_LABEL:
        raise UsageError(f"{setting('classes')} takes different names, at most {MAX_LABEL}, separated by commas")
    options = InputOptions(stack_along=stack_along)
    lanes, largest, is_flat = [], 0, True
    for argument, label_argument in zip(raw_data, labels, strict=True):
        with open_image(argument, role_index=0, training=None, options=options) as image:
            image.verify()
            blocks = read_label_file(label_argument, image, classes, stack_along=stack_along)
            found = max((int(block.values.max()) for block in blocks), default=0)
            largest, is_flat = max(largest, found), image.shape[1] == 1
            path = NATIVE.separator.join(os.path.relpath(name, folder) for name in image.source_names)
            lanes.append(NewLane(path, image.nickname, image.axes, image.file_shape, blocks))
    names = tuple(classes) or tuple(f"Label {k + 1}" for k in range(largest))
    return NewProject(tuple(lanes), names, parse_features(features, flat=is_flat))

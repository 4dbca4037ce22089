"""New projects from images and labels: label images or tables of points."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputMismatch, UsageError, setting
from ..inputs.arguments import NATIVE
from ..inputs.images import InputImage, open_image
from ..inputs.lanes import InputOptions
from ..project import LabelBlock
from ..project.annotations import MAX_LABEL
from ..project.hdf5_writer import NewLane, NewProject
from ..storage.object_storage import is_url
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
    check_class_names(classes)
    lanes, largest, is_flat = [], 0, True
    for argument, label_argument in zip(raw_data, labels, strict=True):
        with open_new_image(argument, stack_along) as image:
            blocks = read_label_file(label_argument, image, classes, stack_along=stack_along)
            found = max((int(block.values.max()) for block in blocks), default=0)
            largest, is_flat = max(largest, found), is_flat and image.shape[1] == 1
            lanes.append(describe_image(image, folder, blocks))
    names = name_classes(classes, largest, labels)
    return NewProject(tuple(lanes), names, parse_features(features, flat=is_flat))


def check_class_names(classes: Sequence[str]) -> None:
    """Refuse names of classes that cannot be stored. Raises UsageError."""
    if len(set(classes)) != len(classes) or not all(classes) or len(classes) > MAX_LABEL:
        raise UsageError(f"{setting('classes')} takes different names, at most {MAX_LABEL}, separated by commas")
    for name in classes:
        _check_text(name, f"{setting('classes')}: the name {name!r}")


def name_classes(classes: Sequence[str], largest: int, labels: Sequence[str]) -> tuple[str, ...]:
    """Return the given names of classes, or ``Label 1`` to the largest label.

    Raises InputMismatch if nothing is labelled.
    """
    if not largest:
        raise InputMismatch(f"there are no labels to train from in {', '.join(labels)}")
    return tuple(classes) or tuple(f"Label {k + 1}" for k in range(largest))


def open_new_image(argument: str, stack_along: str) -> InputImage:
    """Open an image for a new project. Raises InputError, UsageError."""
    if is_url(argument):
        raise UsageError(f"{argument}: a new project refers to files; copy the image to this machine")
    image = open_image(argument, role_index=0, training=None, options=InputOptions(stack_along=stack_along))
    image.verify()
    return image


def describe_image(image: InputImage, folder: Path, blocks: tuple[LabelBlock, ...] = ()) -> NewLane:
    """Describe an image of a new project in a folder. Raises UsageError for a name that a project cannot store."""
    names = [os.path.relpath(name, folder) for name in image.source_names]
    for name in names:
        _check_text(name, f"the name of the image {name}")
        if NATIVE.separator in name:
            raise UsageError(
                f"the name of the image {name} has a {NATIVE.separator!r}, which separates files in projects; rename it"
            )
    return NewLane(NATIVE.separator.join(names), image.nickname, image.axes, image.file_shape, blocks)


def _check_text(text: str, what: str) -> None:
    """Refuse bytes that are no text: projects store UTF-8. Raises UsageError."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UsageError(f"{what} is not UTF-8, as ilastik's projects need; choose another one")

"""New projects from images and labels: label images or tables of points."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ...box import Box
from ..axes import size_text
from ..errors import InputMismatch, UsageError, setting
from ..inputs.images import InputImage, open_image
from ..inputs.lanes import InputOptions
from ..project import LabelBlock
from ..project.annotations import ERASER, MAX_LABEL
from ..project.hdf5_writer import NewLane, NewProject
from ..quotes import unquote
from .features_option import parse_features
from .points import is_point_table, read_points

_BLOCKS = {True: (1, 1, 256, 256, 1), False: (1, 32, 256, 256, 1)}  # flat, volume


def describe_new_project(
    folder: Path, raw_data: Sequence[str], labels: Sequence[str], classes: Sequence[str], features: str
) -> NewProject:
    """Read labels and describe the project that is made of them and the images.

    folder   of the project: paths in it are relative to that
    labels   a label image or a table of points for each image
    classes  names of the classes 1, 2, …; none: ``Label 1``, … for the labels that are found
    Raises InputError, UsageError.
    """
    if not raw_data or len(raw_data) != len(labels):
        raise UsageError(
            f"there are {len(raw_data)} images and {len(labels)} label images or tables; give the same number of both, "
            f"with {setting('raw_data')} and {setting('labels')}"
        )
    if len(set(classes)) != len(classes) or not all(classes) or len(classes) > MAX_LABEL:
        raise UsageError(f"{setting('classes')} takes different names, at most {MAX_LABEL}, separated by commas")
    lanes, largest, is_flat = [], 0, True
    for argument, label_argument in zip(raw_data, labels, strict=True):
        with ExitStack() as stack:
            image = stack.enter_context(_open(argument))
            if is_point_table(label_argument):
                blocks = tuple(_place_points(label_argument, image, classes))
            else:
                drawn = stack.enter_context(_open(label_argument))
                _check(image, drawn)
                blocks = tuple(_read_blocks(drawn))
            found = max((int(block.values.max()) for block in blocks), default=0)
            if classes and found > len(classes):
                raise InputMismatch(
                    f"{label_argument} has the label {found}, but {setting('classes')} names {len(classes)} classes"
                )
            largest, is_flat = max(largest, found), image.shape[1] == 1
            path = os.path.relpath(image.source_names[0], folder)
            lanes.append(NewLane(path, image.nickname, image.axes, image.file_shape, blocks))
    names = tuple(classes) or tuple(f"Label {k + 1}" for k in range(largest))
    return NewProject(tuple(lanes), names, parse_features(features, flat=is_flat))


def _open(argument: str) -> InputImage:
    image = open_image(argument, role_index=0, training=None, options=InputOptions())
    if image.sources != 1:
        image.close()
        raise InputMismatch(
            f"{argument} is a stack of {image.sources} files; a new project takes images of one file each: stack them "
            "in one, such as a TIFF"
        )
    return image


def _check(image: InputImage, drawn: InputImage) -> None:
    """Check that a label image fits its image. Raises InputMismatch."""
    if drawn.shape != (*image.shape[:4], 1):
        raise InputMismatch(
            f"the label image {drawn.path_text} has the size {size_text(drawn.shape)}, the image {image.path_text} "
            f"{size_text(image.shape)}; they must agree, and label images have one channel"
        )
    if drawn.dtype.kind not in "biu":
        raise InputMismatch(
            f"the label image {drawn.path_text} has values of type {drawn.dtype}; labels are integers: 0 for none, 1 "
            "for the first class"
        )


def _place_points(argument: str, image: InputImage, classes: Sequence[str]) -> Iterator[LabelBlock]:
    """Read a table of points into label blocks. Raises InputError."""
    path = Path(unquote(argument)).expanduser()
    points = read_points(path, image.shape[:4], classes, fits=image.path_text)
    _, block = np.unique(points.places // _BLOCKS[image.shape[1] == 1][:4], axis=0, return_inverse=True)
    for number in range(int(block.max(initial=-1)) + 1):
        is_in = block.reshape(-1) == number
        places = points.places[is_in]
        first = places.min(axis=0)
        values = np.zeros((*(places.max(axis=0) - first + 1), 1), np.uint8)
        values[(*(places - first).T, 0)] = points.labels[is_in]
        yield LabelBlock((*map(int, first), 0), values)


def _read_blocks(drawn: InputImage) -> Iterator[LabelBlock]:
    """Read the labelled parts of a label image, cut to their bounding boxes. Raises InputMismatch."""
    shape = _BLOCKS[drawn.shape[1] == 1]
    for slab in Box.whole(drawn.shape).split((*shape[:3], drawn.shape[3], 1)):
        values = drawn.read(slab)
        if not values.any():
            continue
        _check_values(drawn, values)
        for box in slab.split(shape):
            part = values[box.relative_to(slab.start).slices()]
            at = np.nonzero(part)
            if len(at[0]):
                first, stop = (tuple(int(f(a)) for a in at) for f in (np.min, lambda a: np.max(a) + 1))
                start = tuple(a + b for a, b in zip(box.start, first, strict=True))
                yield LabelBlock(start, part[Box(first, stop).slices()].astype(np.uint8))


def _check_values(drawn: InputImage, values: np.ndarray) -> None:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > MAX_LABEL:
        raise InputMismatch(
            f"the label image {drawn.path_text} has the label {low if low < 0 else high}; labels go from 1 to "
            f"{MAX_LABEL}, and 0 is none"
        )
    if (values == ERASER).any():
        raise InputMismatch(
            f"the label image {drawn.path_text} has the label {ERASER}, which erases in ilastik's projects; use another"
        )

"""Labels of pixels from files: label images, as ilastik, napari, QuPath and others save them, and tables of points.

A label image has integers, 0 where nothing is labelled, or a channel for each label, as in QuPath's multichannel
exports: 0 outside the label's pixels, 255 in them, and channel 0 empty.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...box import Box
from ..axes import size_text
from ..errors import InputMismatch, Setting, setting
from ..inputs.images import InputImage, open_image
from ..inputs.lanes import InputOptions
from ..project import LabelBlock
from ..project.annotations import ERASER, MAX_LABEL
from ..quotes import unquote
from .points import is_point_table, read_points

_BLOCKS = {True: (1, 1, 256, 256, 1), False: (1, 32, 256, 256, 1)}  # flat, volume
_IN_CHANNEL = 255
CLASSES = setting("classes")

logger = logging.getLogger("pixelforest.training")


def read_label_file(
    argument: str,
    image: InputImage,
    classes: Sequence[str],
    *,
    stack_along: str = "z",
    option: Setting = CLASSES,
) -> tuple[LabelBlock, ...]:
    """Read the labels of an image from a label image or a table of points.

    classes      names of the classes 1, 2, …; empty if they have none
    stack_along  axis along which several files become one label image
    option       setting that names the classes, for messages
    Raises InputError, and InputMismatch for labels that do not fit the image or the classes.
    """
    if is_point_table(argument):
        blocks = tuple(_place_points(argument, image, classes))
    else:
        with open_label_image(argument, image, stack_along=stack_along) as drawn:
            blocks = tuple(_read_blocks(drawn))
    largest = max((int(block.values.max()) for block in blocks), default=0)
    if classes and largest > len(classes):
        raise InputMismatch(f"{argument} has the label {largest}, but {option} names {len(classes)} classes")
    return blocks


def open_label_image(argument: str, image: InputImage, *, stack_along: str = "z") -> InputImage:
    """Open a label image, and check that it fits its image. Raises InputError, InputMismatch.

    One that fits its image only if its axes t, z and c are those of the image in the same order is read so: napari
    states no axes, files of three or four planes say that these are colours, and ImageJ calls planes slices.
    """
    options = InputOptions(has_labels=True, stack_along=image.ref.options.stack_along)
    drawn = open_image(argument, role_index=0, training=None, options=options)
    axes, shape = zip(*((a, n) for a, n in zip(image.axes, image.file_shape, strict=True) if a != "c"), strict=True)
    is_in_order = not drawn.has_own_axes or all(drawn.axes.index(a) == axes.index(a) for a in "yx")
    if drawn.shape[:4] != image.shape[:4] and drawn.file_shape == shape and is_in_order:
        drawn.close()
        logger.info("%s: it is read with the axes of its image, %s", argument, "".join(axes))
        options = replace(options, input_axes=("".join(axes),))
        drawn = open_image(argument, role_index=0, training=None, options=options, announce=False)
    try:
        _check(image, drawn)
    except InputMismatch:
        drawn.close()
        raise
    return drawn


def _check(image: InputImage, drawn: InputImage) -> None:
    if drawn.shape[:4] != image.shape[:4]:
        raise InputMismatch(
            f"the label image {drawn.path_text} has the size {size_text(drawn.shape)}, the image {image.path_text} "
            f"{size_text(image.shape)}; they must agree but for the channels"
        )
    if drawn.dtype.kind not in "biu":
        raise InputMismatch(
            f"the label image {drawn.path_text} has values of type {drawn.dtype}; labels are integers: 0 for none, 1 "
            "for the first class"
        )


def _place_points(argument: str, image: InputImage, classes: Sequence[str]) -> Iterator[LabelBlock]:
    """Read a table of points into label blocks. Raises InputError."""
    path = Path(unquote(argument)).expanduser()
    points = read_points(path, image.shape[:4], classes, fits=image.path_text, axes=image.axes)
    yield from make_blocks(points.places, points.labels, is_flat=image.shape[1] == 1)


def make_blocks(places: np.ndarray, labels: np.ndarray, *, is_flat: bool) -> Iterator[LabelBlock]:
    """Make label blocks of the labels of single voxels (n, 4), in the blocks that label images are divided into."""
    _, block = np.unique(places // _BLOCKS[is_flat][:4], axis=0, return_inverse=True)
    order = np.argsort(block.reshape(-1), kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(block.reshape(-1)[order])) + 1) if len(order) else ():
        own = places[members]
        first = own.min(axis=0)
        values = np.zeros((*(own.max(axis=0) - first + 1), 1), np.uint8)
        values[(*(own - first).T, 0)] = labels[members]
        yield LabelBlock((*map(int, first), 0), values)


def _read_blocks(drawn: InputImage) -> Iterator[LabelBlock]:
    """Read the labelled parts of a label image, cut to their bounding boxes. Raises InputMismatch."""
    shape = _BLOCKS[drawn.shape[1] == 1]
    for slab in Box.whole(drawn.shape).split((*shape[:3], *drawn.shape[3:])):
        values = drawn.read(slab)
        if not values.any():
            continue
        if drawn.shape[4] > 1:
            values = _join_channels(drawn, values, slab)
        _check_values(drawn, values)
        place = Box((*slab.start[:4], 0), (*slab.stop[:4], 1))
        for box in place.split(shape):
            part = values[box.relative_to(place.start).slices()]
            at = np.nonzero(part)
            if len(at[0]):
                first, stop = (tuple(int(f(a)) for a in at) for f in (np.min, lambda a: np.max(a) + 1))
                start = tuple(a + b for a, b in zip(box.start, first, strict=True))
                yield LabelBlock(start, part[Box(first, stop).slices()].astype(np.uint8))


def _join_channels(drawn: InputImage, values: np.ndarray, slab: Box) -> np.ndarray:
    """Join the channels of a label image: the label of a voxel is the index of its channel. Raises InputMismatch."""
    is_set = values == _IN_CHANNEL
    if is_set[..., 0].any() or not (is_set | (values == 0)).all():
        raise InputMismatch(
            f"the label image {drawn.path_text} has {drawn.shape[4]} channels; labels have one, or a channel for each, "
            f"with the values 0 and {_IN_CHANNEL}, and channel 0 empty"
        )
    several = np.argwhere(is_set.sum(axis=-1) > 1)
    if len(several):
        at = (n + start for n, start in zip(several[0].tolist(), slab.start, strict=False))
        place = ", ".join(f"{axis}={n}" for axis, n in zip("tzyx", at, strict=True))
        raise InputMismatch(f"the label image {drawn.path_text} has several labels at {place}; keep one for each voxel")
    labels: np.ndarray = is_set.argmax(axis=-1)[..., np.newaxis]
    return labels


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

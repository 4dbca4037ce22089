"""Arrays as opened images, in the axes that they state, that are given, or of the project's training image."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...box import Box
from ...frozen import frozen
from ..axes import default_axes
from ..errors import InputMismatch, UsageError, setting
from ..formats.spec import ImageInfo, ImageReader
from ..inputs.axes_rule import AxesRule
from ..inputs.images import InputImage
from ..project import Project, TrainingImage
from .kinds import Given, check_axes, is_on_device, look_at, name_kind

logger = logging.getLogger("pixelforest.inputs")


class ArrayReader(ImageReader):
    """Reader of an array: anything with slices that can be converted to NumPy arrays.

    start  position of its first voxel in the image that ``info`` describes
    """

    def __init__(self, data: Any, info: ImageInfo, start: Sequence[int]) -> None:
        self._data, self._start = data, tuple(start)
        self.info = info

    def read(self, box: Box) -> np.ndarray:
        # Always a copy: kernels are compiled for writable arrays in C order.
        return np.array(self._data[box.relative_to(self._start).slices()], self.info.dtype, order="C")

    def close(self) -> None:
        """Do nothing: the array is the caller's."""


@frozen(eq=False)
class ArrayLane:
    """Inputs of one call.

    given   by role, as they were given
    images  by role
    main    role of the image that the results belong to
    """

    given: Mapping[str, Given]
    images: Mapping[str, InputImage]
    main: str

    @property
    def image(self) -> InputImage:
        return self.images[self.main]


def open_lane(project: Project, values: Mapping[str, tuple[str, object]], axes: str | None) -> ArrayLane:
    """Open the arrays of a call.

    Parameters
    ----------
    project
        The project.
    values
        Role -> (argument, value); the main role first.
    axes
        Letters of the main image; None: those that it states, else those of the training image.

    Raises
    ------
    InputMismatch
        For arrays that cannot be used, or whose axes are not known.
    UsageError
        For ``axes`` that are no axis order.
    """
    main = project.roles[0]
    given = {role: look_at(argument, value) for role, (argument, value) in values.items()}
    training = project.lanes[-1].images if project.lanes else {}
    image = _open(given[main], None if axes is None else check_axes(axes), training.get(main))
    images = {main: image}
    for role, each in given.items():
        if role != main:
            images[role] = _open(each, each.letters or _axes_like(image, each), None)
    return ArrayLane(given, images, main)


def check_places(lane: ArrayLane, out: Sequence[Any]) -> None:
    """Raise InputMismatch unless all arrays of a call are on the host, or all in the memory of a device.

    Parameters
    ----------
    lane
        Inputs.
    out
        Arrays for the results that were given.
    """
    main = lane.given[lane.main]
    others = [(each.argument, each.data) for each in lane.given.values()] + [("out", each) for each in out]
    for argument, data in others:
        if is_on_device(data) != main.is_on_device:
            here, there = ("host memory", "the memory of a device")[:: -1 if is_on_device(data) else 1]
            raise InputMismatch(
                f"{argument} ({name_kind(data)}) is in {here}, but {main.argument} in {there}; copy one of them, such "
                "as with cupy.asarray or cupy.asnumpy"
            )


def _axes_like(image: InputImage, given: Given) -> str:
    """Axes of an array that belongs to the image and states none: those of the image, with or without channels."""
    _refuse_names(given)
    dimensions = len(given.shape)
    without = image.axes.replace("c", "")
    candidates = (image.axes, f"{image.axes}c" if without == image.axes else without)
    for axes in candidates:
        if len(axes) == dimensions:
            return axes
    raise InputMismatch(
        f"{given.argument} has the shape {given.shape}, but the image the axes {image.axes}; it needs the axes "
        f"{' or '.join(candidates)}"
    )


def _open(given: Given, axes: str | None, training: TrainingImage | None) -> InputImage:
    if axes is None:
        _refuse_names(given)
    rule = AxesRule(
        given.argument,
        axes,
        training,
        is_trained=True,
        axes_option=_spell_axes,
        log=partial(_log, logger),
    )
    info = ImageInfo(
        given.shape,
        given.dtype,
        given.letters or default_axes(given.shape),
        own_axes=given.letters is not None,
        chunks=given.chunks,
    )
    chosen = rule.choose_for_image(info)
    if chosen != info.axes:
        info = ImageInfo(given.shape, given.dtype, chosen, own_axes=info.own_axes, chunks=info.chunks)
    return open_array(given.argument, given.data, info)


def open_array(name: str, data: Any, info: ImageInfo, *, start: Sequence[int] | None = None) -> InputImage:
    """Open an array as an image.

    Parameters
    ----------
    name
        Name for messages.
    data
        Array of the image, or of a part of it.
    info
        Facts about the image.
    start
        Position of the part in the image; None: its origin.
    """
    return InputImage(
        ArrayReader(data, info, (0,) * len(info.shape) if start is None else start),
        info,
        (),
        path_text=name,
        nickname=name,
        axes_option=_spell_axes,
        dataset_dir=Path(),
    )


def _refuse_names(given: Given) -> None:
    """Raise UsageError for an array whose dimensions have names that are no axis letters."""
    if given.frame is not None and given.letters is None:
        raise UsageError(
            f"the dimensions of {given.argument} are {', '.join(map(str, given.frame.dims))}; rename them to letters "
            f"out of t, z, y, x, c, or give the letters of the image with {setting('input_axes')}"
        )


def _spell_axes(axes: str) -> str:
    return f"{setting('input_axes')}={axes!r}"


def _log(target: logging.Logger, level: int, message: str, *arguments: object) -> None:
    """Log choices of axes at a low level: a program that calls this a thousand times has made them once."""
    target.debug(message, *arguments)

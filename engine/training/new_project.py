"""New projects from images and labels: label images or tables of points."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ...frozen import frozen
from ..errors import InputMismatch, Setting, UsageError, setting
from ..inputs.arguments import NATIVE
from ..inputs.images import InputImage, open_image
from ..inputs.lanes import InputOptions
from ..project import LabelBlock
from ..project.annotations import MAX_LABEL
from ..project.hdf5_writer import NewLane
from ..project.pixel_writer import NewPixelProject, NewStage
from ..storage.object_storage import is_url
from .features_option import parse_features
from .label_files import read_label_file


@frozen
class StageRequest:
    """Labels, classes and features of a classifier of a new project, as typed.

    labels    a label image or a table of points for each image
    classes   names of the classes 1, 2, …; none: ``Label 1``, … for the labels that are found
    features  see ``features_option.parse_features``
    number    of the stage
    """

    labels: tuple[str, ...]
    classes: tuple[str, ...]
    features: str
    number: int = 1

    def setting(self, name: str) -> Setting:
        """Return the setting of this stage, such as ``labels_2`` of the second one."""
        return setting(name if self.number == 1 else f"{name}_{self.number}")


def describe_new_project(
    folder: Path, raw_data: Sequence[str], stages: Sequence[StageRequest], *, stack_along: str = "z"
) -> NewPixelProject:
    """Read labels and describe the project that is made of them and the images.

    folder       of the project: paths in it are relative to that
    stack_along  axis along which several files become one image
    Raises InputError, UsageError.
    """
    for stage in stages:
        if not raw_data or len(raw_data) != len(stage.labels):
            raise UsageError(
                f"there are {len(raw_data)} images and {len(stage.labels)} label images or tables; give the same "
                f"number of both, with {setting('raw_data')} and {stage.setting('labels')}"
            )
        check_class_names(stage.classes, stage.setting("classes"))
    lanes, is_flat = [], True
    drawn: list[list[tuple[LabelBlock, ...]]] = [[] for _ in stages]
    for number, argument in enumerate(raw_data):
        with open_new_image(argument, stack_along) as image:
            found: dict[tuple[str, tuple[str, ...]], tuple[LabelBlock, ...]] = {}
            for stage, blocks in zip(stages, drawn, strict=True):
                labels, classes = key = stage.labels[number], stage.classes
                if key not in found:  # stages may share it
                    found[key] = read_label_file(
                        labels, image, classes, stack_along=stack_along, option=stage.setting("classes")
                    )
                blocks.append(found[key])
            is_flat = is_flat and image.shape[1] == 1
            lanes.append(describe_image(image, folder))
    described = [
        NewStage(
            name_classes(stage.classes, _largest(blocks), stage.labels),
            parse_features(stage.features, flat=is_flat, stage=stage.number, option=stage.setting("features")),
            tuple(blocks),
        )
        for stage, blocks in zip(stages, drawn, strict=True)
    ]
    return NewPixelProject(tuple(lanes), tuple(described))


def _largest(lanes: Sequence[Sequence[LabelBlock]]) -> int:
    """Return the largest label of all images, 0 if there is none."""
    return max((int(block.values.max()) for blocks in lanes for block in blocks), default=0)


def check_class_names(classes: Sequence[str], option: Setting) -> None:
    """Refuse names of classes that cannot be stored; ``option`` gives them. Raises UsageError."""
    if len(set(classes)) != len(classes) or not all(classes) or len(classes) > MAX_LABEL:
        raise UsageError(f"{option} takes different names, at most {MAX_LABEL}, separated by commas")
    for name in classes:
        _check_text(name, f"{option}: the name {name!r}")


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


def describe_image(image: InputImage, folder: Path) -> NewLane:
    """Describe an image of a new project in a folder. Raises UsageError for a name that a project cannot store."""
    names = [os.path.relpath(name, folder) for name in image.source_names]
    for name in names:
        _check_text(name, f"the name of the image {name}")
        if NATIVE.separator in name:
            raise UsageError(
                f"the name of the image {name} has a {NATIVE.separator!r}, which separates files in projects; rename it"
            )
    return NewLane(NATIVE.separator.join(names), image.nickname, image.axes, image.file_shape)


def _check_text(text: str, what: str) -> None:
    """Refuse bytes that are no text: projects store UTF-8. Raises UsageError."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UsageError(f"{what} is not UTF-8, as ilastik's projects need; choose another one")

"""Random labels for the images of a project, those that ilastik adds for tests of speed: the same in every run."""

from __future__ import annotations

import logging
from math import prod
from pathlib import Path

import numpy as np

from ..axes import canonical_shape
from ..errors import ProjectError, UsageError, setting
from ..project import LabelBlock, TrainingImage, open_project, read_common, read_label_names, read_workflow
from ..project.annotations import ERASER, MAX_LABEL
from ..project.pixel_project import KIND, RAW
from ..project.pixel_writer import write_labels
from .kinds import CLASSIFIERS
from .label_files import make_blocks
from .stage import check_place

_SEED = 1  # with the number of the image

logger = logging.getLogger("pixelforest.training")


def add_random_labels(path: Path, *, count: int, value: int) -> None:
    """Label ``count`` random pixels of every image of a project with one label, and save it without its classifier.

    Raises ProjectError, UsageError, ExportError.
    """
    if not 1 <= value <= MAX_LABEL or value == ERASER:
        raise UsageError(f"{setting('random_label_value')} goes from 1 to {MAX_LABEL}, without {ERASER}, not {value}")
    check_place(path, path)
    with open_project(path) as file:
        kind = read_workflow(file, CLASSIFIERS)
        if kind is not KIND:
            raise UsageError(
                f"{setting('generate_random_labels')} goes with projects of {KIND.name}, not of {kind.name}"
            )
        project = read_common(file, path, kind)
        names = read_label_names(file)
    labels: dict[int, tuple[TrainingImage, tuple[LabelBlock, ...]]] = {}
    for number, lane in enumerate(project.lanes):
        image = lane.images.get(RAW)
        if image is None or image.shape is None:
            raise ProjectError(
                f"{path} does not say how large training image {number + 1} is; open and save it in ilastik"
            )
        shape = canonical_shape(image.shape, image.axes)[:4]
        if count > prod(shape):
            raise UsageError(
                f"{setting('random_label_count')} is {count}, but image {number + 1} has {prod(shape)} pixels"
            )
        places = np.stack(np.unravel_index(_draw(count, prod(shape), number), shape), axis=1)
        blocks = make_blocks(places, np.full(count, value, np.uint8), is_flat=shape[1] == 1)
        labels[number] = image, tuple(blocks)
        logger.info("Labelled %d random pixels of image %d", count, number + 1)
    added = (f"Label {k + 1}" for k in range(len(names), value))
    write_labels(path, (*names, *added), labels)


def _draw(count: int, pixels: int, image: int) -> np.ndarray:
    """Draw different pixels of an image, as ilastik does: one that is drawn again is left out."""
    generator = np.random.RandomState([_SEED, image])
    found: dict[int, None] = {}
    while len(found) < count:
        found[int(generator.randint(0, pixels))] = None
    return np.array(list(found), np.int64)

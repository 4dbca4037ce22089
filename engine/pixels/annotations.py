"""The user's annotations of an image, for images that the project was trained on.

An input is matched to a training image by its file; if the file has moved, by its voxels; and if no file exists at the
stored path, by the file's name and the size, which is not certain and therefore logged.
"""

from __future__ import annotations

import glob
import logging
import ntpath
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ...box import Box
from ...frozen import frozen
from ..axes import canonical_shape
from ..errors import PixelforestError
from ..inputs.arguments import NATIVE, WINDOWS, split_internal, split_list
from ..inputs.images import InputImage, open_image
from ..inputs.lanes import InputOptions
from ..inputs.stack import PICTURE_AXES
from ..project import LabelBlock, PixelProject, Project, TrainingImage, read_label_blocks
from ..project.annotations import ERASER
from ..storage.object_storage import is_url

COMPARED_VOXELS = 1 << 22  # compared at a time

logger = logging.getLogger("pixelforest.pixels")


@frozen
class Annotations:
    """Labels of one image; blocks in the order in which they overwrite each other."""

    blocks: Sequence[LabelBlock]

    def read(self, tile: Box) -> np.ndarray:
        """Read the labels of a tile (t, z, y, x, c) of one time point: (z, y, x, 1) uint8, 0 where none is drawn."""
        place = Box((*tile.start[:4], 0), (*tile.stop[:4], 1))
        found = np.zeros(place.shape, np.uint8)
        for block in self.blocks:
            box = Box(block.start, tuple(a + n for a, n in zip(block.start, block.values.shape, strict=True)))
            common = box.intersect(place)
            if common.is_empty:
                continue
            drawn = block.values[common.relative_to(box.start).slices()]
            into = found[common.relative_to(place.start).slices()]
            np.copyto(into, np.where(drawn == ERASER, 0, drawn), where=drawn != 0)
        labels: np.ndarray = found[0]
        return labels


def find_annotations(project: PixelProject, image: InputImage, role: str) -> Annotations:
    """Find the annotations of an image; none, with a warning, if the project was not trained on it.

    role   role of the image
    Raises ProjectError.
    """
    lane = _find_lane(project, image, role)
    if lane is None:
        logger.warning(
            "%s is none of the images that the project was trained on: it has no annotations, so its Labels are zero",
            image.path_text,
        )
        return Annotations(())
    blocks = read_label_blocks(project, lane, project.labels_group)
    if not any(block.values.any() for block in blocks):
        logger.warning("%s: nobody has annotated this training image, so its Labels are zero", image.path_text)
    return Annotations(blocks)


def _find_lane(project: PixelProject, image: InputImage, role: str) -> int | None:
    """Find the training lane of an image, or None."""
    trained = {i: lane.images[role] for i, lane in enumerate(project.lanes) if role in lane.images}
    alike = {i: found for i, found in trained.items() if _may_be_of_size(found, image.shape)}
    absent: list[int] = []
    copies: list[int] = []
    for lane, found in alike.items():
        original = _open_training_image(project, found)
        if original is None:
            absent.append(lane)
            continue
        with original:
            if original.shape != image.shape:
                continue
            if _is_same_file(original, image):
                return lane
            if not copies and _is_same_content(original, image):
                copies.append(lane)
    if copies:
        logger.info("%s holds the same voxels as training image %d", image.path_text, copies[0] + 1)
        return copies[0]
    named = [lane for lane in absent if _is_same_name(alike[lane], image)]
    if len(named) != 1:
        return None
    logger.warning(
        "%s is taken for training image %d because its name and size are the same; %s, where the project expects that "
        "image, is not there to compare with",
        image.path_text,
        named[0] + 1,
        alike[named[0]].file_path or "a file",
    )
    return named[0]


def _may_be_of_size(found: TrainingImage, shape: tuple[int, ...]) -> bool:
    return found.shape is None or canonical_shape(found.shape, found.axes) == shape


def _open_training_image(project: PixelProject, found: TrainingImage) -> InputImage | None:
    """Open a training image; None if missing or unreadable. Servers and devices that a project names are not used."""
    places = [place_inside(project, found)] if found.internal else places_beside(project, found)
    if not places or any(is_url(place) for place in places) or not found.axes:
        return None
    if not all(is_file_or_folder(place) for place in places):
        return None
    options, argument = training_options(project, found), NATIVE.separator.join(places)
    try:
        return open_image(argument, role_index=0, training=found, options=options, announce=False)
    except (PixelforestError, OSError):
        return None


def place_inside(project: Project, found: TrainingImage) -> str:
    """Return the path of an image that is stored inside the project, as that of a dataset in an HDF5 file."""
    return f"{project.path}/{found.internal.strip('/')}"


def places_beside(project: Project, found: TrainingImage) -> list[str]:
    """Return the paths of an image's files; those that are relative are relative to the folder of the project."""
    return [str(project.path.parent / part) for part in split_list(found.file_path)]


def training_options(project: Project, found: TrainingImage) -> InputOptions:
    """Return the options for opening a training image; if it is a stack, its axes tell what it runs along."""
    along = "c" if found.axes == "xyc" else found.axes[:1]
    return InputOptions(project_dir=project.path.parent, stack_along=along if along in PICTURE_AXES else "z")


def is_file_or_folder(place: str) -> bool:
    """Return True for a file, a folder or a pattern; False for devices and pipes, since reading them would block."""
    for external, _ in split_internal(place):
        modes = [mode for each in (external, *glob.glob(external)) if (mode := _mode(each))]
        if modes:
            return all(stat.S_ISREG(mode) or stat.S_ISDIR(mode) for mode in modes)
    return False


def _mode(path: str) -> int:
    """Return the mode of a file, 0 if there is none."""
    try:
        return Path(path).stat().st_mode
    except (OSError, ValueError):
        return 0


def _is_same_file(original: InputImage, image: InputImage) -> bool:
    files, others = ([file.resolve() for file in each.files] for each in (original, image))
    return files == others and original.nickname == image.nickname


def _is_same_content(original: InputImage, image: InputImage) -> bool:
    if original.dtype != image.dtype:
        return False
    for slab in _slabs(image.shape):
        try:
            expected = original.read(slab)
        except PixelforestError:  # errors of a training image are no reason to fail
            return False
        if not np.array_equal(expected, image.read(slab), equal_nan=image.dtype.kind == "f"):
            return False
    return True


def _slabs(shape: tuple[int, ...]) -> Iterator[Box]:
    """Yield groups of rows of every plane, all channels."""
    times, planes, height, width, channels = shape
    rows = max(1, COMPARED_VOXELS // (width * channels))
    for time in range(times):
        for z in range(planes):
            for y in range(0, height, rows):
                yield Box((time, z, y, 0, 0), (time + 1, z + 1, min(y + rows, height), width, channels))


def _is_same_name(found: TrainingImage, image: InputImage) -> bool:
    """Return True if the file has the name that the project stores, whichever system wrote it."""
    if found.shape is None or not found.file_path:
        return False
    return _names(found.file_path) == _names(image.path_text)


def _names(path: str) -> list[tuple[str, str]]:
    """List the name of each file in a list of paths, and the internal path in it."""
    style = WINDOWS if re.match(r"[A-Za-z]:[\\/]", path) else NATIVE
    cuts = [split_internal(part, WINDOWS)[0] for part in split_list(path, style)]
    return [(ntpath.basename(external), internal) for external, internal in cuts]

"""Samples of a project that classifies objects: the features of its labelled objects.

Samples are in the order of the lanes, then of the time points, then of the objects' ids, which is ilastik's order.
Objects are found and measured as for prediction; features that are not finite become 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from math import prod

import numpy as np

from ..axes import size_text
from ..errors import InputMismatch, ProjectError, setting
from ..inputs.images import InputImage
from ..objects.classify import assemble_rows, check_width
from ..objects.feature_catalogue import name_values
from ..project import ObjectProject
from ..resources import Resources
from ..storage.scratch import Scratch
from ..tiling.frame_progress import FrameMeter
from ..workflows.objects.frame import Frame, Lane
from ..workflows.objects.inputs import ATLAS, RAW, SOURCES, check_images, dimensions_of
from .samples import Samples, open_training_images

Labels = Mapping[int, np.ndarray]  # time point -> label of each id from 0


@contextmanager
def open_object_images(
    project: ObjectProject, lanes: Mapping[int, Labels], replacements: Mapping[str, tuple[str, ...]]
) -> Iterator[dict[int, dict[str, InputImage]]]:
    """Open the images of training lanes within the context: lane -> role -> image.

    replacements  images that have moved, by role; see ``samples.open_training_images``
    Raises InputError, UsageError, ProjectError.
    """
    roles = [role for role in project.roles if role in (RAW, *SOURCES)]
    found: dict[int, dict[str, InputImage]] = {lane: {} for lane in lanes}
    with ExitStack() as stack:
        for role in roles:
            _open_role(project, role, list(lanes), replacements, found, stack)
        if project.pixels is not None:  # the pixel stage takes the atlas as its mask
            masked = [lane for lane in lanes if ATLAS in project.lanes[lane].images]
            _open_role(project, ATLAS, masked, replacements, found, stack)
        for images in found.values():
            check_images(project, images)
        yield found


def _open_role(
    project: ObjectProject,
    role: str,
    lanes: list[int],
    replacements: Mapping[str, tuple[str, ...]],
    found: dict[int, dict[str, InputImage]],
    stack: ExitStack,
) -> None:
    images = stack.enter_context(open_training_images(project, role, lanes, replacements.get(role, ())))
    for lane, image in images.items():
        found[lane][role] = image


def collect_objects(
    project: ObjectProject,
    images: Mapping[int, Mapping[str, InputImage]],
    labels: Mapping[int, Labels],
    resources: Resources,
) -> Samples:
    """Find and measure the labelled objects. ``images`` and ``labels`` by lane.

    Raises InputMismatch if the labels do not fit the objects, or the images each other; MemoryTooSmall.
    """
    columns = [column_names(project, images[lane]) for lane in labels]
    for lane, names in zip(labels, columns, strict=True):
        if len(names) != len(columns[0]):
            first, other = images[next(iter(labels))][RAW], images[lane][RAW]
            raise InputMismatch(
                f"{other.path_text} ({size_text(other.shape)}) has {len(names)} feature values an object, "
                f"{first.path_text} ({size_text(first.shape)}) {len(columns[0])}; all training images need the same "
                "number of channels, and either all or none of them several z slices"
            )
    width = len(columns[0]) if columns else 0
    rows, values, lanes = [np.empty((0, width), np.float32)], [np.empty(0, np.intp)], [np.empty(0, np.intp)]
    for lane, own in labels.items():
        where = Lane(project, images[lane], resources)
        for time, given in own.items():
            features, marked = _measure_labelled(where, time, given, width)
            rows.append(features)
            values.append(marked)
            lanes.append(np.full(len(marked), lane))
    return Samples(np.concatenate(rows), np.concatenate(values), np.concatenate(lanes))


def column_names(project: ObjectProject, images: Mapping[str, InputImage]) -> tuple[str, ...]:
    """Name the columns of the classifier for the images of a lane."""
    raw = images[RAW]
    return name_values(project.features.selected, dimensions=dimensions_of(raw), channels=raw.shape[4])


def _measure_labelled(lane: Lane, time: int, labels: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Measure the labelled objects of a frame: features (n, width), and the label of each."""
    name = lane.raw.path_text
    if time >= lane.raw.shape[0]:
        raise ProjectError(f"objects of time point {time} have labels, but {name} has {lane.raw.shape[0]} time points")
    with Scratch(lane.scratch_bytes) as scratch:
        frame = Frame(lane, time, scratch, FrameMeter(_ignore, prod(lane.shape)))
        found = frame.label(frame.segment({}))
        if len(labels) > found.count + 1:
            raise InputMismatch(
                f"{name}, time point {time}, has {found.count} objects, but the project has labels for "
                f"{len(labels) - 1}: the objects are others now; restore the segmentation and the thresholds that were "
                f"labelled, or name the right images, such as with {setting('raw_data')}"
            )
        measured = frame.measure(found, lane.project.features.measured(everything=False))
    marked = np.flatnonzero(labels)
    selected = lane.project.features.selected
    check_width(measured.values, selected, columns=width)
    return assemble_rows(measured.values, selected, marked - 1), labels[marked]


def _ignore(voxels: int) -> None:
    """Report no progress."""

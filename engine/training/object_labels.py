"""Labels of objects for a new project, from what labels pixels, or from a table of the objects' ids.

A label image of classes or a table of points labels the objects that it touches: an object has the class drawn on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np

from ...box import Box
from ..errors import InputMismatch
from ..objects.label import LabelFrame, label_components, plan_slabs
from ..project import LabelBlock
from ..quotes import unquote
from ..storage.scratch import Scratch
from ..tiling.frame_progress import FrameMeter
from ..workflows.objects.frame import Frame, Lane
from ..workflows.objects.inputs import SOURCES
from .label_files import read_label_file
from .points import LabelPoints, find_ids, is_point_table, read_objects

_SLAB_VOXELS = 1 << 22


def label_objects(lane: Lane, argument: str, classes: Sequence[str], *, stack_along: str) -> tuple[np.ndarray, ...]:
    """Label the objects of a lane: for each time point the class of each id from 0, float64, 0 for none.

    argument  label image or table of points, see ``read_label_file``; or a table with ids in the column ``object``,
              where objects of a label image have its values, or in ``labelimage_oid``, as tables of objects have them
    stack_along  axis along which several files become one image
    Raises InputError, and InputMismatch for a label without an object or an object with several classes.
    """
    path = Path(unquote(argument)).expanduser()
    column = find_ids(path) if is_point_table(argument) else None
    times = lane.raw.shape[0]
    if column is None:
        blocks = read_label_file(argument, lane.raw, classes, stack_along=stack_along)
    else:
        rows = read_objects(path, column, times, classes, fits=lane.raw.path_text)
    vectors = []
    for time in range(times):
        with Scratch(lane.scratch_bytes) as scratch:
            frame = Frame(lane, time, scratch, FrameMeter(lambda voxels: None, prod(lane.shape)))
            found = frame.label(frame.segment({}))
            if column is None:
                drawn = _draw(blocks, time, lane, scratch)
                ids, labels = _touched(found, drawn, lane, scratch, f"at t={time}", argument)
            else:
                ids, labels = _named(found, rows, time, column, lane, argument)
            vectors.append(_assign(ids, labels, found.count, lane, argument))
    return tuple(vectors)


def _draw(blocks: Sequence[LabelBlock], time: int, lane: Lane, scratch: Scratch) -> np.ndarray:
    """Assemble the labels of a frame (z, y, x)."""
    drawn = scratch.array(lane.shape, np.uint8)
    for block in blocks:
        start, values = block.start[1:4], block.values[..., 0]
        if block.start[0] <= time < block.start[0] + len(values):
            stop = tuple(a + n for a, n in zip(start, values.shape[1:], strict=True))
            drawn[Box(start, stop).slices()] = values[time - block.start[0]]
    return drawn


def _touched(
    found: LabelFrame, drawn: np.ndarray, lane: Lane, scratch: Scratch, when: str, argument: str
) -> tuple[np.ndarray, np.ndarray]:
    """Find the pairs of an object and a label drawn on it. Every connected label must touch an object."""
    strokes = label_components(
        lambda box: drawn[box.slices()], lane.shape, drawn.dtype, resources=lane.work, scratch=scratch
    )
    touches, pairs = np.zeros(strokes.count + 1, np.bool_), [np.empty((0, 2), np.int64)]
    slabs = plan_slabs(lane.shape, _SLAB_VOXELS)
    for slab in slabs:
        ids, labels = found.labels[slab.slices()], drawn[slab.slices()]
        is_both = (ids > 0) & (labels > 0)
        touches[strokes.labels[slab.slices()][is_both]] = True
        pairs.append(np.unique(np.stack([ids[is_both], labels[is_both]], axis=1).astype(np.int64), axis=0))
    for lost in np.flatnonzero(~touches[1:])[:1] + 1:
        places = (np.argwhere(strokes.labels[slab.slices()] == lost) + slab.start for slab in slabs)
        z, y, x = next(place[0].tolist() for place in places if len(place))
        raise InputMismatch(
            f"{argument} has the label {drawn[z, y, x]} {when}, z={z}, y={y}, x={x}, where {_source(lane)} has no "
            "object; label objects"
        )
    ids, labels = np.unique(np.concatenate(pairs), axis=0).T
    return ids, labels


def _named(
    found: LabelFrame, rows: LabelPoints, time: int, column: str, lane: Lane, argument: str
) -> tuple[np.ndarray, np.ndarray]:
    """Find the ids that the rows of a frame name, and their labels."""
    is_now = rows.places[:, 0] == time
    given = rows.places[is_now, 1]
    known = np.arange(1, found.count + 1) if column != "object" or found.original_ids is None else found.original_ids
    order = np.argsort(known)
    at = np.searchsorted(known, given, sorter=order)
    at[at == len(known)] = 0
    is_known = known[order][at] == given if len(known) else np.zeros(len(given), np.bool_)
    for row, value in zip(rows.rows[is_now][~is_known].tolist(), given[~is_known].tolist(), strict=True):
        raise InputMismatch(
            f"{argument}, row {row}: {_source(lane)} has no object {value} at t={time}; correct or remove that row"
        )
    return order[at] + 1 if len(known) else given, rows.labels[is_now]


def _assign(ids: np.ndarray, labels: np.ndarray, count: int, lane: Lane, argument: str) -> np.ndarray:
    """Return the class of each id from 0."""
    size = max(2, count + 1)  # ilastik's vectors have two entries, or more
    lowest, highest = np.full(size, np.inf), np.zeros(size)
    np.minimum.at(lowest, ids, labels)
    np.maximum.at(highest, ids, labels)
    for each in np.flatnonzero((highest > 0) & (lowest != highest)).tolist():
        raise InputMismatch(
            f"{argument} gives object {each} of {_source(lane)} the classes {lowest[each]:g} and {highest[each]:g}; an "
            "object has one class"
        )
    return highest


def _source(lane: Lane) -> str:
    """Name the image that the objects are found in."""
    return next(lane.images[role].path_text for role in SOURCES if role in lane.images)

"""Features of objects measured slab by slab, without labels of the whole frame in memory.

A slab measures the objects that begin in it, in a part of the frame that contains them with the windows around them:
every sum starts at an object's first voxel and follows ilastik's order, whatever the slabs. Objects that reach far
beyond their slab, the giants, are measured in parts of their own. Steps that need all objects of the frame follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np

from ...box import Box
from ...frozen import frozen
from ...kernels.contract import Voxels
from ..project.object_features import STANDARD, Features
from ..resources import Resources
from ..storage.scratch import Scratch
from ..tiling.layers import Read
from .label import LabelFrame, Labels, plan_slabs
from .measure import (
    ObjectFeatures,
    Rows,
    check_tables,
    check_wanted,
    complete_features,
    dimensions_of,
    measure_nothing,
    measure_objects,
)
from .quantities import find_margin
from .slab_labels import SlabLabels

# Objects that reach further than this share of a slab's thickness beyond their slab are giants.
GIANT_SHARE = 0.5
PIECE_VOXELS = 1 << 20  # of a part, renumbered at once
_OF_ALL_OBJECTS = {"Histogram", "Quantiles", "Global<Minimum>", "Global<Maximum>"}  # depend on the range of all


class DividedObjects(Protocol):
    """Objects of a frame by the slab in which they begin, see ``slab_labels.SlabObjects``."""

    @property
    def shape(self) -> Voxels:
        """Sizes of the frame along z, y, x."""

    @property
    def slabs(self) -> Sequence[Box]:
        """Slabs of the frame."""

    @property
    def boxes(self) -> np.ndarray:
        """Boxes of the objects."""

    @property
    def first_owned(self) -> np.ndarray:
        """First id of each slab, then the last id + 1."""

    @property
    def count(self) -> int:
        """Number of objects."""

    @property
    def axis(self) -> int:
        """Axis along which the frame is cut."""


@frozen(eq=False)
class Part:
    """Objects that are measured together.

    ids    in ascending order
    inner  box (z, y, x) that contains the objects; box: the same with their windows, which is read
    """

    ids: np.ndarray
    inner: Box
    box: Box


MeasureParts = Callable[[Sequence[Part], Features, tuple[float, float] | None], Iterable[tuple[Part, Rows]]]


def plan_parts(objects: DividedObjects, margin: Voxels) -> Iterator[Part]:
    """Divide the objects of a frame into parts: those of each slab, then the giants.

    margin  extent of neighbourhoods along z, y, x
    """
    axis, shape = objects.axis, objects.shape
    giants = []
    for slab, first, stop in zip(objects.slabs, objects.first_owned[:-1], objects.first_owned[1:], strict=True):
        ids = np.arange(first, stop)
        reach = objects.boxes[ids - 1, 3 + axis] - slab.stop[axis]
        is_giant = reach > GIANT_SHARE * objects.slabs[0].shape[axis]
        giants.append(ids[is_giant])
        ids = ids[~is_giant]
        if ids.size:
            inner = _unite_boxes(objects.boxes[ids - 1])
            yield Part(ids, inner, _surround(inner, margin, shape))
    yield from _group_giants(objects, np.concatenate(giants), margin)


def _group_giants(objects: DividedObjects, ids: np.ndarray, margin: Voxels) -> Iterator[Part]:
    """Group giants as long as a common part is not larger than the parts that it replaces."""
    shape = objects.shape
    group: Part | None = None
    for i in ids.tolist():
        inner = _unite_boxes(objects.boxes[i - 1 : i])
        own = Part(np.array([i]), inner, _surround(inner, margin, shape))
        if group is not None:
            corners = np.array([[*each.start, *each.stop] for each in (group.inner, inner)])
            common = _surround(_unite_boxes(corners), margin, shape)
            if common.size <= group.box.size + own.box.size:
                own = Part(np.append(group.ids, i), _unite_boxes(corners), common)
            else:
                yield group
        group = own
    if group is not None:
        yield group


def _unite_boxes(boxes: np.ndarray) -> Box:
    return Box(tuple(boxes[:, :3].min(axis=0).tolist()), tuple(boxes[:, 3:].max(axis=0).tolist()))


def _surround(box: Box, margin: Voxels, shape: Voxels) -> Box:
    """Enlarge the box of objects to what measuring reads: windows, whole lines, at least two planes of a volume."""
    z, y, _ = margin
    grown = box.grow((z + 1, y + 1, 0)).clip(shape)
    return Box((*grown.start[:2], 0), (*grown.stop[:2], shape[2]))


def measure_by_slabs(
    raw: Read,
    labels: SlabLabels,
    channels: int,
    wanted: Features,
    *,
    resources: Resources,
    scratch: Scratch,
) -> ObjectFeatures:
    """Measure the wanted features of all objects, as ``measure.measure_frame`` does for a frame in memory.

    raw      reads the image (z, y, x, channels) of a box as float32; called from this thread, part by part
    labels   of the frame
    scratch  receives the labels of one part at a time
    Raises the errors of ``measure_frame``.
    """

    def measure(
        parts: Sequence[Part], wanted: Features, value_range: tuple[float, float] | None
    ) -> Iterator[tuple[Part, Rows]]:
        for part in parts:
            yield (
                part,
                measure_part(
                    raw,
                    labels,
                    part,
                    channels,
                    wanted,
                    resources=resources,
                    scratch=scratch,
                    value_range=value_range,
                ),
            )

    objects = labels.objects
    return measure_divided(objects, channels, wanted, memory_bytes=resources.memory_bytes, measure=measure)


def measure_divided(
    objects: DividedObjects,
    channels: int,
    wanted: Features,
    *,
    memory_bytes: int | None = None,
    measure: MeasureParts,
    new: Callable[[tuple[int, ...], Any], np.ndarray] = np.empty,
) -> ObjectFeatures:
    """Measure the wanted features of all objects, part by part; errors are those of ``measure_frame``.

    memory_bytes  for the tables of all objects; None: they need not fit
    measure       measures parts in any order
    new           allocates the features of all objects: (shape, dtype) -> array
    """
    shape, count = objects.shape, objects.count
    dimensions = dimensions_of(shape)
    wanted = check_wanted(wanted, dimensions=dimensions, channels=channels)
    if count == 0:
        return measure_nothing(wanted, dimensions=dimensions, channels=channels)
    if memory_bytes is not None:
        check_tables(shape, count, channels, wanted, memory_bytes)
    parts = list(plan_parts(objects, find_margin(wanted.get(STANDARD, {}), dimensions)))
    value_range = None
    if needs_range(wanted):
        alone = list(plan_parts(objects, (0, 0, 0)))
        extremes = _collect(measure(alone, {STANDARD: {"Minimum": None, "Maximum": None}}, None), count, np.empty)
        lowest, highest = (extremes[STANDARD, name][:, 0].astype(np.float64) for name in ("Minimum", "Maximum"))
        value_range = float(lowest.min()), float(highest.max())
    return complete_features(_collect(measure(parts, wanted, value_range), count, new), count, wanted)


def needs_range(wanted: Features) -> bool:
    """Return True if features depend on the range of values of all objects, which a pass before finds."""
    return bool(wanted.get(STANDARD, {}).keys() & _OF_ALL_OBJECTS)


def measure_part(
    raw: Read,
    labels: Labels,
    part: Part,
    channels: int,
    wanted: Features,
    *,
    resources: Resources,
    scratch: Scratch,
    value_range: tuple[float, float] | None,
) -> Rows:
    """Measure the objects of a part; arguments as for ``measure_by_slabs`` and ``measure.measure_objects``."""
    own = scratch.array(part.box.shape, np.uint32)
    try:
        _renumber(labels, part, own)
        return measure_objects(
            partial(_read_shifted, raw, part.box.start),
            LabelFrame(own, len(part.ids)),
            channels,
            wanted,
            resources=resources.minus(
                check_tables(part.box.shape, len(part.ids), channels, wanted, resources.memory_bytes)
            ),
            origin=_origin(part.box),
            value_range=value_range,
        )
    finally:
        scratch.free(own)


def _collect(found: Iterable[tuple[Part, Rows]], count: int, new: Callable[[tuple[int, ...], Any], np.ndarray]) -> Rows:
    """Put the rows of all parts in the order of the ids."""
    rows: Rows = {}
    for part, own in found:
        for key, values in own.items():
            if key not in rows:
                rows[key] = new((count, *values.shape[1:]), values.dtype)
            rows[key][part.ids - 1] = values
    return rows


def _read_shifted(raw: Read, offset: tuple[int, ...], box: Box) -> np.ndarray:
    return raw(box.shift(offset))


def _renumber(labels: Labels, part: Part, out: np.ndarray) -> None:
    """Write the labels 1, 2, … of a part's objects, in the order of their ids; other voxels stay 0."""
    first, last = int(part.ids[0]), int(part.ids[-1])
    numbers = np.zeros(last - first + 2, np.uint32)
    numbers[part.ids - first + 1] = np.arange(1, len(part.ids) + 1)
    inner = Box((*part.inner.start[:2], 0), (*part.inner.stop[:2], part.box.shape[2]))
    for piece in plan_slabs(inner.shape, PIECE_VOXELS):
        place = piece.shift(inner.start)
        ids = labels[place.slices()]
        # Ids that are not in the range become 0.
        places = np.where((ids >= first) & (ids <= last), ids - np.uint32(first - 1), np.uint32(0))
        out[place.relative_to(part.box.start).slices()] = numbers[places]


def _origin(box: Box) -> Voxels:
    z, y, x = box.start
    return z, y, x

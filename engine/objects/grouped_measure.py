"""Features of objects whose tables exceed the memory: groups of them are measured, their features go to the scratch.

Groups are the objects that begin in the same slab, in the parts of ``slab_measure``; the slabs are as thick as tables
of their objects fit. What remains in memory for each object are its position, its class, and a few numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from ...box import Box
from ...frozen import frozen
from ...kernels.contract import Voxels, as_voxels
from ..project.object_features import Features
from ..resources import Resources
from ..storage.scratch import Scratch
from ..tiling.layers import Read
from .label import LabelFrame, cut_frame
from .measure import ObjectFeatures, Rows, check_tables, measure_frame, size_tables
from .rows import object_boxes
from .slab_measure import Part, measure_divided, measure_part

_GROUP_SHARE = 2  # tables of a group take at most 1 / _GROUP_SHARE of the memory


@frozen(eq=False)
class GroupedObjects:
    """Objects of a labelled frame, by the slab in which they begin; fields as of ``slab_labels.SlabObjects``."""

    shape: Voxels
    slabs: Sequence[Box]
    boxes: np.ndarray
    first_owned: np.ndarray

    @property
    def count(self) -> int:
        """Number of objects."""
        return len(self.boxes)

    @property
    def axis(self) -> int:
        """Axis along which the frame is cut: 0 or, in one plane, 1."""
        return 0 if self.shape[0] > 1 else 1


def group_objects(shape: Voxels, boxes: np.ndarray, most: int) -> GroupedObjects:
    """Group objects, if possible at most so many; boxes: as of ``SlabObjects``, in the order of ids."""
    axis = 0 if shape[0] > 1 else 1
    starts, thickness = boxes[:, axis], shape[axis]
    while thickness > 1 and np.bincount(starts // thickness).max() > most:
        thickness = -(-thickness // 2)
    slabs = cut_frame(shape, thickness)
    # Ids are in the order of first voxels, so those that begin in a slab are consecutive.
    owned = np.searchsorted(starts, [*(slab.start[axis] for slab in slabs), shape[axis]]) + 1
    return GroupedObjects(shape, slabs, boxes, owned)


def measure_in_groups(
    raw: Read, labels: LabelFrame, channels: int, wanted: Features, *, resources: Resources, scratch: Scratch
) -> ObjectFeatures:
    """Measure the wanted features of a labelled frame with the results of ``measure.measure_frame``.

    scratch  receives the features, which are valid until it is closed, and the labels of one group at a time
    Raises MemoryTooSmall if the boxes of the objects, or the tables of a group, exceed the memory.
    """
    shape = as_voxels(labels.labels.shape)
    boxes = object_boxes(measure_frame(raw, labels, channels, {}, resources=resources)).reshape(-1, 6).astype(np.int32)
    left = resources.minus(check_tables(shape, labels.count, channels, {}, resources.memory_bytes))
    each = size_tables(shape, channels, wanted)
    objects = group_objects(shape, boxes, max(1, left.memory_bytes // _GROUP_SHARE // each))

    def measure(
        parts: Sequence[Part], wanted: Features, value_range: tuple[float, float] | None
    ) -> Iterator[tuple[Part, Rows]]:
        one = partial(measure_part, raw, labels.labels, channels=channels, wanted=wanted, value_range=value_range)
        return ((part, one(part, resources=left, scratch=scratch)) for part in parts)

    return measure_divided(objects, channels, wanted, measure=measure, new=scratch.array)

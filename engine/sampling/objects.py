"""Sample of the objects of a lane: numbers a class, sizes and intensities, and pieces of the image around some."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ...box import Box
from ...frozen import frozen
from ..inputs.images import InputImage
from ..project.object_features import DEFAULT_FEATURES, STANDARD

if TYPE_CHECKING:  # most runs have no objects
    from ..objects.classify import ObjectClasses
    from ..objects.label import LabelFrame
    from ..objects.measure import ObjectFeatures

MAX_CROPS = 12
MAX_KEPT = 1 << 16  # objects whose sizes are kept
_SIDE = 96  # of a crop, pixels
_AROUND = 4  # pixels around an object
_SMALL_FRAME = 1 << 22  # voxels; a few crops of it are read, whatever its chunks are


@frozen(eq=False)
class ObjectCrop:
    """Piece of one plane of the image around an object.

    number       its id; class_index from 0
    pixels       (y, x, c) in the image's own type
    mask         (y, x) True where the object is
    """

    time: int
    number: int
    class_index: int
    pixels: np.ndarray
    mask: np.ndarray


class ObjectSample:
    """Receiver of the objects of frames, see ``objects.rows.ObjectSink``.

    counts   number of objects of each class
    crops    of objects of the first frame that has some
    """

    def __init__(self, raw: InputImage, classes: int, *, has_crops: bool = True) -> None:
        self.counts = np.zeros(max(1, classes), np.int64)
        self.crops: tuple[ObjectCrop, ...] = ()
        self._raw, self._has_crops, self._every, self._seen = raw, has_crops, 1, 0
        self._kept: list[np.ndarray] = []

    def add(self, time: int, labels: LabelFrame, measured: ObjectFeatures, objects: ObjectClasses) -> None:
        """Take the objects of a frame; ``labels`` are valid only during the call."""
        if not objects.count:
            return
        self.counts += np.bincount(objects.class_index, minlength=len(self.counts))
        if self._has_crops and not self.crops:
            self.crops = tuple(self._cut(time, labels, measured, objects))
        self._keep(measured, objects)

    def values(self) -> np.ndarray:
        """Return class, size and mean intensity of objects, (objects, 3) float64; intensities may be NaN."""
        return np.concatenate(self._kept) if self._kept else np.zeros((0, 3))

    def _keep(self, measured: ObjectFeatures, objects: ObjectClasses) -> None:
        rows = slice(-self._seen % self._every, None, self._every)
        self._seen += objects.count
        sizes = measured.values[DEFAULT_FEATURES]["Count"][rows, 0]
        means = measured.values.get(STANDARD, {}).get("Mean")
        intensities = np.full(len(sizes), np.nan) if means is None or not means.shape[1] else means[rows, 0]
        self._kept.append(np.stack([objects.class_index[rows], sizes, intensities], axis=1).astype(np.float64))
        while sum(map(len, self._kept)) > MAX_KEPT:
            self._every *= 2
            self._kept = [np.concatenate(self._kept)[::2]]

    def _cut(self, time: int, labels: LabelFrame, measured: ObjectFeatures, objects: ObjectClasses) -> list[ObjectCrop]:
        """Cut out objects of every class, spread over the frame."""
        from ..objects.rows import object_boxes

        height, width = self._raw.shape[2:4]
        boxes, crops = object_boxes(measured), []
        for index in _choose(objects.class_index, self._crop_count()):
            (z, y, x), (z_stop, y_stop, x_stop) = boxes[index].tolist()
            plane = (z + z_stop) // 2
            rows, columns = _window(y, y_stop, height), _window(x, x_stop, width)
            box = Box((plane, rows[0], columns[0]), (plane + 1, rows[1], columns[1]))
            pixels = self._raw.read_frame(time, box)[0]
            mask = labels.labels[box.slices()][0] == index + 1
            crops.append(ObjectCrop(time, index + 1, int(objects.class_index[index]), pixels, mask))
        return crops

    def _crop_count(self) -> int:
        """Number of crops: each reads a whole chunk of the file, which must not cost more than what is measured."""
        frame = prod(self._raw.shape[1:4])
        if self._raw.chunks is None:
            return MAX_CROPS
        fitting = frame // 4 // max(1, prod(self._raw.chunks[1:4]))
        return max(min(MAX_CROPS, fitting), MAX_CROPS // 3 if frame <= _SMALL_FRAME else 0)


def _choose(class_index: np.ndarray, count: int) -> list[int]:
    """Choose objects, the same number of each class if it has as many."""
    present = np.unique(class_index)
    share = -(-count // len(present))
    chosen: list[int] = []
    for number in present:
        found = np.flatnonzero(class_index == number)
        at = np.linspace(0, len(found) - 1, min(share, len(found))).round().astype(np.intp)
        chosen += found[at].tolist()
    return chosen[:count]


def _window(start: int, stop: int, extent: int) -> tuple[int, int]:
    """Range along one axis: the object with some pixels around it, or its middle if it is larger than a crop."""
    start, stop = max(0, start - _AROUND), min(extent, stop + _AROUND)
    if stop - start > _SIDE:
        start = (start + stop - _SIDE) // 2
        stop = start + _SIDE
    return start, stop

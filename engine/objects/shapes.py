"""Features measured on each object alone within its bounding box: hull, convexity defects, skeleton."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from ..errors import MemoryTooSmall, setting
from ..machine import format_size_up
from ..project.object_features import SKELETON
from .feature_catalogue import CATALOGUE
from .sweep import FrameSweep, Range

_SKELETON_BYTES = 20  # per voxel of an object's box, including a skeleton of some of them


def measure_skeletons(frame: FrameSweep, wanted: Iterable[str], boxes: np.ndarray) -> dict[str, np.ndarray]:
    """Measure the wanted features of skeletons. Raises MemoryTooSmall if the largest object's box does not fit."""
    return _pick(wanted, SKELETON, _measure_skeletons(frame, boxes), frame.dimensions)


def measure_hulls(frame: FrameSweep, boxes: np.ndarray, default: Mapping[str, np.ndarray]) -> np.ndarray:
    """Measure hulls for ``describe_hulls``, (count, columns) float64 in the order of the catalogue."""
    centres, counts = default["RegionCenter"], default["Count"][:, 0]
    rows = np.empty((frame.labels.count, 9 + 3 * frame.dimensions))

    def work(first: int, stop: int) -> None:
        frame.operations.hull_features(frame.ids, boxes, centres, counts, first, stop, rows, frame.origin)

    frame.each_range(work, _box_volumes(boxes))
    return rows


def describe_hulls(
    wanted: Iterable[str], plugin: str, rows: np.ndarray, default: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Make the wanted features of a plugin of hulls, (count, values) float32 each.

    rows, default  hulls and default features of all objects of a frame; rows are changed
    """
    lowest = default["Coord<Minimum>"]
    _pass_on_defect_centres(rows, lowest)
    return _pick(wanted, plugin, rows, lowest.shape[1])


def _pass_on_defect_centres(rows: np.ndarray, lowest: np.ndarray) -> None:
    """Set the DefectCenter of objects without defects to ilastik's value, in place: classifiers are trained on it.

    In ilastik it is left over from the previous object, as an offset from the bounding box; for the first object it is
    the last one's HullCenter.
    """
    dimensions = lowest.shape[1]
    defects = rows[:, 3]
    hull, centre = (rows[:, 9 + i * dimensions :][:, :dimensions] for i in (1, 2))
    source = np.maximum.accumulate(np.where(defects > 0, np.arange(len(rows)), -1))
    offsets = np.where((source >= 0)[:, None], (centre - lowest)[source], (hull - lowest)[-1])
    without = defects == 0
    centre[without] = (lowest + offsets)[without]


def _measure_skeletons(frame: FrameSweep, boxes: np.ndarray) -> np.ndarray:
    """Measure skeletons, (count, columns) in the order of the catalogue. Boxes large for the memory go one by one."""
    rows, memory_bytes = np.empty((frame.labels.count, 12)), frame.resources.memory_bytes
    volumes = _box_volumes(boxes)
    largest = int(volumes.argmax())
    if volumes[largest] * _SKELETON_BYTES > memory_bytes:
        size = int(volumes[largest]) * _SKELETON_BYTES
        raise MemoryTooSmall(
            f"the skeleton of object {largest + 1} needs {format_size_up(size)} for its bounding box, but only "
            f"{format_size_up(memory_bytes)} may be used; allow more with {setting('memory')}"
        )
    limit = memory_bytes // (_SKELETON_BYTES * frame.threads)
    large = np.flatnonzero(volumes > limit)

    def work(first: int, stop: int) -> None:
        for begin, end in _split_around(first, stop, large):
            frame.operations.skeleton_features(frame.ids, boxes, begin, end, rows, frame.origin)

    frame.each_range(work, np.where(volumes > limit, 0, volumes) + 1)
    for i in large.tolist():
        frame.operations.skeleton_features(frame.ids, boxes, i, i + 1, rows, frame.origin)
    return rows


def _split_around(first: int, stop: int, excluded: np.ndarray) -> Iterator[Range]:
    """Split a range so that the excluded objects are left out."""
    inside = excluded[(excluded >= first) & (excluded < stop)].tolist()
    for begin, end in zip([first, *(i + 1 for i in inside)], [*inside, stop], strict=True):
        if begin < end:
            yield begin, end


def _box_volumes(boxes: np.ndarray) -> np.ndarray:
    volumes: np.ndarray = np.prod((boxes[:, 3:] - boxes[:, :3]).astype(np.int64), axis=1)
    return volumes


def _pick(wanted: Iterable[str], plugin: str, rows: np.ndarray, dimensions: int) -> dict[str, np.ndarray]:
    """Pick the wanted features of a plugin from rows that hold all of them, in the order of the catalogue."""
    place, places = 0, {}
    for entry in CATALOGUE[plugin].values():
        size = entry.size.count(dimensions=dimensions, channels=1)
        places[entry.name] = slice(place, place + size)
        place += size
    return {name: as_float32(rows[:, places[name]]) for name in wanted}


def as_float32(values: np.ndarray) -> np.ndarray:
    """Convert values to the type of results, float32."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, np.float32)

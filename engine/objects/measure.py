"""Features of all objects of a frame, measured in sweeps over the frame.

A frame is read slab by slab, at most three times: sums and bounds; then moments and histograms around the means, with
the first pass over neighbourhoods; then the neighbourhoods' second pass. Only quantities that the wanted features need
are measured. Results depend neither on slabs nor on threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from math import prod
from typing import Any

import numpy as np

from ...box import Box
from ...frozen import frozen
from ...kernels.contract import SECOND_PASS, Voxels
from ..errors import MemoryTooSmall, setting
from ..machine import format_size
from ..project.object_features import DEFAULT_FEATURES, HULL_2D, HULL_3D, SKELETON, STANDARD, Features
from ..resources import Resources
from ..tiling.layers import Read
from .feature_catalogue import check_features, find_feature
from .label import LabelFrame, plan_slabs
from .quantities import (
    DEFAULTS,
    QUANTITIES,
    WITHOUT_VALUES,
    Surroundings,
    bytes_per_object,
    find_margin,
    find_surroundings,
    own_groups,
)
from .shapes import as_float32, describe_hulls, measure_hulls, measure_skeletons
from .sweep import FrameSweep

_SLAB_VOXELS = 1 << 22  # more gains nothing
# A slab being read, one in work, and both in the image's own type take at most 1 / _SLAB_SHARE of the memory.
_SLAB_SHARE = 4

Rows = dict[tuple[str, str], np.ndarray]
"""Measured values of objects, (objects, values) each, by plugin and feature; hulls as one table of all their features,
and for each kind of neighbourhoods whether it is empty."""

_HULLS, _EMPTY = "hulls", "empty"


@frozen
class ObjectFeatures:
    """Measured features of the objects of a frame, without the background.

    values  plugin -> feature -> (count, values) float32; those of "Default features" float64. A feature that could not
            be measured for one of the objects is missing, one that could not for any has no columns
    """

    count: int
    values: Mapping[str, Mapping[str, np.ndarray]]


def measure_frame(
    raw: Read,
    labels: LabelFrame,
    channels: int,
    wanted: Features,
    *,
    resources: Resources,
    voxels: int | None = None,
) -> ObjectFeatures:
    """Measure the wanted features, and always the default ones.

    raw      reads the image (z, y, x, channels) of a box as float32; called from this thread, slab by slab in scan
             order, up to three times for the whole frame, or never if no feature needs it
    wanted   plugin -> feature -> margin along x, y and, in 3-d, z (None: not a neighbourhood). All neighbourhoods reach
             as far as the largest margin, so a caller that leaves features out sets the others' margins to that
    voxels   number in a slab; default: as the memory allows. It never changes the result
    A neighbourhood that is empty for one object removes its features for all objects, as in ilastik. Memory
    grows with the number of objects (see ``quantities.bytes_per_object``) and, for skeletons, with the largest
    object's box (20 bytes a voxel). Raises ProjectError for unknown features, InputMismatch for those of other images,
    MemoryTooSmall if the objects, or a skeleton's box, do not fit.
    """
    dimensions = dimensions_of(labels.labels.shape)
    wanted = check_wanted(wanted, dimensions=dimensions, channels=channels)
    if labels.count == 0:
        return measure_nothing(wanted, dimensions=dimensions, channels=channels)
    left = resources.minus(check_tables(labels.labels.shape, labels.count, channels, wanted, resources.memory_bytes))
    rows = measure_objects(raw, labels, channels, wanted, resources=left, voxels=voxels)
    return complete_features(rows, labels.count, wanted)


def dimensions_of(shape: Sequence[int]) -> int:
    """Number of dimensions, 2 or 3, of a frame (z, y, x)."""
    return 2 if shape[0] == 1 else 3


def check_wanted(wanted: Features, *, dimensions: int, channels: int) -> Features:
    """Return the wanted features without the default ones. Raises ProjectError, InputMismatch."""
    wanted = {plugin: features for plugin, features in wanted.items() if plugin != DEFAULT_FEATURES}
    check_features(wanted, dimensions=dimensions, channels=channels)
    return wanted


def measure_objects(
    raw: Read,
    labels: LabelFrame,
    channels: int,
    wanted: Features,
    *,
    resources: Resources,
    voxels: int | None = None,
    origin: Voxels = (0, 0, 0),
    value_range: tuple[float, float] | None = None,
) -> Rows:
    """Measure the objects of a frame, or of a part of it, up to the steps that need those of the whole frame.

    For the arguments see ``measure_frame``; resources are without the memory of the objects' tables.
    origin       position (z, y, x) of the part in the frame. A part contains its objects with the windows around them,
                 whole lines along x, and at least two planes of a frame that has several
    value_range  minimum and maximum of channel 0 over all objects of the frame; None: over these
    Positions are those of the frame.
    """
    shape = labels.labels.shape
    dimensions = dimensions_of(shape)
    slab = voxels or max(1, min(_SLAB_VOXELS, resources.memory_bytes // _SLAB_SHARE // (4 * channels)))
    threads = resources.threads
    with ThreadPoolExecutor(threads, thread_name_prefix="measure") if threads > 1 else nullcontext() as pool:
        slabs = plan_slabs(shape, slab)
        frame = FrameSweep(raw, labels, channels, dimensions, resources, pool, slabs, origin, value_range)
        rows, boxes = _measure_statistics(frame, wanted.get(STANDARD, {}))
        if wanted.get(SKELETON):
            found = measure_skeletons(frame, wanted[SKELETON], boxes)
            rows |= {(SKELETON, name): values for name, values in found.items()}
        default = {name: rows[DEFAULT_FEATURES, name] for name in DEFAULTS}
        for plugin in (HULL_2D, HULL_3D):
            if wanted.get(plugin):
                rows[plugin, _HULLS] = measure_hulls(frame, boxes, default)
    return rows


def complete_features(rows: Rows, count: int, wanted: Features) -> ObjectFeatures:
    """Make features of the rows of all objects of a frame, in the order of their ids. ``rows`` is emptied."""
    default = {name: rows.pop((DEFAULT_FEATURES, name)) for name in DEFAULTS}
    values: dict[str, Mapping[str, np.ndarray]] = {DEFAULT_FEATURES: default}
    standard = wanted.get(STANDARD, {})
    if standard:
        for kind in find_surroundings(standard):
            _settle_empty(rows, kind)
        values[STANDARD] = {name: rows.pop((STANDARD, name)) for name in standard if (STANDARD, name) in rows}
    if wanted.get(SKELETON):
        values[SKELETON] = {name: rows.pop((SKELETON, name)) for name in wanted[SKELETON]}
    for plugin in (HULL_2D, HULL_3D):
        if wanted.get(plugin):
            values[plugin] = describe_hulls(wanted[plugin], plugin, rows.pop((plugin, _HULLS)), default)
    return ObjectFeatures(count, values)


def check_tables(shape: Sequence[int], count: int, channels: int, wanted: Features, memory_bytes: int) -> int:
    """Size of the tables of that many objects in bytes. Raises MemoryTooSmall if the remaining memory is not enough.

    shape  of the frame (z, y, x)
    """
    each = size_tables(shape, channels, wanted)
    needed = count * each
    if not fits_tables(shape, count, channels, wanted, memory_bytes):
        raise MemoryTooSmall(
            f"the features of {count} objects take {format_size(needed)} ({each} bytes each), but only "
            f"{format_size(memory_bytes)} are left for them; allow more with {setting('memory')}, deselect "
            "features in ilastik, "
            "or process parts of the image one by one"
        )
    return needed


def fits_tables(shape: Sequence[int], count: int, channels: int, wanted: Features, memory_bytes: int) -> bool:
    """Return True if the memory suffices for that many objects of a frame (z, y, x), and a line of each slab."""
    return count * size_tables(shape, channels, wanted) + _SLAB_SHARE * 4 * channels * shape[2] <= memory_bytes


def size_tables(shape: Sequence[int], channels: int, wanted: Features) -> int:
    """Bytes of the tables of one object of a frame (z, y, x)."""
    return bytes_per_object(wanted, dimensions=dimensions_of(shape), channels=channels, voxels=prod(shape))


def measure_nothing(wanted: Features, *, dimensions: int, channels: int) -> ObjectFeatures:
    """Return the result for a frame without objects: all features but the neighbourhoods', with no rows."""
    values: dict[str, dict[str, np.ndarray]] = {}
    for plugin, names in wanted.items():
        entries = (find_feature(plugin, name) for name in names)
        values[plugin] = {
            entry.name: np.zeros((0, entry.size.count(dimensions=dimensions, channels=channels)), np.float32)
            for entry in entries
            if not entry.is_local
        }
    sizes = {name: find_feature(STANDARD, name).size.count(dimensions=dimensions, channels=1) for name in DEFAULTS}
    values[DEFAULT_FEATURES] = {name: np.zeros((0, size)) for name, size in sizes.items()}
    return ObjectFeatures(0, values)


@frozen
class _Neighbourhood:
    """Neighbourhoods of one kind during their measurement."""

    kind: Surroundings
    measurement: Any

    @property
    def has_second_pass(self) -> bool:
        return bool(self.kind.groups & SECOND_PASS)


def _measure_statistics(frame: FrameSweep, wanted: Mapping[str, Sequence[int] | None]) -> tuple[Rows, np.ndarray]:
    """Measure the standard and the default features; returns them and the objects' boxes in the frame."""
    operations = frame.operations
    own = {name: QUANTITIES[name] for name in wanted if name in QUANTITIES}
    groups = own_groups(wanted)
    objects = frame.start_measuring(groups)
    _first_pass(frame, objects, with_raw=not groups <= WITHOUT_VALUES)
    frame.each_range(partial(operations.complete_pass, objects))
    boxes = operations.object_boxes(objects)
    windows = boxes - np.array(frame.origin * 2, np.int32)

    margin = find_margin(wanted, frame.dimensions)
    kinds = find_surroundings(wanted) if any(margin) else ()
    around = [_Neighbourhood(kind, frame.start_measuring(kind.groups, own_range=True)) for kind in kinds]
    if groups & SECOND_PASS or around:
        _second_pass(frame, objects, groups, around, windows, margin)
    again = [each for each in around if each.has_second_pass]
    for each in around:
        frame.each_range(partial(operations.complete_pass, each.measurement))
    if again:
        for each in again:
            operations.begin_second_pass(each.measurement)
        frame.sweep(lambda slab, raw: _surround(frame, again, windows, margin, slab, raw), with_raw=True)
        for each in again:
            frame.each_range(partial(operations.complete_pass, each.measurement))

    found = operations.measured(objects)
    rows: Rows = {(STANDARD, name): as_float32(found[quantity]) for name, quantity in own.items()}
    rows |= {(DEFAULT_FEATURES, name): found[QUANTITIES[name]].astype(np.float64) for name in DEFAULTS}
    for each in around:
        nearby = operations.measured(each.measurement)
        rows[_EMPTY, each.kind.suffix] = nearby["voxels"] == 0
        rows |= {
            (STANDARD, f"{name}{each.kind.suffix}"): as_float32(nearby[QUANTITIES[name]]) for name in each.kind.names
        }
    return rows, boxes


def _first_pass(frame: FrameSweep, objects: Any, *, with_raw: bool) -> None:
    frame.sweep(lambda slab, raw: _add_objects(frame, objects, slab, raw), with_raw=with_raw)


def _second_pass(
    frame: FrameSweep,
    objects: Any,
    groups: frozenset[str],
    around: Sequence[_Neighbourhood],
    boxes: np.ndarray,
    margin: Voxels,
) -> None:
    """Measure moments and histograms of the objects, and make the first pass over their neighbourhoods."""
    has_own = bool(groups & SECOND_PASS)
    if has_own:
        frame.operations.begin_second_pass(objects)

    def steps(slab: Box, raw: np.ndarray) -> Iterator[Callable[[], None]]:
        if has_own:
            yield from _add_objects(frame, objects, slab, raw)
        yield from _surround(frame, around, boxes, margin, slab, raw)

    frame.sweep(steps, with_raw=bool(around) or not groups & SECOND_PASS <= WITHOUT_VALUES)
    if has_own:
        frame.each_range(partial(frame.operations.complete_pass, objects))


def _add_objects(frame: FrameSweep, objects: Any, slab: Box, raw: np.ndarray) -> Iterator[Callable[[], None]]:
    ids, start = frame.ids[slab.slices()], (frame.origin[0] + slab.start[0], frame.origin[1] + slab.start[1])
    for part in range(frame.threads):
        yield partial(frame.operations.measure_slab, objects, ids, raw, start, part, frame.threads)


def _surround(
    frame: FrameSweep, around: Iterable[_Neighbourhood], boxes: np.ndarray, margin: Voxels, slab: Box, raw: np.ndarray
) -> Iterator[Callable[[], None]]:
    """Yield the steps that add a slab to the neighbourhoods of all objects whose window it overlaps."""
    start = (slab.start[0], slab.start[1])
    meets = np.ones(len(boxes), np.bool_)
    for axis in (0, 1):
        meets &= (boxes[:, axis] - margin[axis] < slab.stop[axis]) & (
            boxes[:, 3 + axis] + margin[axis] + 1 > slab.start[axis]
        )
    objects = np.flatnonzero(meets)
    for each in around:
        for rows in frame.shares(objects):
            yield partial(
                frame.operations.measure_neighbourhoods,
                each.measurement, frame.ids, raw, start, rows, boxes, margin,
                includes_object=each.kind.includes_object,
            )  # fmt: skip


def _settle_empty(rows: Rows, kind: Surroundings) -> None:
    """Remove the features of neighbourhoods that are empty for one object, and their columns if they are for all."""
    is_empty = rows.pop((_EMPTY, kind.suffix), None)
    if is_empty is None or not is_empty.any():
        return
    for name in kind.names:
        values = rows.pop((STANDARD, f"{name}{kind.suffix}"))
        if is_empty.all():
            rows[STANDARD, f"{name}{kind.suffix}"] = np.zeros((len(values), 0), np.float32)

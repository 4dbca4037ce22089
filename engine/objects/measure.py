"""The features of all objects of a frame: which quantities each needs, and the sweeps over the frame that gather them.

A frame is read slab by slab, at most three times: sums and bounds; then moments and histograms around the means, with
the first pass over neighbourhoods; then the neighbourhoods' second. Only what the wanted features need is gathered.
Results depend neither on slabs nor on threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ...kernels.contract import MEASURE_NEEDS, MEASURES, SECOND_PASS, Backend, MeasurePlan, Voxels
from ..box import Box
from ..errors import InputMismatch, MemoryTooSmall
from ..project.object_features import DEFAULT_FEATURES, HULL_2D, HULL_3D, SKELETON, STANDARD, Features
from .columns import CATALOGUE, NEIGHBOURHOOD, OBJECT_AND_NEIGHBOURHOOD, check_features, find_feature
from .label import LabelFrame, plan_slabs

Read = Callable[[Box], np.ndarray]
Range = tuple[int, int]

# Feature -> the quantity that it is; ``kernels.contract.MEASURES`` says in which group that is measured.
QUANTITIES: Mapping[str, str] = {
    "Count": "count",
    "Coord<Minimum>": "low",
    "Coord<Maximum>": "high",
    "RegionCenter": "centre",
    "RegionRadii": "radii",
    "RegionAxes": "axes",
    "Coord<PowerSum<1>>": "position_sum",
    "Coord<DivideByCount<Principal<PowerSum<2>>>>": "axis_variance",
    "Coord<Principal<PowerSum<2>>>": "axis_scatter",
    "Coord<Principal<PowerSum<3>>>": "axis_third",
    "Coord<Principal<PowerSum<4>>>": "axis_fourth",
    "Coord<Principal<Skewness>>": "axis_skewness",
    "Coord<Principal<Kurtosis>>": "axis_kurtosis",
    "Mean": "mean",
    "Sum": "sum",
    "Variance": "variance",
    "Skewness": "skewness",
    "Kurtosis": "kurtosis",
    "Minimum": "smallest",
    "Maximum": "largest",
    "Central<PowerSum<2>>": "second",
    "Central<PowerSum<3>>": "third",
    "Central<PowerSum<4>>": "fourth",
    "Histogram": "histogram",
    "Quantiles": "quantiles",
    "Global<Minimum>": "range_low",
    "Global<Maximum>": "range_high",
    "Coord<ArgMinWeight>": "smallest_at",
    "Coord<ArgMaxWeight>": "largest_at",
    "Weighted<PowerSum<0>>": "weight",
    "Weighted<Coord<PowerSum<1>>>": "weighted_position_sum",
    "Weighted<RegionCenter>": "weighted_centre",
    "Weighted<RegionRadii>": "weighted_radii",
    "Weighted<RegionAxes>": "weighted_axes",
    "Weighted<Coord<DivideByCount<Principal<PowerSum<2>>>>>": "weighted_axis_variance",
    "Weighted<Coord<Principal<PowerSum<2>>>>": "weighted_axis_scatter",
    "Weighted<Coord<Principal<PowerSum<3>>>>": "weighted_axis_third",
    "Weighted<Coord<Principal<PowerSum<4>>>>": "weighted_axis_fourth",
    "Weighted<Coord<Principal<Skewness>>>": "weighted_axis_skewness",
    "Weighted<Coord<Principal<Kurtosis>>>": "weighted_axis_kurtosis",
    "Covariance": "covariance",
    "PrincipalAxes": "principal_axes",
    "Principal<Minimum>": "principal_smallest",
    "Principal<Maximum>": "principal_largest",
    "Principal<Variance>": "principal_variance",
    "Principal<Skewness>": "principal_skewness",
    "Principal<Kurtosis>": "principal_kurtosis",
    "Principal<PowerSum<2>>": "principal_scatter",
    "Principal<PowerSum<3>>": "principal_third",
    "Principal<PowerSum<4>>": "principal_fourth",
}
DEFAULTS = ("Coord<Maximum>", "Coord<Minimum>", "Count", "RegionCenter")

_GROUP_OF = {quantity: group for group, quantities in MEASURES.items() for quantity in quantities}
_WITHOUT_VALUES = {"bounds", "axes", "axis_moments"}
_SLAB_VOXELS = 1 << 22  # more gains nothing
_SLAB_SHARE = 8  # a slab being read and one in work take at most two of so many parts of the memory budget
_SKELETON_BYTES = 20  # for a voxel of an object's box, with a skeleton of some of them
_RANGES_PER_THREAD = 8


@dataclass(frozen=True)
class ObjectFeatures:
    """What was measured of the objects of a frame, background left out.

    values  plugin -> feature -> (count, values) float32; those of "Default features" float64. A feature that could not
            be measured for one of the objects is missing, one that could be for none has no columns
    """

    count: int
    values: Mapping[str, Mapping[str, np.ndarray]]


def measure_frame(
    raw: Read,
    labels: LabelFrame,
    channels: int,
    wanted: Features,
    *,
    backend: Backend,
    threads: int,
    memory_bytes: int,
    voxels: int | None = None,
) -> ObjectFeatures:
    """Measure the wanted features, and always the default ones.

    raw      gives the image (z, y, x, channels) of a box as float32; called from this thread, slab by slab in scan
             order, up to three times for the whole frame, or never if no feature needs it
    wanted   plugin -> feature -> margin along x, y and, in 3-d, z (None: not a neighbourhood). All neighbourhoods reach
             as far as the largest margin, so a caller that leaves features out sets the others' margins to that
    voxels   of a slab; default: what the memory allows. It never changes the result
    A neighbourhood that is empty for some object takes its features away from all objects, as ilastik does. Memory
    grows with the number of objects (100 to 700 bytes each, histograms 256 more) and, for skeletons, with the largest
    object's box (20 bytes a voxel). Raises ProjectError for unknown features, InputMismatch for those of other images,
    MemoryTooSmall if a skeleton's box does not fit.
    """
    shape = labels.labels.shape
    dimensions = 2 if shape[0] == 1 else 3
    wanted = {plugin: features for plugin, features in wanted.items() if plugin != DEFAULT_FEATURES}
    check_features(wanted, dimensions=dimensions, channels=channels)
    if labels.count == 0:
        return _measure_nothing(wanted, dimensions=dimensions, channels=channels)
    slab = voxels or max(1, min(_SLAB_VOXELS, memory_bytes // _SLAB_SHARE // (4 * max(1, channels))))
    with ThreadPoolExecutor(threads, thread_name_prefix="measure") as pool:
        frame = _Frame(raw, labels, channels, dimensions, backend, pool, threads, plan_slabs(shape, slab))
        found = _measure_statistics(frame, wanted.get(STANDARD, {}))
        boxes, default = found.boxes, found.values[DEFAULT_FEATURES]
        values: dict[str, Mapping[str, np.ndarray]] = dict(found.values)
        for plugin in (HULL_2D, HULL_3D):
            if wanted.get(plugin):
                values[plugin] = _pick(wanted[plugin], plugin, _measure_hulls(frame, boxes, default), dimensions)
        if wanted.get(SKELETON):
            rows = _measure_skeletons(frame, boxes, memory_bytes)
            values[SKELETON] = _pick(wanted[SKELETON], SKELETON, rows, dimensions)
    return ObjectFeatures(labels.count, values)


def _measure_nothing(wanted: Features, *, dimensions: int, channels: int) -> ObjectFeatures:
    """A frame without objects: all features but the neighbourhoods', with no rows."""
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


@dataclass(frozen=True)
class _Statistics:
    values: Mapping[str, Mapping[str, np.ndarray]]
    boxes: np.ndarray


@dataclass(frozen=True)
class _Frame:
    """A frame and what works on it."""

    raw: Read
    labels: LabelFrame
    channels: int
    dimensions: int
    backend: Backend
    pool: ThreadPoolExecutor
    threads: int
    slabs: Sequence[Box]

    @property
    def ids(self) -> np.ndarray:
        """Labels (z, y, x) as a plain array, mapped or not."""
        return self.labels.labels.view(np.ndarray)

    def start_measuring(self, groups: frozenset[str], *, own_range: bool = False) -> Any:
        """Empty tables for these groups and those they need."""
        plan = MeasurePlan(
            self.labels.count, self.ids.size, self.dimensions, self.channels, _close(groups), own_range=own_range
        )
        return self.backend.start_measuring(plan)

    def sweep(self, steps: Callable[[Box, np.ndarray], Iterable[Callable[[], None]]], *, with_raw: bool) -> None:
        """Do the steps of each slab side by side; the next slab is read meanwhile, but waits for them."""
        pending: list[Future[None]] = []
        try:
            for slab in self.slabs:
                if with_raw:
                    pixels = np.ascontiguousarray(self.raw(slab), np.float32)
                else:
                    pixels = np.empty((*slab.shape, 0), np.float32)
                _wait(pending)
                pending = [self.pool.submit(step) for step in steps(slab, pixels)]
            _wait(pending)
        except BaseException:
            for future in pending:
                future.cancel()
            raise

    def each_range(self, work: Callable[[int, int], None], costs: np.ndarray | None = None) -> None:
        """Call ``work(first, stop)`` for ranges of objects that cost about the same, side by side."""
        _wait([self.pool.submit(work, first, stop) for first, stop in self.ranges(costs)])

    def ranges(self, costs: np.ndarray | None = None) -> Iterator[Range]:
        """All objects in ranges of about equal cost."""
        count = self.labels.count
        pieces = self.threads * _RANGES_PER_THREAD
        total = np.arange(1, count + 1) if costs is None else np.cumsum(costs)
        targets = total[-1] * (np.arange(1, pieces) / pieces)
        cuts = np.unique(np.concatenate([[0], np.searchsorted(total, targets) + 1, [count]]))
        cuts = cuts[cuts <= count]
        yield from zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)


def _wait(pending: Iterable[Future[None]]) -> None:
    for future in pending:
        future.result()


def _close(groups: Iterable[str]) -> frozenset[str]:
    """The groups with all they need."""
    found = set(groups)
    while missing := {MEASURE_NEEDS[group] for group in found if group in MEASURE_NEEDS} - found:
        found |= missing
    return frozenset(found)


@dataclass(frozen=True)
class _Neighbourhood:
    """One kind of surroundings: the features that end in ``suffix``, measured in the object's surroundings."""

    suffix: str
    includes_object: bool
    names: tuple[str, ...]
    measurement: Any
    has_second_pass: bool


def _measure_statistics(frame: _Frame, wanted: Mapping[str, Sequence[int] | None]) -> _Statistics:
    """The standard and the default features."""
    backend = frame.backend
    own = {name: QUANTITIES[name] for name in wanted if name in QUANTITIES}
    groups = _close({_GROUP_OF[quantity] for quantity in own.values()} | {"bounds"})
    objects = frame.start_measuring(groups)
    _first_pass(frame, objects, with_raw=not groups <= _WITHOUT_VALUES)
    frame.each_range(partial(backend.complete_pass, objects))
    boxes = backend.object_boxes(objects)

    margin = _find_margin(wanted, frame.dimensions)
    around = list(_find_neighbourhoods(frame, wanted)) if any(margin) else []
    if groups & SECOND_PASS or around:
        _second_pass(frame, objects, groups, around, boxes, margin)
    again = [each for each in around if each.has_second_pass]
    for each in around:
        frame.each_range(partial(backend.complete_pass, each.measurement))
    if again:
        for each in again:
            backend.begin_second_pass(each.measurement)
        frame.sweep(lambda slab, raw: _surround(frame, again, boxes, margin, slab, raw), with_raw=True)
        for each in again:
            frame.each_range(partial(backend.complete_pass, each.measurement))

    found = backend.measured(objects)
    standard = {name: _as_float32(found[quantity]) for name, quantity in own.items()}
    for each in around:
        standard |= _collect(each, backend.measured(each.measurement))
    default = {name: found[QUANTITIES[name]].astype(np.float64) for name in DEFAULTS}
    values = {STANDARD: standard, DEFAULT_FEATURES: default} if wanted else {DEFAULT_FEATURES: default}
    return _Statistics(values, boxes)


def _first_pass(frame: _Frame, objects: Any, *, with_raw: bool) -> None:
    frame.sweep(lambda slab, raw: _add_objects(frame, objects, slab, raw), with_raw=with_raw)


def _second_pass(
    frame: _Frame,
    objects: Any,
    groups: frozenset[str],
    around: Sequence[_Neighbourhood],
    boxes: np.ndarray,
    margin: Voxels,
) -> None:
    """Moments and histograms of the objects, and the first pass over their neighbourhoods."""
    has_own = bool(groups & SECOND_PASS)
    if has_own:
        frame.backend.begin_second_pass(objects)

    def steps(slab: Box, raw: np.ndarray) -> Iterator[Callable[[], None]]:
        if has_own:
            yield from _add_objects(frame, objects, slab, raw)
        yield from _surround(frame, around, boxes, margin, slab, raw)

    frame.sweep(steps, with_raw=bool(around) or not groups & SECOND_PASS <= _WITHOUT_VALUES)
    if has_own:
        frame.each_range(partial(frame.backend.complete_pass, objects))


def _add_objects(frame: _Frame, objects: Any, slab: Box, raw: np.ndarray) -> Iterator[Callable[[], None]]:
    ids, start = frame.ids[slab.slices()], (slab.start[0], slab.start[1])
    for part in range(frame.threads):
        yield partial(frame.backend.measure_slab, objects, ids, raw, start, part, frame.threads)


def _surround(
    frame: _Frame, around: Iterable[_Neighbourhood], boxes: np.ndarray, margin: Voxels, slab: Box, raw: np.ndarray
) -> Iterator[Callable[[], None]]:
    """The steps that add a slab to the neighbourhoods of all objects whose window it meets."""
    start = (slab.start[0], slab.start[1])
    meets = np.ones(len(boxes), np.bool_)
    for axis in (0, 1):
        meets &= (boxes[:, axis] - margin[axis] < slab.stop[axis]) & (
            boxes[:, 3 + axis] + margin[axis] + 1 > slab.start[axis]
        )
    objects = np.flatnonzero(meets)
    for each in around:
        for rows in np.array_split(objects, min(len(objects), frame.threads * _RANGES_PER_THREAD) or 1):
            yield partial(
                frame.backend.measure_neighbourhoods, each.measurement, frame.ids, raw, start, rows, boxes, margin,
                includes_object=each.includes_object,
            )  # fmt: skip


def _find_margin(wanted: Mapping[str, Sequence[int] | None], dimensions: int) -> Voxels:
    """How far neighbourhoods reach along z, y, x: the largest of all margins."""
    widest = [0] * dimensions
    for name, margin in wanted.items():
        if margin is None:
            continue
        values = [int(m) for m in margin] * dimensions if len(margin) == 1 else [int(m) for m in margin]
        if len(values) < dimensions:
            raise InputMismatch(
                f"the margin of the object feature '{name}' is set for {len(values)} axes, but the image has "
                f"{dimensions}; use an image like those of training"
            )
        widest = [max(a, b) for a, b in zip(widest, values, strict=False)]
    x, y, z = (*widest, 0)[:3]
    return (z, y, x)


def _find_neighbourhoods(frame: _Frame, wanted: Mapping[str, Any]) -> Iterator[_Neighbourhood]:
    for suffix, includes_object in ((NEIGHBOURHOOD, False), (OBJECT_AND_NEIGHBOURHOOD, True)):
        names = tuple(name.removesuffix(suffix) for name in wanted if name.endswith(suffix))
        if names:
            groups = _close({_GROUP_OF[QUANTITIES[name]] for name in names} | {"values"})
            measurement = frame.start_measuring(groups, own_range=True)
            yield _Neighbourhood(suffix, includes_object, names, measurement, bool(groups & SECOND_PASS))


def _collect(around: _Neighbourhood, found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The features of a neighbourhood; none if it is empty for one object, without columns if for all."""
    is_empty = found["voxels"] == 0
    if is_empty.all():
        return {f"{name}{around.suffix}": np.zeros((len(is_empty), 0), np.float32) for name in around.names}
    if is_empty.any():
        return {}
    return {f"{name}{around.suffix}": _as_float32(found[QUANTITIES[name]]) for name in around.names}


def _as_float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, np.float32)


def _measure_hulls(frame: _Frame, boxes: np.ndarray, default: Mapping[str, np.ndarray]) -> np.ndarray:
    """(count, columns) in the order of the catalogue."""
    centres, counts = default["RegionCenter"], default["Count"][:, 0]
    rows = np.empty((frame.labels.count, 9 + 3 * frame.dimensions))

    def work(first: int, stop: int) -> None:
        frame.backend.hull_features(frame.ids, boxes, centres, counts, first, stop, rows)

    frame.each_range(work, _box_volumes(boxes))
    _pass_on_defect_centres(rows, default["Coord<Minimum>"])
    return rows


def _pass_on_defect_centres(rows: np.ndarray, lowest: np.ndarray) -> None:
    """Give objects without defects the DefectCenter ilastik gives them, in place, since its classifiers have seen it.

    There it is left over from the object before, as an offset from the bounding box; the first object finds the last
    one's HullCenter.
    """
    dimensions = lowest.shape[1]
    defects = rows[:, 3]
    hull, centre = (rows[:, 9 + i * dimensions :][:, :dimensions] for i in (1, 2))
    source = np.maximum.accumulate(np.where(defects > 0, np.arange(len(rows)), -1))
    offsets = np.where((source >= 0)[:, None], (centre - lowest)[source], (hull - lowest)[-1])
    without = defects == 0
    centre[without] = (lowest + offsets)[without]


def _measure_skeletons(frame: _Frame, boxes: np.ndarray, memory_bytes: int) -> np.ndarray:
    """(count, columns) in the order of the catalogue. Boxes that are large for the memory are taken one by one."""
    rows = np.empty((frame.labels.count, 12))
    volumes = _box_volumes(boxes)
    largest = int(volumes.argmax())
    if volumes[largest] * _SKELETON_BYTES > memory_bytes:
        size = int(volumes[largest]) * _SKELETON_BYTES
        raise MemoryTooSmall(
            f"the skeleton of object {largest + 1} needs {size / 2**30:.1f} GiB for its bounding box, but only "
            f"{memory_bytes / 2**30:.1f} GiB may be used; allow more with --memory"
        )
    limit = memory_bytes // (_SKELETON_BYTES * frame.threads)
    large = np.flatnonzero(volumes > limit)

    def work(first: int, stop: int) -> None:
        for begin, end in _split_around(first, stop, large):
            frame.backend.skeleton_features(frame.ids, boxes, begin, end, rows)

    frame.each_range(work, np.where(volumes > limit, 0, volumes) + 1)
    for i in large.tolist():
        frame.backend.skeleton_features(frame.ids, boxes, i, i + 1, rows)
    return rows


def _split_around(first: int, stop: int, excluded: np.ndarray) -> Iterator[Range]:
    """The range without the excluded objects."""
    inside = excluded[(excluded >= first) & (excluded < stop)].tolist()
    for begin, end in zip([first, *(i + 1 for i in inside)], [*inside, stop], strict=True):
        if begin < end:
            yield begin, end


def _box_volumes(boxes: np.ndarray) -> np.ndarray:
    volumes: np.ndarray = np.prod((boxes[:, 3:] - boxes[:, :3]).astype(np.int64), axis=1)
    return volumes


def _pick(wanted: Iterable[str], plugin: str, rows: np.ndarray, dimensions: int) -> dict[str, np.ndarray]:
    """The wanted features of a plugin whose rows hold all of them, in the order of the catalogue."""
    place, places = 0, {}
    for entry in CATALOGUE[plugin].values():
        size = entry.size.count(dimensions=dimensions, channels=1)
        places[entry.name] = slice(place, place + size)
        place += size
    return {name: _as_float32(rows[:, places[name]]) for name in wanted}

"""Results that are written into arrays, tile by tile."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from math import prod
from threading import Lock
from typing import Any

import numpy as np

from ...box import Box
from ...frozen import frozen
from ..axes import box_from_canonical, from_canonical
from ..errors import ExportError, InputMismatch, MemoryTooSmall, UsageError, setting
from ..export.convert import Conversion, convert
from ..export.images import ResultInfo
from ..inputs.images import InputImage
from ..machine import format_size_up
from ..requests import EXPORT_DTYPES
from ..storage.chunks import ChunkAssembler
from ..tiling.groups import ChunkGrid
from .kinds import write_unit

logger = logging.getLogger("pixelforest.export")


@frozen
class ResultPlan:
    """Plan of one result.

    axes    its letters: those of the image; c is last if the image has none, and absent where a voxel has one value
    region  canonical box that is computed and stored
    """

    info: ResultInfo
    axes: str
    region: Box
    conversion: Conversion

    @property
    def dtype(self) -> np.dtype:
        return self.conversion.target

    @property
    def shape(self) -> tuple[int, ...]:
        return box_from_canonical(self.region, self.axes).shape

    def within(self, box: Box) -> ResultPlan:
        """Plan the part of the result in a box (t, z, y, x), all channels included."""
        return replace(self, region=Box((*box.start, 0), (*box.stop, self.info.channels)))

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    @property
    def bytes_per_voxel(self) -> int:
        """Memory per voxel of a tile: as computed and as converted."""
        return self.info.channels * (self.info.dtype.itemsize + self.dtype.itemsize)


def plan_result(info: ResultInfo, image: InputImage, dtype: Any) -> ResultPlan:
    """Plan a result of an image.

    Raises UsageError for a ``dtype`` that is no pixel type, or in which nothing of the values would be left.
    """
    spatial = image.axes.replace("c", "")
    axes = spatial if info.is_scalar else image.axes if "c" in image.axes else f"{image.axes}c"
    target = info.dtype if dtype is None else _choose_dtype(dtype)
    if info.dtype.kind == "f" and target.kind in "iu" and (info.value_range or info.drange) == (0.0, 1.0):
        raise UsageError(
            f"{setting('export_dtype')}={target} would leave 0 and 1 of {info.name}, whose values are from 0 to 1; "
            "use a type of floats, or multiply the result"
        )
    region = Box.whole((*image.shape[:4], info.channels))
    return ResultPlan(info, axes, region, Conversion(info.dtype, target))


def choose_region(region: Any, image: InputImage) -> Box:
    """Resolve slices along the axes of an image to a box (t, z, y, x).

    Raises UsageError unless there is one slice for each axis, with a step of 1 and at least one voxel; that of c has to
    contain all channels.
    """
    slices = tuple(region) if isinstance(region, tuple | list) else (region,)
    if len(slices) != len(image.axes) or not all(isinstance(each, slice) for each in slices):
        raise UsageError(f"region has to be a tuple of {len(image.axes)} slices, one for each of the axes {image.axes}")
    ranges = {}
    for letter, each, size in zip(image.axes, slices, image.file_shape, strict=True):
        start, stop, step = each.indices(size)
        if step != 1 or start >= stop:
            raise UsageError(f"region: {each} along {letter} contains none of its {size} positions, or leaves some out")
        if letter == "c" and (start, stop) != (0, size):
            raise UsageError(f"region: all {size} channels are needed; write slice(None) for c")
        ranges[letter] = start, stop
    ends = [ranges.get(letter, (0, 1)) for letter in "tzyx"]
    return Box(tuple(start for start, _ in ends), tuple(stop for _, stop in ends))


def _choose_dtype(dtype: Any) -> np.dtype:
    with suppress(TypeError):
        chosen: np.dtype = np.dtype(dtype)
        if chosen.name in EXPORT_DTYPES:
            return chosen
    raise UsageError(f"{setting('export_dtype')}={dtype}: choose one of {', '.join(EXPORT_DTYPES)}")


def make_targets(plans: Sequence[ResultPlan], memory_bytes: int) -> list[np.ndarray]:
    """Allocate an array for each result. Raises MemoryTooSmall if they exceed the budget."""
    total = sum(plan.nbytes for plan in plans)
    if total > memory_bytes:
        raise MemoryTooSmall(
            f"the results take {format_size_up(total)}, and the memory budget is {format_size_up(memory_bytes)}; give "
            f"arrays that are stored elsewhere with out, such as Zarr's, or raise {setting('memory')}"
        )
    return [np.empty(plan.shape, plan.dtype) for plan in plans]


def check_targets(out: Any, plans: Sequence[ResultPlan], *, is_single: bool) -> list[Any]:
    """Return the arrays given as ``out``, one for each result. Raises UsageError if they do not fit."""
    targets = [out] if is_single else list(out) if isinstance(out, tuple | list) else []
    if len(targets) != len(plans):
        raise UsageError(f"out has to be a tuple of {len(plans)} arrays, one for each result")
    for plan, target in zip(plans, targets, strict=True):
        if not hasattr(target, "__setitem__"):
            raise UsageError(
                f"out for {plan.info.name} is a {type(target).__qualname__}, to which no slice is assigned"
            )
        shape, dtype = getattr(target, "shape", None), getattr(target, "dtype", None)
        if shape is not None and tuple(shape) != plan.shape:
            raise UsageError(
                f"out for {plan.info.name} has the shape {tuple(shape)}; the result has {plan.shape}, axes {plan.axes}"
            )
        if dtype is not None and np.dtype(getattr(dtype, "numpy_dtype", dtype)) != plan.dtype:
            raise UsageError(
                f"out for {plan.info.name} has the type {dtype}, the result {plan.dtype}; "
                f"{setting('export_dtype')} converts it"
            )
    return targets


class ArraySink:
    """Receiver of the tiles of a result, which puts them into an array; see ``export.tile_sinks.TileSink``.

    target  array of the plan's shape
    """

    def __init__(self, plan: ResultPlan, target: Any) -> None:
        self.plan, self.region, self.conversion = plan, plan.region, plan.conversion
        self.bytes_per_voxel = plan.bytes_per_voxel
        is_memory = isinstance(target, np.ndarray)
        self.held_bytes = plan.nbytes if is_memory else 0
        self.grid: ChunkGrid | None = None
        self.overflow_count = 0
        self._target, self._lock = target, Lock()
        self._assembler: ChunkAssembler | None = None
        # A store reads, changes and writes whole chunks, so that two threads must not write parts of one.
        self._is_parallel = is_memory
        unit = None if is_memory else write_unit(target)
        if unit is not None:
            sizes = dict(zip(plan.axes, unit, strict=True))
            shape = tuple(sizes.get(axis, 1) for axis in "zyx")
            self.grid = ChunkGrid(shape, plan.info.channels * plan.dtype.itemsize)
            self._assembler = ChunkAssembler(plan.shape, unit, plan.dtype)
            self._is_parallel = True

    def write(self, box: Box, data: np.ndarray) -> None:
        """Take the voxels (t, z, y, x, c) of a canonical box; those outside of the region are ignored."""
        wanted = box.intersect(self.region)
        if not wanted.is_empty:
            values, overflow_count = convert(data[wanted.relative_to(box.start).slices()], self.conversion)
            self.write_converted(wanted, values, overflow_count)

    def write_converted(self, box: Box, data: np.ndarray, overflow_count: int) -> None:
        """Take voxels of a box of the region that are converted already; ``overflow_count`` of them did not fit."""
        axes = self.plan.axes
        place = box_from_canonical(box.relative_to(self.region.start), axes)
        values = from_canonical(data, axes)
        if overflow_count:
            with self._lock:
                self.overflow_count += overflow_count
        if self._assembler is not None:
            whole = Box.whole(self.plan.shape)
            for corner, chunk in self._assembler.add(place, values):
                inside = Box.whole(chunk.shape).shift(corner).intersect(whole)
                self._target[inside.slices()] = chunk[inside.relative_to(corner).slices()]
        elif self._is_parallel:
            self._target[place.slices()] = values
        else:
            with self._lock:
                self._target[place.slices()] = values

    def finish(self) -> None:
        """Log values that did not fit the type."""
        if self.overflow_count:
            logger.warning(
                "%s: %d values do not fit %s and wrapped around",
                self.plan.info.name,
                self.overflow_count,
                self.plan.dtype,
            )


def choose_names(results: Any, known: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """Choose results by their names, in any case; the second value is True for one name that is not in a sequence.

    Raises ExportError for unknown names.
    """
    from ..export.settings import choose_results

    if results is None or isinstance(results, str):
        names = choose_results(results, known)
        return names, len(names) == 1
    names = tuple(name for each in results for name in choose_results(str(each), known))
    if not names or len(set(names)) < len(names):
        raise ExportError(f"{setting('export_source')}: give one or more different names out of {', '.join(known)}")
    return names, False


def check_lazy(infos: Iterable[ResultInfo]) -> None:
    """Raise InputMismatch for results that cannot be computed from a part of the image."""
    for info in infos:
        if not info.is_local:
            raise InputMismatch(
                f"{info.name} depends on the whole image, so it is not computed block by block; give an array for it "
                "with out, or use predict_objects, which computes at once"
            )

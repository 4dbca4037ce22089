"""Writers of results as two-dimensional pictures: order of axes, conversion to 8 bits, one file or a sequence.

A picture format provides one function that stores a plane; ``plane_writer`` and ``sequence_writer`` do the rest, so
that ``<format> sequence`` costs one line. Valid planes (types, channels) are defined by the format's Limits.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock

import numpy as np

from ....box import Box
from ....frozen import frozen
from ...axes import to_canonical
from ...errors import ExportError, setting
from ...storage.atomic_write import Target, check_file_place, export_errors
from ..spec import SEQUENCE, ImageSpec, ImageWriter, Limits, OutputFormat

__all__ = [
    "DescribedStore",
    "Store",
    "fold_plane",
    "picture_formats",
    "plane_writer",
    "sequence_writer",
    "slice_paths",
    "step_axis",
    "stretch_to_uint8",
]

log = logging.getLogger("pixelforest.export")

# (file to fill, plane of shape (height, width, channels)) -> description of a loss, or None
Store = Callable[[Path, np.ndarray], str | None]


@frozen
class DescribedStore:
    """Store for formats whose files contain metadata: ``of`` returns the function that stores pictures of a result."""

    of: Callable[[ImageSpec], Store]


_SLICE_INDEX = r"\{slice_index(?::([^{}]*))?\}"
_ROWS = 1 << 22  # elements stretched at a time, which bounds the float64 copy


def fold_plane(array: np.ndarray, axes: str) -> np.ndarray:
    """Convert an array with at most two axes longer than 1 (besides c) to a picture (height, width, channels).

    The width is the first of x, y, z, t that is longer than 1 and the height the next one, regardless of the order of
    ``axes``. A single line becomes one row.
    """
    whole = to_canonical(array, axes)
    sizes = [n for n in whole.shape[:4] if n > 1]
    if len(sizes) > 2:
        raise ExportError(f"an image of shape {array.shape} ({axes}) is not a plane")
    return whole.reshape((*[1] * (2 - len(sizes)), *sizes, whole.shape[4]))


def stretch_to_uint8(plane: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Map a plane linearly from its own (finite) minimum and maximum to 0..255; returns also that range.

    Rounds half up; a constant plane becomes 0, as does NaN.
    """
    finite = plane
    if plane.dtype.kind == "f" and not np.isfinite(plane).all():
        finite = plane[np.isfinite(plane)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    scale = 255.0 / (high - low if high > low else 1.0)
    result = np.empty(plane.shape, np.uint8)
    step = max(1, _ROWS // max(1, math.prod(plane.shape[1:])))
    for top in range(0, plane.shape[0], step):
        rows = slice(top, top + step)
        level = np.floor(scale * (plane[rows].astype(np.float64) - low) + 0.5)
        result[rows] = np.nan_to_num(np.clip(level, 0.0, 255.0), nan=0.0).astype(np.uint8)
    return result, (low, high)


def step_axis(shape: Sequence[int], axes: str, *, max_dims: int | None = 3) -> str:
    """Choose the axis along which a sequence has one file per position: the first of ``axes`` longer than 1.

    max_dims  of the whole sequence: 3 if its files are pictures, 4 if they are stacks
    Raises ExportError unless exactly that many axes are longer than 1, besides c.
    """
    count = max_dims or 3
    long_axes = "".join(a for a, n in zip(axes, shape, strict=True) if n > 1)
    if len(long_axes) == count or (len(long_axes) == count + 1 and "c" in long_axes[1:]):
        return long_axes[0]
    sizes = ", ".join(f"{a}={n}" for a, n in zip(axes, shape, strict=True))
    raise ExportError(
        f"an image sequence needs exactly {'three' if count == 3 else 'four'} axes longer than 1 (a channel axis that "
        f"is not the first does not count), but the result has {sizes}; choose a region with "
        f"{setting('cutout_subregion')}, "
        f"another {setting('output_axis_order')}, or {setting('output_format')}=hdf5"
    )


def slice_paths(pattern: Path, offset: int, count: int) -> list[Path]:
    """List the files of a sequence; ``{slice_index}`` without a format is padded to the last number's width."""
    width = math.ceil(math.log10(offset + count + 1))
    text = str(pattern)
    if not re.search(_SLICE_INDEX, text):
        raise ExportError(f"the name of an image sequence needs {{slice_index}}, but it is {text}")

    def name(number: int) -> Path:
        try:
            return Path(re.sub(_SLICE_INDEX, lambda m: format(number, m[1] or f"0{width}d"), text))
        except (ValueError, OverflowError) as error:
            raise ExportError(f"the format of {{slice_index}} in {text} does not suit a number ({error})") from None

    paths = [name(offset + i) for i in range(count)]
    if len(set(paths)) < count:
        raise ExportError(f"the format of {{slice_index}} in {text} gives several slices the same name")
    return paths


def _slice_shape(spec: ImageSpec) -> tuple[int, ...]:
    """Shape of one file of a sequence, in output axes."""
    axis = step_axis(spec.shape, spec.axes)
    return tuple(1 if a == axis else n for a, n in zip(spec.axes, spec.shape, strict=True))


def picture_formats(
    name: str,
    store: Store | DescribedStore,
    limits: Limits,
    summary: str,
    *,
    signatures: tuple[bytes, ...],
    max_side: int | None = None,
) -> tuple[OutputFormat, OutputFormat]:
    """Make a format for single pictures, and ``<name> sequence``. Its name is the extension.

    signatures   first bytes of its files; max_side as in ``plane_writer``
    """
    from .signature import begins_with

    sequence_limits, is_result = replace(limits, max_dims=3), begins_with(*signatures)
    return (
        OutputFormat(
            name,
            name,
            plane_writer(store, limits, max_side=max_side),
            limits,
            summary,
            check_place=_plane_check(max_side),
            is_result=is_result,
        ),
        OutputFormat(
            f"{name}{SEQUENCE}",
            name,
            sequence_writer(store, limits, max_side=max_side),
            sequence_limits,
            f"one {name} picture per slice, numbered by {{slice_index}}",
            sequence=True,
            streams=True,
            unit=_slice_shape,
            check_place=_sequence_check(max_side),
            is_result=is_result,
        ),
    )


def plane_writer(
    store: Store | DescribedStore, limits: Limits, *, max_side: int | None = None
) -> Callable[[Path, str, ImageSpec], ImageWriter]:
    """Make ``OutputFormat.open`` for single pictures; ``max_side`` is the format's maximum width and height."""

    def open_writer(path: Path, internal_path: str, spec: ImageSpec) -> ImageWriter:
        _check_sides(spec, spec.axes, max_side)
        return _PlaneWriter(path, spec, _store_of(store, spec), limits)

    return open_writer


def sequence_writer(
    store: Store | DescribedStore, limits: Limits, *, max_side: int | None = None
) -> Callable[[Path, str, ImageSpec], ImageWriter]:
    """Make ``OutputFormat.open`` for one picture per slice; ``max_side`` as in ``plane_writer``."""

    def open_writer(path: Path, internal_path: str, spec: ImageSpec) -> ImageWriter:
        _check_sides(spec, spec.axes.replace(step_axis(spec.shape, spec.axes), ""), max_side)
        return _SequenceWriter(path, spec, _store_of(store, spec), limits)

    return open_writer


def _store_of(store: Store | DescribedStore, spec: ImageSpec) -> Store:
    return store.of(spec) if isinstance(store, DescribedStore) else store


def _plane_check(max_side: int | None) -> Callable[[Path, str, ImageSpec], None]:
    def check_place(path: Path, internal: str, spec: ImageSpec) -> None:
        _check_sides(spec, spec.axes, max_side)
        _check_dims(spec.shape, spec.axes)
        check_file_place(path)

    return check_place


def _sequence_check(max_side: int | None) -> Callable[[Path, str, ImageSpec], None]:
    def check_place(path: Path, internal: str, spec: ImageSpec) -> None:
        stepped = step_axis(spec.shape, spec.axes)
        _check_sides(spec, spec.axes.replace(stepped, ""), max_side)
        _check_dims([1 if a == stepped else n for a, n in zip(spec.axes, spec.shape, strict=True)], spec.axes)
        check_file_place(path)

    return check_place


def _empty(shape: Sequence[int], dtype: np.dtype, path: Path) -> np.ndarray:
    try:
        return np.empty(shape, dtype)
    except MemoryError:
        size = math.prod(shape) * dtype.itemsize / 1e9
        raise ExportError(f"cannot write {path}: the picture needs {size:.1f} GB of memory; use hdf5 instead") from None


def _check_dims(shape: Sequence[int], axes: str) -> None:
    sizes = {a: n for a, n in zip(axes, shape, strict=True) if a != "c" and n > 1}
    if len(sizes) > 2:
        raise ExportError(f"a picture holds two dimensions, but the result has {', '.join(sizes)} longer than 1")


def _check_sides(spec: ImageSpec, picture_axes: str, max_side: int | None) -> None:
    for axis, size in zip(spec.axes, spec.shape, strict=True):
        if max_side is not None and axis in picture_axes and axis != "c" and size > max_side:
            raise ExportError(
                f"the result has {size} pixels along {axis}, but this format holds at most {max_side}; "
                "use tiff or hdf5 instead"
            )


class _Pictures:
    """Store of planes that stretches types the format does not support, and records the ranges used."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store, self._limits = store, limits
        self._ranges: list[tuple[float, float]] = []
        self._losses: set[str] = set()

    def put(self, target: Target, array: np.ndarray, axes: str) -> None:
        plane = np.ascontiguousarray(fold_plane(array, axes))
        if self._limits.dtypes is not None and plane.dtype.name not in self._limits.dtypes:
            plane, used = stretch_to_uint8(plane)
            self._ranges.append(used)
        with export_errors(target.path):
            try:
                loss = self._store(target.temporary, plane)
            except (ValueError, RuntimeError, MemoryError) as error:  # codecs raise their own subclasses of these
                raise ExportError(f"cannot write {target.path}: {str(error) or type(error).__name__}") from error
        if loss:
            self._losses.add(loss)

    def report(self, path: Path, dtype: np.dtype) -> None:
        """Log once the losses, and the range from which values were stretched."""
        for loss in sorted(self._losses):
            log.warning("%s: %s", path, loss)
        if not self._ranges:
            return
        low, high = min(r[0] for r in self._ranges), max(r[1] for r in self._ranges)
        each = "each slice from its own range, together" if len(self._ranges) > 1 else "the range"
        log.warning(
            "%s: this format does not hold %s; %s %.9g to %.9g was stretched to 0..255, so grey values of different "
            "files cannot be compared",
            path, dtype, each, low, high,
        )  # fmt: skip


class _PlaneWriter(ImageWriter):
    """Writer that keeps the whole result in memory until it is complete."""

    def __init__(self, path: Path, spec: ImageSpec, store: Store, limits: Limits) -> None:
        _check_dims(spec.shape, spec.axes)
        self._spec, self._pictures = spec, _Pictures(store, limits)
        self._array = _empty(spec.shape, spec.dtype, path)
        self._target = Target(path)

    def write(self, box: Box, data: np.ndarray) -> None:
        self._array[box.slices()] = data

    def finish(self) -> list[Path]:
        self._pictures.put(self._target, self._array, self._spec.axes)
        path = self._target.commit()
        self._pictures.report(path, self._spec.dtype)
        return [path]

    def abort(self) -> None:
        self._target.discard()


class _SequenceWriter(ImageWriter):
    """Writer that keeps a slice in memory until it is complete; the thread with its last voxel stores it."""

    def __init__(self, path: Path, spec: ImageSpec, store: Store, limits: Limits) -> None:
        self._axis = spec.axes.index(step_axis(spec.shape, spec.axes))
        self._slice_shape = _slice_shape(spec)
        _check_dims(self._slice_shape, spec.axes)
        self.chunks = self._slice_shape
        self._pattern, self._spec, self._pictures = path, spec, _Pictures(store, limits)
        self._paths = slice_paths(path, spec.offset[self._axis], spec.shape[self._axis])
        self._slices: dict[int, np.ndarray] = {}
        self._missing = [math.prod(self._slice_shape)] * len(self._paths)
        self._lock = Lock()
        self._targets = {0: Target(self._paths[0])}

    def write(self, box: Box, data: np.ndarray) -> None:
        for i in range(box.start[self._axis], box.stop[self._axis]):
            array = self._slice(i)
            inside = [slice(a, b) for a, b in zip(box.start, box.stop, strict=True)]
            inside[self._axis] = slice(0, 1)
            piece = np.take(data, [i - box.start[self._axis]], axis=self._axis)
            array[tuple(inside)] = piece
            with self._lock:
                self._missing[i] -= piece.size
                is_complete = self._missing[i] == 0
                if is_complete:
                    del self._slices[i]
            if is_complete:
                self._pictures.put(self._open_target(i), array, self._spec.axes)

    def _slice(self, i: int) -> np.ndarray:
        with self._lock:
            if i not in self._slices:
                self._slices[i] = _empty(self._slice_shape, self._spec.dtype, self._paths[i])
            return self._slices[i]

    def _open_target(self, i: int) -> Target:
        with self._lock:
            if i not in self._targets:
                self._targets[i] = Target(self._paths[i])
            return self._targets[i]

    def finish(self) -> list[Path]:
        if any(self._missing):
            raise ExportError(f"cannot write {self._pattern}: some slices are incomplete")
        targets = [self._targets[i] for i in range(len(self._paths))]
        for target in targets:  # all or none, as far as possible
            target.check_alive()
        paths = [target.commit() for target in targets]
        self._pictures.report(self._pattern, self._spec.dtype)
        return paths

    def abort(self) -> None:
        for target in list(self._targets.values()):
            target.discard()

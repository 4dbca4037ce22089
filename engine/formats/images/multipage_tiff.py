"""OME-TIFF for stacks of any number of dimensions and channels: one file, or one for each position along an axis.

This module decides the layout inside the file (always TZCYX, uncompressed, contiguous pages), and the units that OME
has a name for.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np

from ....box import Box
from ...axes import to_canonical
from ...errors import ExportError
from ...storage.atomic_write import Target, export_errors
from ..spec import ImageSpec, ImageWriter, Limits, OutputFormat
from ..support.picture_writers import slice_paths, step_axis
from ..support.signature import TIFF_SIGNATURES, begins_with
from .tiff import needs_bigtiff

__all__ = ["OUTPUTS"]

_AXES = "tzcyx"
_SIZES = {"x": "PhysicalSizeX", "y": "PhysicalSizeY", "z": "PhysicalSizeZ", "t": "TimeIncrement"}
_UNITS = {
    "µm": "um micron microns micrometer micrometers micrometre micrometres µm μm",
    "nm": "nm nanometer nanometers nanometre nanometres",
    "mm": "mm millimeter millimeters millimetre millimetres",
    "cm": "cm centimeter centimeters centimetre centimetres",
    "m": "m meter meters metre metres",
    "km": "km kilometer kilometers kilometre kilometres",
    "pm": "pm picometer picometers picometre picometres",
    "Å": "å angstrom angstroms",
    "in": "in inch inches",
    "s": "s sec secs second seconds",
    "ms": "ms msec millisecond milliseconds",
    "µs": "us usec µs microsecond microseconds",
    "ns": "ns nsec nanosecond nanoseconds",
    "min": "min mins minute minutes",
    "h": "h hr hour hours",
    "d": "d day days",
}
_SYMBOLS = {name: symbol for symbol, names in _UNITS.items() for name in names.split()}


def _ome_metadata(spec: ImageSpec) -> dict[str, Any]:
    """Make OME metadata of axes, pixel sizes, units and range; a length without a known unit is in pixels."""
    from ..support.tiff_range import range_entry

    meta: dict[str, Any] = {"axes": _AXES.upper()}
    for axis, name in _SIZES.items():
        size = spec.resolution.get(axis, 0.0)
        if size:
            meta[name] = size
        symbol = _SYMBOLS.get(spec.axis_units.get(axis, "").strip().casefold())
        if symbol or axis != "t":
            meta[f"{name}Unit"] = symbol or "pixel"
    if entry := range_entry(spec):
        meta["Description"] = entry
    return meta


class _MultipageWriter(ImageWriter):
    """Writer of an OME-TIFF laid out in advance: every box is written directly, so nothing is held in memory."""

    def __init__(self, path: Path, internal_path: str, spec: ImageSpec) -> None:
        self._axes = spec.axes
        t, z, y, x, c = (spec.shape[spec.axes.index(a)] if a in spec.axes else 1 for a in "tzyxc")
        self._shape = (t, z, c, y, x)
        self._dtype = spec.dtype.newbyteorder("<")
        self._target = Target(path)
        try:
            with export_errors(path):
                self._offset = self._lay_out(spec)
        except BaseException:
            self._target.discard()
            raise

    def _lay_out(self, spec: ImageSpec) -> int:
        """Write everything but the pixels; returns where these begin."""
        import tifffile

        path = self._target.temporary
        bigtiff = needs_bigtiff(spec.nbytes, math.prod(self._shape[:3]))
        with tifffile.TiffWriter(path, byteorder="<", ome=True, bigtiff=bigtiff) as writer:
            place = writer.write(
                shape=self._shape,
                dtype=self._dtype,
                photometric="minisblack",
                software="ilastik",
                metadata=_ome_metadata(spec),
                returnoffset=True,
            )
        assert place is not None  # one uncompressed block
        return int(place[0])

    def write(self, box: Box, data: np.ndarray) -> None:
        planes = np.moveaxis(to_canonical(data, self._axes), 4, 2).astype(self._dtype, copy=False)  # t z c y x
        start = dict(zip(self._axes, box.start, strict=True))
        corner = tuple(start.get(a, 0) for a in _AXES)
        # Opened each time: a sequence has more of these files than a process may keep open.
        with export_errors(self._target.path), open(self._target.temporary, "r+b", buffering=0) as file:
            for index in np.ndindex(planes.shape[:3]):
                place = tuple(a + i for a, i in zip(corner, (*index, 0, 0), strict=True))
                self._write_plane(file, planes[index], place)

    def _write_plane(self, file: BinaryIO, plane: np.ndarray, corner: tuple[int, ...]) -> None:
        rows = np.ascontiguousarray(plane)
        first = self._offset + int(np.ravel_multi_index(corner, self._shape)) * self._dtype.itemsize
        width = self._shape[4] * self._dtype.itemsize
        pieces = [rows] if rows.shape[1] == self._shape[4] else list(rows)
        for i, piece in enumerate(pieces):
            file.seek(first + i * width)
            left = memoryview(piece.tobytes())
            while left:
                left = left[file.write(left) :]

    def check_alive(self) -> None:
        """Raise ExportError if its temporary file was removed."""
        self._target.check_alive()

    def finish(self) -> list[Path]:
        return [self._target.commit()]

    def abort(self) -> None:
        self._target.discard()


class _StackSequenceWriter(ImageWriter):
    """Writer of one OME-TIFF for each position along the first axis."""

    def __init__(self, path: Path, internal_path: str, spec: ImageSpec) -> None:
        self._axis = spec.axes.index(step_axis(spec.shape, spec.axes, max_dims=_SEQUENCE.max_dims))
        self._pattern, self._lock = path, Lock()
        self._paths = slice_paths(path, spec.offset[self._axis], spec.shape[self._axis])
        self._stack = replace(spec, shape=(*spec.shape[: self._axis], 1, *spec.shape[self._axis + 1 :]))
        self._writers = {0: _MultipageWriter(self._paths[0], internal_path, self._stack)}

    def write(self, box: Box, data: np.ndarray) -> None:
        axis, first = self._axis, box.start[self._axis]
        for i in range(first, box.stop[axis]):
            inside = Box((*box.start[:axis], 0, *box.start[axis + 1 :]), (*box.stop[:axis], 1, *box.stop[axis + 1 :]))
            self._open(i).write(inside, data[(slice(None),) * axis + (slice(i - first, i - first + 1),)])

    def _open(self, i: int) -> _MultipageWriter:
        with self._lock:
            if i not in self._writers:
                self._writers[i] = _MultipageWriter(self._paths[i], "", self._stack)
            return self._writers[i]

    def finish(self) -> list[Path]:
        if len(self._writers) < len(self._paths):
            raise ExportError(f"cannot write {self._pattern}: some slices are incomplete")
        writers = [self._writers[i] for i in range(len(self._paths))]
        for writer in writers:  # all or none, as far as possible
            writer.check_alive()
        return [file for writer in writers for file in writer.finish()]

    def abort(self) -> None:
        for writer in list(self._writers.values()):
            writer.abort()


_DTYPES = frozenset(["uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64"])  # the types of OME
_STACK = Limits(_DTYPES)
_SEQUENCE = Limits(_DTYPES, max_dims=4)

OUTPUTS = (
    OutputFormat(
        "multipage tiff",
        "tiff",
        _MultipageWriter,
        _STACK,
        "OME-TIFF with axes TZCYX, any number of dimensions and channels, uncompressed",
        streams=True,
        fixed_axes=_AXES,
        least_bytes=lambda spec: spec.nbytes,
        is_result=begins_with(*TIFF_SIGNATURES),
    ),
    OutputFormat(
        "multipage tiff sequence",
        "tiff",
        _StackSequenceWriter,
        _SEQUENCE,
        "one OME-TIFF per slice along the first axis, numbered by {slice_index}",
        sequence=True,
        streams=True,
        least_bytes=lambda spec: spec.nbytes,
        is_result=begins_with(*TIFF_SIGNATURES),
    ),
)

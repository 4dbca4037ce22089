"""Writing of one result of one lane, tile by tile, as planned in images.py.

Boxes are canonical (t, z, y, x, c) in the coordinates of the whole result.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Protocol

import numpy as np

from ...box import Box
from ..axes import box_from_canonical, from_canonical
from ..errors import Text, setting
from ..formats.spec import BlockWriter, ImageWriter
from ..tiling.groups import ChunkGrid
from .convert import Conversion, convert
from .images import ExportPlan

__all__ = ["BlockSink", "ImageExport", "TileDemand", "TileSink", "open_export"]

log = logging.getLogger("pixelforest.export")


def open_export(plan: ExportPlan, *, run: str = "") -> ImageExport:
    """Start writing, or continue the blocks of a run of this name. Raises ExportError if that is not possible."""
    return ImageExport(plan, run=run)


class TileDemand(Protocol):
    """Demands of a result on the tiles it is made from; known before its file is open.

    region            canonical box that has to be computed
    conversion        conversion of the values; None: unconverted
    bytes_per_voxel   memory per voxel of a tile: as computed, converted, and compressed
    held_bytes        memory that is held until the end
    grid              chunks of the file, which stay in memory until they are complete; None: no chunks
    """

    @property
    def region(self) -> Box: ...
    @property
    def conversion(self) -> Conversion | None: ...
    @property
    def bytes_per_voxel(self) -> int: ...
    @property
    def held_bytes(self) -> int: ...
    @property
    def grid(self) -> ChunkGrid | None: ...


class TileSink(TileDemand, Protocol):
    """Receiver of the finished tiles of a result, from several threads at once."""

    def write(self, box: Box, data: np.ndarray) -> None:
        """Take the voxels (t, z, y, x, c) of a canonical box; those outside of the region are ignored."""

    def write_converted(self, box: Box, data: np.ndarray, overflow_count: int) -> None:
        """Write voxels of a box of the region that are converted already; ``overflow_count`` of them did not fit."""


class ImageExport:
    """A result being written; takes boxes in any order, from several threads at once.

    region   canonical box that has to be computed; conversion: that of its values
    path     for the log, with the dataset inside a container
    """

    def __init__(self, plan: ExportPlan, *, run: str = "") -> None:
        self.plan = plan
        self.region, self.path, self.conversion = plan.region, plan.shown_path, plan.conversion
        self.warnings = list(plan.warnings)
        self._lock, self._overflow_count = Lock(), 0
        self._writer = _open_writer(plan, run)

    @property
    def bytes_per_voxel(self) -> int:
        """See TileSink."""
        return self.plan.bytes_per_voxel

    @property
    def held_bytes(self) -> int:
        """See TileSink."""
        return self.plan.held_bytes

    @property
    def grid(self) -> ChunkGrid | None:
        """See TileSink."""
        return self.plan.grid

    def write(self, box: Box, data: np.ndarray) -> None:
        """Take the voxels of a canonical box; those outside of the region are ignored.

        data   (t, z, y, x, c) in the result's own type
        """
        wanted = box.intersect(self.region)
        if not wanted.is_empty:
            values, overflow_count = convert(data[wanted.relative_to(box.start).slices()], self.conversion)
            self.write_converted(wanted, values, overflow_count)

    def write_converted(self, box: Box, data: np.ndarray, overflow_count: int) -> None:
        """Write the voxels of a box of the region, (t, z, y, x, c) in the target type.

        ``overflow_count`` of them did not fit that type.

        A backend may convert its results itself, which reduces transfers.
        """
        if overflow_count:
            with self._lock:
                self._overflow_count += overflow_count
        axes = self.plan.spec.axes
        target = box_from_canonical(box.relative_to(self.region.start), axes)
        self._writer.write(target, from_canonical(data, axes))

    def settle(self, block: BlockSink) -> str:
        """Wait until a block is on disk; returns facts about its files for ``restore``. Raises ExportError."""
        assert isinstance(self._writer, BlockWriter)
        return self._writer.settle(box_from_canonical(block.region.relative_to(self.region.start), self.plan.spec.axes))

    def restore(self, block: BlockSink, files: str, overflow_count: int) -> None:
        """Count a block as written that was settled by another process, or before. Raises ValueError."""
        assert isinstance(self._writer, BlockWriter)
        box = box_from_canonical(block.region.relative_to(self.region.start), self.plan.spec.axes)
        self._writer.restore(box, files)
        self._overflow_count += overflow_count

    def level_shapes(self) -> Sequence[tuple[Sequence[int], Sequence[int]]]:
        """Shape and unit (t, z, y, x) of smaller copies: see ``BlockWriter``."""
        return self._writer.level_shapes() if isinstance(self._writer, BlockWriter) else ()

    def make_part(self, level: int, part: Box) -> str:
        """Make a part of a smaller copy: see ``BlockWriter``. Raises ExportError."""
        assert isinstance(self._writer, BlockWriter)
        return self._writer.make_part(level, part)

    def restore_part(self, level: int, part: Box, files: str) -> None:
        """Count a part as made by another process. Raises ValueError."""
        assert isinstance(self._writer, BlockWriter)
        self._writer.restore_part(level, part, files)

    def finish(self) -> list[Path]:
        """Complete the files and put them in place; returns them. Raises ExportError."""
        files = self._writer.finish()
        if self._overflow_count:
            conversion = self.conversion
            what = (
                "were cut to its limits"
                if conversion.clip
                else f"wrapped around ({setting('clip')} cuts them to its limits instead)"
            )
            text = Text(f"{self.path}: {self._overflow_count} values do not fit {conversion.target} and {what}")
            self.warnings.append(text)
            log.warning("%s", text)
        return files

    def abort(self) -> None:
        """Remove everything temporary; existing files at the path are untouched. Never raises."""
        with suppress(Exception):
            self._writer.abort()


class BlockSink:
    """Sink for one block of a result: see TileSink.

    region          canonical box, with all channels of the result
    overflow_count  number of its values that did not fit the target type
    """

    def __init__(self, export: ImageExport, block: Box) -> None:
        """Make the sink of a block, a box (t, z, y, x)."""
        channels = export.region
        self.region = Box((*block.start, channels.start[4]), (*block.stop, channels.stop[4]))
        self.conversion, self.bytes_per_voxel = export.conversion, export.bytes_per_voxel
        self.held_bytes, self.grid = export.held_bytes, export.grid
        self.overflow_count = 0
        self._export, self._lock = export, Lock()

    def write(self, box: Box, data: np.ndarray) -> None:
        """See TileSink."""
        wanted = box.intersect(self.region)
        if not wanted.is_empty:
            values, overflow_count = convert(data[wanted.relative_to(box.start).slices()], self.conversion)
            self.write_converted(wanted, values, overflow_count)

    def write_converted(self, box: Box, data: np.ndarray, overflow_count: int) -> None:
        """See TileSink."""
        with self._lock:
            self.overflow_count += overflow_count
        self._export.write_converted(box, data, overflow_count)


def _open_writer(plan: ExportPlan, run: str) -> ImageWriter:
    if run and isinstance(plan.path, Path):
        assert plan.format.open_blocks is not None  # found out by the caller
        return plan.format.open_blocks(plan.path, plan.internal_path, plan.spec, run)
    if run and isinstance(plan.path, str):
        assert plan.format.open_url_blocks is not None
        return plan.format.open_url_blocks(plan.path, plan.internal_path, plan.spec, run)
    if isinstance(plan.path, Path):
        return plan.format.open(plan.path, plan.internal_path, plan.spec)
    assert plan.format.open_url is not None  # ensured by _choose_path
    return plan.format.open_url(plan.path, plan.internal_path, plan.spec)

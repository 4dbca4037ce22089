"""A frame's objects written into images: every voxel gets what belongs to the id it carries."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np

from ..box import Box
from ..export.images import ImageExport, TileDemand, TileSink
from ..tiling.plan import TileCost, needed_bytes, plan_tiles
from ..tiling.stream import stream_tiles

ID_BYTES = 4


def paint_frame(
    read: Callable[[Box], np.ndarray],
    shape: Sequence[int],
    time: int,
    exports: Collection[tuple[ImageExport, np.ndarray | None]],
    *,
    threads: int,
    memory_bytes: int,
) -> None:
    """Write what every export wants of a frame.

    read     gives the ids (z, y, x) of a box
    exports  each with the colours (ids, channels) of the ids from 0; None: the ids themselves are written
    """

    def process(tile: Box, ids: np.ndarray) -> None:
        for export, colours in exports:
            write_frame(export, time, tile, colour(ids, colours, export))

    tiles, _ = plan_painting(shape, time, [export for export, _ in exports], threads=threads, memory_bytes=memory_bytes)
    stream_tiles(tiles, read, process, threads=threads)


def colour(ids: np.ndarray, colours: np.ndarray | None, export: ImageExport) -> np.ndarray:
    """(z, y, x, channels): every id's colour, or the ids themselves in the export's type."""
    if colours is None:
        return ids.astype(export.plan.result.dtype)[..., np.newaxis]
    return np.asarray(colours[ids])


def write_frame(export: TileSink, time: int, box: Box, data: np.ndarray) -> None:
    """Write (z, y, x, channels) at a box (z, y, x) of a frame."""
    export.write(Box((time, *box.start, 0), (time + 1, *box.stop, data.shape[3])), data[np.newaxis])


def wanted_part(export: TileDemand, time: int, box: Box) -> Box | None:
    """The part of a box (z, y, x) of a frame that an export wants; None if nothing."""
    region = export.region
    if not region.start[0] <= time < region.stop[0]:
        return None
    part = box.intersect(Box(region.start[1:4], region.stop[1:4]))
    return None if part.is_empty else part


def plan_painting(
    shape: Sequence[int], time: int, exports: Collection[TileDemand], *, threads: int, memory_bytes: int
) -> tuple[list[Box], int]:
    """What of the frame any export wants, cut into tiles (z, y, x), and the bytes they need."""
    parts = [part for export in exports if (part := wanted_part(export, time, Box.whole(shape))) is not None]
    if not parts:
        return [], 0
    start = tuple(min(part.start[i] for part in parts) for i in range(3))
    union = Box(start, tuple(max(part.stop[i] for part in parts) for i in range(3)))
    cost = TileCost(
        per_source=ID_BYTES,
        per_voxel=ID_BYTES + sum(export.bytes_per_voxel for export in exports),
        fixed=sum(export.held_bytes for export in exports),
    )
    tiles = plan_tiles(union, shape, (0, 0, 0), cost, threads=threads, memory_bytes=memory_bytes)
    return tiles, needed_bytes(tiles, shape, (0, 0, 0), cost, threads=threads)

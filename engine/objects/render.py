"""Rendering of a frame's objects into images: every voxel gets the value that a lookup table has for its id.

Each image is written in tiles of its own, along the chunks of its file, so that few chunks are partially written at a
time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import prod

import numpy as np

from ...box import Box
from ..export.tile_sinks import TileDemand, TileSink
from ..resources import Resources
from ..tiling.layers import Read
from ..tiling.plan import TileCost, needed_bytes, plan_tiles
from ..tiling.stream import stream_tiles

ID_BYTES = 4
TILE_VOXELS = 1 << 19  # larger tiles gain nothing
_PIECE_VOXELS = 1 << 20  # of a block, painted at once


def paint_frame(
    read: Read,
    shape: Sequence[int],
    time: int,
    exports: Collection[tuple[TileSink, np.ndarray | None]],
    *,
    id_dtype: np.dtype,
    resources: Resources,
) -> None:
    """Write every export's part of a frame.

    read     reads the ids (z, y, x) of a box
    exports  each with a lookup table (ids, channels), indexed by id; None: the ids themselves, as ``id_dtype``
    """
    for export, colours in exports:
        tiles = _tiles(export, shape, time, resources)

        def process(
            tile: Box, ids: np.ndarray, export: TileSink = export, colours: np.ndarray | None = colours
        ) -> None:
            if colours is None:
                write_frame(export, time, tile, ids.astype(id_dtype)[..., np.newaxis])
            else:
                write_frame(export, time, tile, np.take(colours, ids, axis=0))  # a fifth of the time of colours[ids]

        stream_tiles(tiles, read, process, threads=resources.threads)


def write_canvas(
    canvas: np.ndarray, start: Sequence[int], shape: Sequence[int], time: int, export: TileSink,
    *, resources: Resources,
) -> None:  # fmt: skip
    """Write an export's part (z, y, x, channels) of a frame, which begins at ``start`` (z, y, x)."""
    stream_tiles(
        _tiles(export, shape, time, resources),
        lambda tile: canvas[tile.relative_to(start).slices()],
        lambda tile, values: write_frame(export, time, tile, values),
        threads=resources.threads,
    )


def paint_part(ids: np.ndarray, colours: np.ndarray, out: np.ndarray) -> None:
    """Apply a lookup table (ids, channels) to ids, into out (z, y, x, channels), a piece at a time."""
    planes = max(1, _PIECE_VOXELS // max(1, ids.shape[1] * ids.shape[2]))
    rows = max(1, _PIECE_VOXELS // max(1, ids.shape[2]))
    for piece in Box.whole(ids.shape).split((planes, rows, ids.shape[2])):
        out[piece.slices()] = np.take(colours, ids[piece.slices()], axis=0)


def write_frame(export: TileSink, time: int, box: Box, data: np.ndarray) -> None:
    """Write (z, y, x, channels) at a box (z, y, x) of a frame."""
    export.write(Box((time, *box.start, 0), (time + 1, *box.stop, data.shape[3])), data[np.newaxis])


def wanted_part(export: TileDemand, time: int, box: Box) -> Box | None:
    """Part of a box (z, y, x) of a frame that is exported; None if nothing is."""
    region = export.region
    if not region.start[0] <= time < region.stop[0]:
        return None
    part = box.intersect(Box(region.start[1:4], region.stop[1:4]))
    return None if part.is_empty else part


def plan_painting(
    export: TileDemand,
    shape: Sequence[int],
    time: int,
    *,
    resources: Resources,
) -> tuple[list[Box], int]:
    """Cut an export's part of the frame into tiles (z, y, x), whole chunks of its file if these fit, and size them."""
    part = wanted_part(export, time, Box.whole(shape))
    if part is None:
        return [], 0
    cost = TileCost(per_source=ID_BYTES, per_voxel=ID_BYTES + export.bytes_per_voxel, fixed=export.held_bytes)
    if export.grid is not None:
        tiles = list(part.split(_whole_chunks(export.grid.shape, part.shape)))
        needed = needed_bytes(tiles, shape, (0, 0, 0), cost, threads=resources.threads)
        if needed <= resources.memory_bytes:
            return tiles, needed
    tiles = plan_tiles(part, shape, (0, 0, 0), cost, resources=resources)
    return tiles, needed_bytes(tiles, shape, (0, 0, 0), cost, threads=resources.threads)


def _tiles(export: TileSink, shape: Sequence[int], time: int, resources: Resources) -> list[Box]:
    return plan_painting(export, shape, time, resources=resources)[0]


def _whole_chunks(chunk: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """Choose a tile of whole chunks that is large enough to be efficient: longer along x, then y, then z."""
    tile = [min(c, n) for c, n in zip(chunk, shape, strict=True)]
    for axis in (2, 1, 0):
        fitting = max(1, TILE_VOXELS // prod(tile))
        tile[axis] = min(tile[axis] * fitting, -(-shape[axis] // tile[axis]) * tile[axis])
    return tuple(tile)

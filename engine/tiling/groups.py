"""Groups of tiles that make up whole chunks of the output, so that few chunks are partially written at a time.

In raster order every chunk that a row of tiles touches is started before one is complete: in a wide volume with chunks
of 100 planes, 100 planes. A group's sides are whole chunks, and tiles divide a group; groups are processed in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import ceil, prod

import numpy as np

from ...box import Box
from ...frozen import frozen

# Partially written chunks below both limits do not justify tiles of another size.
FREE_BYTES = 64 << 20
FREE_SHARE = 1 / 16  # of the memory
MAX_GROUP_SHARE = 1 / 4  # of the memory, for a group; below it tiles would be mostly halo
MAX_CHUNKS_ALONG_AXIS = 8  # along an axis of a group
MAX_SIMULATED_TILES = 20_000  # tiles
GOOD_FIT = 0.9  # of the tile that is best for computing


@frozen
class ChunkGrid:
    """Grid of the chunks of an output, counted from the region's start.

    shape             along z, y, x
    bytes_per_voxel   memory per voxel until its chunk is complete
    """

    shape: tuple[int, ...]
    bytes_per_voxel: float


def choose_grid(grids: Iterable[ChunkGrid | None]) -> ChunkGrid | None:
    """Choose the grid whose chunks take the most memory, with the bytes of all; None without any."""
    found = [grid for grid in grids if grid is not None]
    if not found:
        return None
    largest = max(found, key=lambda grid: grid.bytes_per_voxel * prod(grid.shape))
    return ChunkGrid(largest.shape, sum(grid.bytes_per_voxel for grid in found))


def choose_group(
    extent: Sequence[int], tile: Sequence[int], grid: ChunkGrid | None, *, memory_bytes: float
) -> tuple[int, ...] | None:
    """Choose the sides of groups for a region of this extent and tiles of about this size; None: one group."""
    if grid is None or grid.bytes_per_voxel * prod(extent) <= min(FREE_BYTES, memory_bytes * FREE_SHARE):
        return None
    counts = [_count_chunks(n, t, c) for n, t, c in zip(extent, tile, grid.shape, strict=True)]

    def sides() -> tuple[int, ...]:
        return tuple(min(n, k * c) for n, k, c in zip(extent, counts, grid.shape, strict=True))

    while prod(sides()) * grid.bytes_per_voxel > memory_bytes * MAX_GROUP_SHARE and max(counts) > 1:
        # first where tiles shrink the least relative to their best size
        longest = max(range(len(counts)), key=lambda i: (counts[i] > 1, sides()[i] / tile[i]))
        counts[longest] = (counts[longest] + 1) // 2
    return sides()


def _count_chunks(extent: int, tile: int, chunk: int) -> int:
    """Number of chunks along an axis that make a group which tiles of nearly the best size divide evenly."""
    best, best_fit = 1, 0.0
    for count in range(1, MAX_CHUNKS_ALONG_AXIS + 1):
        side = min(extent, count * chunk)
        whole, rest = divmod(extent, side)
        tiles = whole * ceil(side / tile) + ceil(rest / tile)  # the remainder counts: it is mostly halo
        fit = extent / tiles / tile
        if fit > best_fit + 1e-9:
            best, best_fit = count, fit
        if best_fit >= GOOD_FIT or side == extent:
            break
    if best_fit < GOOD_FIT and chunk * MAX_CHUNKS_ALONG_AXIS < tile:  # tiny chunks
        return max(1, tile // chunk)
    return best


def waiting_bytes(
    extent: Sequence[int], group: Sequence[int] | None, tile: Sequence[int], grid: ChunkGrid | None, *, at_once: int
) -> float:
    """Maximum memory of partially written chunks while ``at_once`` tiles are in work."""
    if grid is None:
        return 0.0
    if group is None:
        return grid.bytes_per_voxel * prod(extent)
    tiles = prod(ceil(g / max(1, t)) for g, t in zip(group, tile, strict=True))
    groups = prod(ceil(n / g) for n, g in zip(extent, group, strict=True))
    return grid.bytes_per_voxel * prod(group) * min(groups, 1 + ceil((at_once - 1) / tiles))


def begun_bytes(tiles: Sequence[Box], grid: ChunkGrid | None, *, at_once: int) -> float:
    """Maximum memory of partially written chunks when these tiles are processed in order, ``at_once`` at a time."""
    if grid is None or not tiles:
        return 0.0
    tiles = tiles[:MAX_SIMULATED_TILES]  # later ones behave the same
    origin = tuple(min(tile.start[i] for tile in tiles) for i in range(3))
    places = [
        tuple(
            slice((a - o) // c, -((o - b) // c)) for a, b, o, c in zip(t.start, t.stop, origin, grid.shape, strict=True)
        )
        for t in tiles
    ]
    counts = tuple(max(place[i].stop for place in places) for i in range(3))
    first, last = np.full(counts, len(tiles)), np.full(counts, -1)
    for number, place in enumerate(places):
        first[place] = np.minimum(first[place], number)
        last[place] = number
    waits = last > first  # the others are within one tile and are stored with it
    size = len(tiles) + 2
    begun = np.bincount(np.maximum(first[waits] - (at_once - 1), 0), minlength=size)[:size]
    ended = np.bincount(last[waits] + 1, minlength=size)[:size]
    most = int((np.cumsum(begun) - np.cumsum(ended)).max())
    return grid.bytes_per_voxel * prod(grid.shape) * most


def cut_in_groups(region: Box, group: Sequence[int] | None, tile: Sequence[int]) -> Iterator[Box]:
    """Yield the tiles of a region, group by group; of at most the given size and about equally long."""
    for box in [region] if group is None else region.split(group):
        yield from box.split(even_sides(box.shape, tile))


def even_sides(extent: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """Tile sizes of at most ``shape`` that divide the extent evenly, in steps of 8 voxels where they are longer."""
    sizes = []
    for n, s in zip(extent, shape, strict=True):
        even = -(-n // max(1, -(-n // max(1, s))))
        sizes.append(min(max(1, s), -(-even // 8) * 8) if s >= 8 else max(1, even))
    return tuple(sizes)

"""Cutting of a region into tiles that fit the memory budget and keep every thread busy.

The plan affects only time and memory: results are the same for every plan.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from math import ceil, prod

from ...box import Box
from ...frozen import frozen
from ...kernels.contract import TilePreference, Voxels
from ..errors import MemoryTooSmall, setting
from ..machine import format_size_up
from ..resources import Resources
from .groups import ChunkGrid, begun_bytes, choose_group, cut_in_groups, waiting_bytes

# Voxels along z, y, x at which a tile's halo is a small part of its work. Filters run along x first, so a halo along
# z and y is filtered again and again, one along x only read: 730 to 680 ns a voxel against (64, 64, 128).
FLAT_TILE = (1, 256, 512)
SOLID_TILE = (128, 128, 64)
# A tile is not cut below the first for the sake of parallel work, nor below the second for want of memory: then nearly
# all work would be halo.
MIN_SHARED_TILE: dict[str, Voxels] = {"flat": (1, 64, 128), "solid": (32, 32, 64)}
MIN_TILE = {"flat": (1, 16, 32), "solid": (4, 8, 16)}
TILES_PER_THREAD = 3  # enough that threads finish at about the same time
MAX_TILES = 1_000_000  # of a run: 10^12 voxels of a volume; their list takes 400 MB and some seconds
READ_AHEAD = 2  # tiles that are read but not yet computed
LAST_HALVINGS = 2  # of each thread's last tile: no thread waits longer than such a piece takes for the others to end


@frozen
class TileCost:
    """Memory in bytes of one tile in work, and of the whole run.

    per_source   for every voxel of the tile's source, halo included
    per_voxel    for every voxel of the tile itself
    fixed        for the whole run, such as writers that hold their image
    worker       (sizes of the tile, sizes of its source) -> memory of the computation
    grid         chunks of the output, which stay in memory until they are complete; None: no chunks
    """

    per_source: float
    per_voxel: float
    fixed: float = 0.0
    worker: Callable[[tuple[int, ...], tuple[int, ...]], float] = lambda tile, source: 0.0
    grid: ChunkGrid | None = None

    def of(self, tile: Sequence[int], halo: Sequence[int], image: Sequence[int]) -> float:
        """Maximum need of a tile of these sizes, at any position in the image."""
        source = tuple(min(n + 2 * m, size) for n, m, size in zip(tile, halo, image, strict=True))
        return self.per_source * prod(source) + self.per_voxel * prod(tile) + self.worker(tuple(tile), source)


def plan_tiles(
    region: Box,
    image: Sequence[int],
    halo: Sequence[int],
    cost: TileCost,
    *,
    resources: Resources,
    preference: TilePreference | None = None,
) -> list[Box]:
    """Cut ``region`` (z, y, x) of an image of size ``image`` into tiles.

    halo        voxels along z, y, x
    preference  tile sizes that the backend prefers; None: sizes that suit a CPU
    Raises MemoryTooSmall if the budget does not hold one small tile a thread.
    """
    kind, threads, memory_bytes = "flat" if image[0] == 1 else "solid", resources.threads, resources.memory_bytes
    by_processor = preference is None
    if preference is None:
        preference = TilePreference(FLAT_TILE if kind == "flat" else SOLID_TILE, MIN_SHARED_TILE[kind], threads)
    shape = [min(n, p) for n, p in zip(region.shape, preference.largest, strict=True)]
    at_once = preference.at_once
    while _count(region, shape) < at_once * TILES_PER_THREAD and at_once > 1 and _halve(shape, preference.smallest):
        pass
    held = threads + (READ_AHEAD if threads > 1 else 0)  # tiles in memory at the same time
    while True:
        group = choose_group(region.shape, shape, cost.grid, memory_bytes=memory_bytes)
        total = cost.fixed + cost.of(shape, halo, image) * held
        total += waiting_bytes(region.shape, group, shape, cost.grid, at_once=held)
        if total <= memory_bytes:
            _check_number(region, group, shape)
            tiles = list(cut_in_groups(region, group, shape))
            if by_processor and preference.at_once > 1:
                return _with_short_end(tiles, preference.at_once, preference.smallest)
            return tiles
        if not _halve(shape, MIN_TILE[kind]):
            alone = cost.fixed + cost.of(shape, halo, image)
            alone += waiting_bytes(region.shape, group, shape, cost.grid, at_once=1)
            fewer = f" or lower {setting('threads')}"
            raise MemoryTooSmall(
                f"the memory budget of {format_size_up(memory_bytes)} does not hold the smallest tiles of {threads} "
                f"threads ({format_size_up(total)}); raise {setting('memory')}{fewer if alone <= memory_bytes else ''}"
            )


def _check_number(region: Box, group: Sequence[int] | None, shape: Sequence[int]) -> None:
    """Raise MemoryTooSmall for plans whose list of tiles alone would take much memory and time."""
    sides = region.shape if group is None else group
    groups = prod(ceil(n / g) for n, g in zip(region.shape, sides, strict=True))
    count = groups * prod(ceil(g / max(1, s)) for g, s in zip(sides, shape, strict=True))
    if count > MAX_TILES:
        size = " x ".join(f"{axis}={n}" for axis, n in zip("zyx", region.shape, strict=True))
        raise MemoryTooSmall(
            f"a region of {size} voxels makes {count} tiles, and a run plans at most {MAX_TILES}; process it in parts "
            f"with {setting('cutout_subregion')}, or raise {setting('memory')} for larger tiles"
        )


def _with_short_end(tiles: Sequence[Box], threads: int, smallest: Sequence[int]) -> list[Box]:
    """Cut the last tiles into pieces, since threads and processors differ in speed."""
    pieces = list(tiles[:-threads])
    for tile in tiles[-threads:]:
        shape = list(tile.shape)
        for _ in range(LAST_HALVINGS):
            _halve(shape, smallest)
        pieces.extend(tile.split(shape))
    return pieces


def _count(region: Box, shape: Sequence[int]) -> int:
    count = 1
    for n, s in zip(region.shape, shape, strict=True):
        count *= -(-n // s) if s else 0
    return count


def _halve(shape: list[int], smallest: Sequence[int]) -> bool:
    """Halve the axis with the largest length relative to its minimum; False if every axis is at its minimum."""
    ratios = [n / s for n, s in zip(shape, smallest, strict=True)]
    axis = max(range(3), key=lambda i: (ratios[i], -i))
    if ratios[axis] <= 1:
        return False
    shape[axis] = max(smallest[axis], (shape[axis] + 1) // 2)
    return True


def needed_bytes(
    tiles: Collection[Box], image: Sequence[int], halo: Sequence[int], cost: TileCost, *, threads: int
) -> int:
    """Maximum memory of these tiles when computed on so many threads; arguments as for ``plan_tiles``."""
    shapes = {tile.shape for tile in tiles}
    at_once = min(len(tiles), threads + (READ_AHEAD if threads > 1 else 0))
    waiting = begun_bytes(list(dict.fromkeys(tiles)), cost.grid, at_once=at_once)
    return ceil(cost.fixed + waiting + at_once * max((cost.of(shape, halo, image) for shape in shapes), default=0.0))

"""Cutting a region into tiles that fit the memory budget and keep every thread busy.

The plan decides only about time and memory: results are the same for every plan.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import ceil, prod

from ...box import Box
from ...kernels.contract import TileWish, Voxels
from ..errors import MemoryTooSmall, setting
from ..resources import Resources
from .groups import ChunkGrid, begun_bytes, choose_group, cut_in_groups, waiting_bytes

# Voxels along z, y, x at which a tile's halo is a small part of its work. Filters run along x first, so a halo along
# z and y is filtered again and again, one along x only read: 730 to 680 ns a voxel against (64, 64, 128).
FLAT_TILE = (1, 256, 512)
SOLID_TILE = (128, 128, 64)
# A tile is not cut below the first for the sake of parallel work, nor below the second for want of memory: then nearly
# all work would be halo.
SMALLEST_SHARED: dict[str, Voxels] = {"flat": (1, 64, 128), "solid": (32, 32, 64)}
SMALLEST = {"flat": (1, 16, 32), "solid": (4, 8, 16)}
TILES_PER_THREAD = 3  # enough that threads finish at about the same time
MAX_TILES = 1_000_000  # of a run: 10^12 voxels of a volume; their list takes 400 MB and some seconds
READ_AHEAD = 2  # tiles that are read but not yet computed
LAST_HALVINGS = 2  # of each thread's last tile: no thread waits longer than such a piece takes for the others to end


@dataclass(frozen=True)
class TileCost:
    """Bytes one tile in work needs, and what is needed once.

    per_source   for every voxel of the tile's source, halo included
    per_voxel    for every voxel of the tile itself
    fixed        for the whole run, such as writers that hold their image
    worker       (sizes of the tile, sizes of its source) -> what computing it takes
    grid         chunks of what is written, which wait in memory until they are complete; None: nothing waits
    """

    per_source: float
    per_voxel: float
    fixed: float = 0.0
    worker: Callable[[tuple[int, ...], tuple[int, ...]], float] = lambda tile, source: 0.0
    grid: ChunkGrid | None = None

    def of(self, tile: Sequence[int], margin: Sequence[int], image: Sequence[int]) -> float:
        """The most a tile of these sizes can need, wherever in the image it lies."""
        source = tuple(min(n + 2 * m, size) for n, m, size in zip(tile, margin, image, strict=True))
        return self.per_source * prod(source) + self.per_voxel * prod(tile) + self.worker(tuple(tile), source)


def plan_tiles(
    region: Box,
    image: Sequence[int],
    margin: Sequence[int],
    cost: TileCost,
    *,
    resources: Resources,
    wish: TileWish | None = None,
) -> list[Box]:
    """Cut ``region`` (z, y, x) of an image of size ``image`` into tiles, in raster order, or in groups that make whole
    chunks of what is written where too many of those would wait for their last voxels. On a CPU the last tile of each
    thread is in pieces.

    margin  the halo along z, y, x
    wish    what the backend prefers; None: what suits a CPU
    Raises MemoryTooSmall if the budget does not hold one small tile a thread.
    """
    kind, threads, memory_bytes = "flat" if image[0] == 1 else "solid", resources.threads, resources.memory_bytes
    by_processor = wish is None
    if wish is None:
        wish = TileWish(FLAT_TILE if kind == "flat" else SOLID_TILE, SMALLEST_SHARED[kind], threads)
    shape = [min(n, p) for n, p in zip(region.shape, wish.largest, strict=True)]
    at_once = wish.at_once
    while _count(region, shape) < at_once * TILES_PER_THREAD and at_once > 1 and _halve(shape, wish.smallest):
        pass
    at_once = threads + (READ_AHEAD if threads > 1 else 0)
    while True:
        group = choose_group(region.shape, shape, cost.grid, memory_bytes=memory_bytes)
        total = cost.fixed + cost.of(shape, margin, image) * at_once
        total += waiting_bytes(region.shape, group, shape, cost.grid, at_once=at_once)
        if total <= memory_bytes:
            _check_number(region, group, shape)
            tiles = list(cut_in_groups(region, group, shape))
            return _with_short_end(tiles, wish.at_once, wish.smallest) if by_processor and wish.at_once > 1 else tiles
        if not _halve(shape, SMALLEST[kind]):
            alone = cost.fixed + cost.of(shape, margin, image)
            alone += waiting_bytes(region.shape, group, shape, cost.grid, at_once=1)
            fewer = f" or lower {setting('threads')}"
            raise MemoryTooSmall(
                f"the memory budget of {_text(memory_bytes)} does not hold the smallest tiles of {threads} threads "
                f"({_text(total)}); raise {setting('memory')}{fewer if alone <= memory_bytes else ''}"
            )


def _check_number(region: Box, group: Sequence[int] | None, shape: Sequence[int]) -> None:
    """Raise MemoryTooSmall for plans whose list of tiles alone would take a large part of a memory and of a minute."""
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
    """The same tiles, the last ones in pieces: threads, and the processors under them, differ in speed."""
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
    """Halve the axis whose length is largest beside its smallest; False if every axis is at its smallest."""
    ratios = [n / s for n, s in zip(shape, smallest, strict=True)]
    axis = max(range(3), key=lambda i: (ratios[i], -i))
    if ratios[axis] <= 1:
        return False
    shape[axis] = max(smallest[axis], (shape[axis] + 1) // 2)
    return True


def _text(size: float) -> str:
    """A size, rounded up so that asking for it suffices."""
    if size >= 2**30:
        return f"{ceil(size / 2**30 * 100) / 100:.2f} GiB"
    return f"{ceil(max(size, 0) / 2**20)} MiB"


def needed_bytes(
    tiles: Collection[Box], image: Sequence[int], margin: Sequence[int], cost: TileCost, *, threads: int
) -> int:
    """What these tiles need at most while they are computed on so many threads; arguments as for ``plan_tiles``."""
    shapes = {tile.shape for tile in tiles}
    at_once = min(len(tiles), threads + (READ_AHEAD if threads > 1 else 0))
    waiting = begun_bytes(list(dict.fromkeys(tiles)), cost.grid, at_once=at_once)
    return ceil(cost.fixed + waiting + at_once * max((cost.of(shape, margin, image) for shape in shapes), default=0.0))

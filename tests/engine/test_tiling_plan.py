"""Cutting a region into tiles: every voxel once, within the budget, or one clear line."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import numpy as np
import pytest
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

from pixelforest.box import Box
from pixelforest.engine.errors import MemoryTooSmall
from pixelforest.engine.resources import Resources
from pixelforest.engine.tiling.halo import source_box
from pixelforest.engine.tiling.plan import (
    FLAT_TILE,
    LAST_HALVINGS,
    READ_AHEAD,
    SOLID_TILE,
    TILES_PER_THREAD,
    TileCost,
    plan_tiles,
)
from pixelforest.kernels import load

PLENTY = 1 << 40
CHEAP = TileCost(per_source=20.0, per_voxel=40.0)


@st.composite
def jobs(draw: st.DrawFn) -> tuple[Box, tuple[int, ...], tuple[int, ...]]:
    """A region of an image, flat or solid, and a halo."""
    flat = draw(st.booleans())
    image = (
        1 if flat else draw(st.integers(2, 90)),
        draw(st.integers(1, 700 if flat else 90)),
        draw(st.integers(1, 1500 if flat else 200)),
    )
    start = tuple(draw(st.integers(0, n - 1)) for n in image)
    stop = tuple(draw(st.integers(a + 1, n)) for a, n in zip(start, image, strict=True))
    halo = (0 if flat else draw(st.integers(0, 40)), draw(st.integers(0, 40)), draw(st.integers(0, 40)))
    return Box(start, stop), image, halo


def working_tiles(threads: int) -> int:
    """Tiles whose memory is held at the same time."""
    return threads + (READ_AHEAD if threads > 1 else 0)


# Little memory: more tiles are held than threads work on, and only the last of each thread are in pieces.
FLAT_IMAGE = (Box((0, 0, 0), (1, 257, 258)), (1, 257, 258), (0, 0, 0))


@settings(max_examples=40, deadline=None)
@given(job=jobs(), threads=st.integers(1, 40), memory=st.integers(3 * 10**6, 10**9))
@example(job=FLAT_IMAGE, threads=2, memory=3_962_880)
def test_every_voxel_once_and_in_raster_order(job, threads, memory) -> None:  # type: ignore[no-untyped-def]
    region, image, halo = job
    try:
        tiles = plan_tiles(region, image, halo, CHEAP, resources=Resources(load("cpu"), threads, memory))
    except MemoryTooSmall:
        reject()
    seen = np.zeros(image, np.uint8)
    for tile in tiles:
        assert not tile.is_empty
        assert region.contains(tile)
        seen[tile.slices()] += 1
    assert (seen[region.slices()] == 1).all()
    assert seen.sum() == region.size
    ordinary = tiles[: -threads * 2**LAST_HALVINGS] if threads > 1 else tiles  # the end is in pieces of tiles
    assert ordinary == sorted(ordinary, key=lambda box: (box.start, box.stop))
    largest = FLAT_TILE if image[0] == 1 else SOLID_TILE
    assert all(n <= m for tile in tiles for n, m in zip(tile.shape, largest, strict=True))


# The tile in the region's middle is not the dearest: at the far end the halo is not cut off.
OFF_CENTRE = (Box((4, 22, 3), (25, 52, 79)), (65, 54, 125), (26, 19, 23))


@settings(max_examples=80, deadline=None)
@given(
    job=jobs(),
    threads=st.integers(1, 40),
    memory=st.integers(3 * 10**6, 10**9),
    fixed=st.sampled_from([0.0, 5e5, 5e7]),
)
@example(job=OFF_CENTRE, threads=8, memory=18_459_616, fixed=0.0)
def test_tiles_stay_within_the_budget(job, threads, memory, fixed) -> None:  # type: ignore[no-untyped-def]
    region, image, halo = job
    cost = TileCost(per_source=20.0, per_voxel=40.0, fixed=fixed)
    try:
        tiles = plan_tiles(region, image, halo, cost, resources=Resources(load("cpu"), threads, memory))
    except MemoryTooSmall:
        reject()
    dearest = max(cost.of(tile.shape, halo, image) for tile in tiles)
    assert fixed + dearest * working_tiles(threads) <= memory


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("image", [(1, 4000, 5000), (500, 500, 500)], ids=["flat", "solid"])
def test_large_images_in_little_memory(image: tuple[int, int, int], threads: int) -> None:
    """The number of tiles grows, the memory does not."""
    halo = (0 if image[0] == 1 else 38, 38, 38)
    tiles = plan_tiles(Box.whole(image), image, halo, CHEAP, resources=Resources(load("cpu"), threads, 1 << 28))
    assert sum(tile.size for tile in tiles) == prod(image)
    assert max(CHEAP.of(t.shape, halo, image) for t in tiles) * working_tiles(threads) <= 1 << 28


@pytest.mark.parametrize(
    ("image", "threads"), [((1, 512, 512), 4), ((1, 2048, 2048), 16), ((128, 128, 128), 8)], ids=str
)
def test_every_thread_has_work(image: tuple[int, int, int], threads: int) -> None:
    tiles = plan_tiles(Box.whole(image), image, (0, 8, 8), CHEAP, resources=Resources(load("cpu"), threads, PLENTY))
    assert len(tiles) >= min(threads * TILES_PER_THREAD, 32)


@pytest.mark.parametrize("threads", [2, 4])
def test_the_end_is_in_short_pieces(threads: int) -> None:
    """Threads end within a fourth of a tile of each other, also where processors differ in speed."""
    image = (256, 256, 256)
    tiles = plan_tiles(Box.whole(image), image, (16, 16, 16), CHEAP, resources=Resources(load("cpu"), threads, PLENTY))
    ordinary = max(tile.size for tile in tiles)
    assert all(tile.size * 2**LAST_HALVINGS <= ordinary for tile in tiles[-threads * 2**LAST_HALVINGS :])
    assert sum(tile.size for tile in tiles) == prod(image)


def test_one_thread_does_not_cut_for_others() -> None:
    image = (1, 256, 512)
    assert plan_tiles(Box.whole(image), image, (0, 8, 8), CHEAP, resources=Resources(load("cpu"), 1, PLENTY)) == [
        Box.whole(image)
    ]


@pytest.mark.parametrize("extent", [257, 300, 511, 513, 1000])
def test_no_slivers(extent: int) -> None:
    """The region is divided evenly, not into full tiles and a thin rest."""
    image = (1, extent, extent)
    tiles = plan_tiles(Box.whole(image), image, (0, 8, 8), CHEAP, resources=Resources(load("cpu"), 1, PLENTY))
    heights = {tile.shape[1] for tile in tiles}
    assert max(heights) < 2 * min(heights) + 8


def test_tiles_of_one_row_meet() -> None:
    image = (1, 100, 2000)
    tiles = plan_tiles(
        Box((0, 10, 30), (1, 90, 1990)), image, (0, 5, 5), CHEAP, resources=Resources(load("cpu"), 1, PLENTY)
    )
    row = [tile for tile in tiles if tile.start[1] == 10]
    assert all(a.stop[2] == b.start[2] for a, b in pairwise(row))


@pytest.mark.parametrize("threads", [1, 64])
@pytest.mark.parametrize("memory", [0, 1, 1000])
@pytest.mark.parametrize("image", [(1, 300, 300), (90, 90, 90)], ids=["flat", "solid"])
def test_too_little_memory_is_one_clear_line(image: tuple[int, int, int], memory: int, threads: int) -> None:
    with pytest.raises(MemoryTooSmall) as caught:
        plan_tiles(Box.whole(image), image, (0, 38, 38), CHEAP, resources=Resources(load("cpu"), threads, memory))
    message = str(caught.value)
    assert "\n" not in message
    assert "raise memory" in message
    assert isinstance(caught.value, MemoryError)


def test_memory_taken_once_counts() -> None:
    image = (1, 300, 300)
    cost = TileCost(per_source=1, per_voxel=1, fixed=2e6)
    with pytest.raises(MemoryTooSmall):
        plan_tiles(Box.whole(image), image, (0, 1, 1), cost, resources=Resources(load("cpu"), 1, 1_900_000))
    assert plan_tiles(Box.whole(image), image, (0, 1, 1), cost, resources=Resources(load("cpu"), 1, 2_100_000))


@pytest.mark.parametrize(
    ("tile", "expected"),
    [
        (Box((0, 0, 0), (1, 10, 10)), Box((0, 0, 0), (1, 13, 15))),
        (Box((0, 50, 50), (1, 60, 60)), Box((0, 47, 45), (1, 63, 65))),
        (Box((0, 90, 95), (1, 100, 100)), Box((0, 87, 90), (1, 100, 100))),
    ],
)
def test_halo_ends_at_the_image(tile: Box, expected: Box) -> None:
    assert source_box(tile, (0, 3, 5), (1, 100, 100)) == expected

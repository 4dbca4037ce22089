"""Tiles in groups: every chunk is stored once, few wait for their last voxels, and none do in the whole budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from math import ceil, prod
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from pixelforest.box import Box
from pixelforest.engine.errors import MemoryTooSmall
from pixelforest.engine.export.images import ResultInfo, plan_export
from pixelforest.engine.export.settings import ExportSettings
from pixelforest.engine.export.tile_sinks import ImageExport
from pixelforest.engine.formats import output_format
from pixelforest.engine.inputs.images import open_image
from pixelforest.engine.inputs.lanes import InputOptions
from pixelforest.engine.resources import Resources
from pixelforest.engine.storage.chunks import ChunkAssembler
from pixelforest.engine.tiling.groups import FREE_BYTES, FREE_SHARE, ChunkGrid, choose_grid, choose_group, waiting_bytes
from pixelforest.engine.tiling.plan import TileCost, plan_tiles
from pixelforest.kernels import load

MIB = 1 << 20
CHEAP = TileCost(per_source=1.0, per_voxel=3.0)
side = st.integers(1, 90)


def follow(tiles: Iterable[Box], image: Sequence[int], chunk: Sequence[int]) -> tuple[dict[tuple[int, ...], int], int]:
    """Number of voxels of each chunk, and the largest number of voxels in incomplete chunks at a time."""
    came: Counter[tuple[int, ...]] = Counter()
    waiting = most = 0
    for tile in tiles:
        firsts = [range(a // n * n, b, n) for a, b, n in zip(tile.start, tile.stop, chunk, strict=True)]
        for corner in product(*firsts):
            whole = Box(corner, tuple(a + n for a, n in zip(corner, chunk, strict=True))).clip(image)
            waiting += 0 if came[corner] else whole.size
            came[corner] += whole.intersect(tile).size
            most = max(most, waiting)
            waiting -= whole.size if came[corner] == whole.size else 0
    return came, most


@settings(max_examples=60, deadline=None)
@given(
    image=st.tuples(st.integers(2, 90), side, side),
    chunk=st.tuples(*[st.integers(6, 90)] * 3),
    per_voxel=st.sampled_from([1, 8, 400]),
    threads=st.integers(1, 4),
    memory=st.integers(4 * MIB, 64 * MIB),
)
def test_every_voxel_once_and_what_waits_fits(
    image: tuple[int, ...], chunk: tuple[int, ...], per_voxel: int, threads: int, memory: int
) -> None:
    chunk = tuple(min(c, n) for c, n in zip(chunk, image, strict=True))
    cost = TileCost(per_source=1.0, per_voxel=3.0, grid=ChunkGrid(chunk, per_voxel))
    try:
        tiles = plan_tiles(Box.whole(image), image, (0, 0, 0), cost, resources=Resources(load("cpu"), threads, memory))
    except MemoryTooSmall:
        reject()
    came, most = follow(tiles, image, chunk)
    assert sum(tile.size for tile in tiles) == sum(came.values()) == prod(image)
    assert all(n == Box(c, tuple(map(sum, zip(c, chunk, strict=True)))).clip(image).size for c, n in came.items())
    assert most * per_voxel <= memory


def test_small_regions_keep_raster_order() -> None:
    image = (100, 200, 300)
    grid = ChunkGrid((30, 30, 30), 4)
    plain = plan_tiles(Box.whole(image), image, (8, 8, 8), CHEAP, resources=Resources(load("cpu"), 2, 1 << 31))
    cost = TileCost(per_source=1.0, per_voxel=3.0, grid=grid)
    assert plan_tiles(Box.whole(image), image, (8, 8, 8), cost, resources=Resources(load("cpu"), 2, 1 << 31)) == plain
    assert prod(image) * 4 < min(FREE_BYTES, FREE_SHARE * (1 << 31))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("chunk", [(50, 50, 51), (80, 80, 80), (64, 64, 1100), (96, 8, 500), (4, 357, 358)], ids=str)
def test_a_wide_volume(chunk: tuple[int, ...], channels: int) -> None:
    """Chunks that wait take little of the memory, and there is not much more to filter than without them."""
    image, memory = (96, 800, 1100), 512 << 20
    cost = TileCost(per_source=1.0, per_voxel=8.0, grid=ChunkGrid(chunk, 4 * channels))
    tiles = plan_tiles(Box.whole(image), image, (36, 36, 36), cost, resources=Resources(load("cpu"), 4, memory))
    came, most = follow(tiles, image, chunk)
    assert sum(came.values()) == prod(image)
    assert 4 * channels * most <= memory / 4
    plain = TileCost(per_source=1.0, per_voxel=8.0)
    in_rows = plan_tiles(Box.whole(image), image, (36, 36, 36), plain, resources=Resources(load("cpu"), 4, memory))
    assert most <= 1.1 * follow(in_rows, image, chunk)[1]
    assert work(tiles, image) <= 1.25 * work(in_rows, image)


def work(tiles: list[Box], image: tuple[int, ...], halo: int = 36) -> float:
    """Filtering along x, with the halo along z and y, along y, with that along z, and along z; beside all else."""
    total = 0.0
    for tile in tiles:
        z, y, _ = (min(b + halo, n) - max(a - halo, 0) for a, b, n in zip(tile.start, tile.stop, image, strict=True))
        total += 25 * tile.shape[2] * (z * y + z * tile.shape[1]) + 600 * tile.size
    return total


def test_groups_never_hold_more_than_a_share_unless_one_chunk_does() -> None:
    extent, tile, memory = (1000, 5000, 5000), (64, 64, 128), 1 << 30
    for chunk in [(1, 5000, 5000), (1000, 1, 5000), (64, 64, 64), (7, 9, 11), (300, 300, 300)]:
        grid = ChunkGrid(chunk, 8)
        group = choose_group(extent, tile, grid, memory_bytes=memory)
        assert group is not None
        assert all(g % c == 0 or g == n for g, c, n in zip(group, chunk, extent, strict=True))
        assert prod(group) * 8 <= max(memory / 4, prod(chunk) * 8)


def test_what_waits_counts_in_the_budget() -> None:
    """A picture of a sequence is stored whole: one that does not fit is refused before anything is computed."""
    image = (10, 1000, 1000)
    cost = TileCost(per_source=1.0, per_voxel=3.0, grid=ChunkGrid((1, 1000, 1000), 4000))
    with pytest.raises(MemoryTooSmall, match=r"3\.\d+ GiB"):
        plan_tiles(Box.whole(image), image, (0, 0, 0), cost, resources=Resources(load("cpu"), 1, 1 << 31))
    assert plan_tiles(Box.whole(image), image, (0, 0, 0), cost, resources=Resources(load("cpu"), 1, 1 << 33))


def test_the_grid_of_several_results() -> None:
    small, large = ChunkGrid((10, 10, 10), 4), ChunkGrid((50, 50, 50), 1)
    assert choose_grid([None]) is None
    assert choose_grid([small, None, large]) == ChunkGrid((50, 50, 50), 5)
    assert waiting_bytes((9, 9, 9), None, (1, 1, 1), None, at_once=4) == 0


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["hdf5", "compressed hdf5", "n5", "single-scale OME-Zarr"])
def test_a_file_gets_every_chunk_once_and_few_wait(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (70, 256, 400)
    with h5py.File(tmp_path / "in.h5", "w") as file:
        values = np.arange(prod(shape), dtype=np.uint32).reshape(shape) % 60013
        file["data"] = values.astype(np.uint16)
    monkeypatch.setattr("pixelforest.engine.tiling.groups.FREE_BYTES", 0)
    stored = Counter[tuple[int, ...]]()
    most = 0
    original = ChunkAssembler.add

    def add(self: ChunkAssembler, box: Box, data: np.ndarray) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
        nonlocal most
        for corner, chunk in original(self, box, data):
            stored[corner] += 1
            yield corner, chunk
        most = max(most, self.waiting_bytes)

    monkeypatch.setattr(ChunkAssembler, "add", add)
    with open_image(str(tmp_path / "in.h5"), role_index=0, training=None, options=InputOptions()) as image:
        result = ResultInfo("Input", image.dtype, 1)
        settings = ExportSettings("Input", output_format(name), "{nickname}_out", tmp_path)
        export = ImageExport(plan_export(result, image, settings))
        cost = TileCost(per_source=2.0, per_voxel=6.0, grid=export.grid)
        tiles = plan_tiles(Box.whole(shape), shape, (5, 5, 5), cost, resources=Resources(load("cpu"), 1, 20 * MIB))
        for tile in tiles:
            box = Box((0, *tile.start, 0), (1, *tile.stop, 1))
            export.write(box, image.read(box))
        export.finish()
        assert export.grid is not None
        chunk = export.grid.shape
    assert set(stored.values()) == {1}
    assert len(stored) == prod(ceil(n / c) for n, c in zip(shape, chunk, strict=True))
    in_rows = 2 * chunk[0] * shape[1] * shape[2]  # all chunks of a plane wait
    assert most < in_rows / 2

"""Ids and what belongs to them written into images: along chunks, every voxel once, whatever the export wants."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import pytest

from pixelforest.box import Box
from pixelforest.engine.objects import render as painting
from pixelforest.engine.objects.render import paint_frame, paint_part, plan_painting, write_canvas
from pixelforest.engine.resources import Resources
from pixelforest.engine.storage.chunks import ChunkAssembler
from pixelforest.engine.tiling.groups import ChunkGrid
from pixelforest.kernels import load

SHAPE = (13, 21, 34)


@dataclass
class Sheet:
    """An export into memory that takes whole chunks only; ``waiting`` is how many it ever held unfinished."""

    region: Box
    channels: int
    dtype: str = "uint32"
    chunks: tuple[int, ...] | None = (1, 4, 5, 6, 1)
    bytes_per_voxel: int = 12
    held_bytes: int = 0
    conversion: None = None
    waiting: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        shape = self.region.shape
        self.assembler = ChunkAssembler(shape, self.chunks or (1, 4, 5, 6, 1), np.dtype(self.dtype))
        self.voxels = np.zeros(tuple(n + 6 for n in shape), self.dtype)

    @property
    def grid(self) -> ChunkGrid | None:
        return None if self.chunks is None else ChunkGrid(self.chunks[1:4], float(np.dtype(self.dtype).itemsize))

    def write(self, box: Box, data: np.ndarray) -> None:
        wanted = box.intersect(self.region)
        inside = data[wanted.relative_to(box.start).slices()]
        for corner, chunk in self.assembler.add(wanted.relative_to(self.region.start), inside):
            self.voxels[Box(corner, tuple(a + n for a, n in zip(corner, chunk.shape, strict=True))).slices()] = chunk
        with self.lock:
            self.waiting = max(self.waiting, len(self.assembler._begun))

    @property
    def found(self) -> np.ndarray:
        assert self.assembler.missing == 0
        return self.voxels[Box.whole(self.region.shape).slices()]


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painting, "TILE_VOXELS", 300)
    monkeypatch.setattr(painting, "_PIECE_VOXELS", 50)


@pytest.fixture
def ids() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 9, SHAPE).astype(np.uint32)


REGIONS = [
    Box((0, 0, 0, 0, 0), (1, *SHAPE, 2)),
    Box((0, 3, 2, 5, 0), (1, 12, 20, 31, 2)),
    Box((0, 5, 0, 0, 1), (1, 6, 9, 9, 2)),
]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("region", REGIONS, ids=["whole", "part", "plane of a channel"])
def test_every_export_gets_its_voxels_in_whole_chunks(ids: np.ndarray, region: Box, threads: int) -> None:
    colours = np.random.default_rng(1).random((9, 2)).astype(np.float32)
    painted = Sheet(region, 2, "float32", (1, 3, 7, 7, 1))
    plain = Sheet(Box((*region.start[:4], 0), (*region.stop[:4], 1)), 1)
    paint_frame(
        lambda box: ids[box.slices()],
        SHAPE,
        0,
        [(painted, colours), (plain, None)],
        id_dtype=np.dtype(np.uint32),
        resources=Resources(load("cpu"), threads, 1 << 20),
    )
    inside = Box(region.start[1:4], region.stop[1:4]).slices()
    assert np.array_equal(painted.found[0], colours[ids[inside]][..., region.start[4] :])
    assert np.array_equal(plain.found[0, ..., 0], ids[inside])
    assert painted.waiting == plain.waiting == 0, "no chunk waits for the rest of it"


def test_a_canvas_is_written_like_a_frame(ids: np.ndarray) -> None:
    region = REGIONS[1]
    sheet = Sheet(region, 2, "uint8")
    start, stop = region.start[1:4], region.stop[1:4]
    canvas = np.zeros((*Box(start, stop).shape, 2), np.uint8)
    colours = np.arange(18, dtype=np.uint8).reshape(9, 2)
    paint_part(ids[Box(start, stop).slices()], colours, canvas)
    write_canvas(canvas, start, SHAPE, 0, sheet, resources=Resources(load("cpu"), 2, 1 << 20))
    assert np.array_equal(sheet.found[0], colours[ids[Box(start, stop).slices()]])
    assert sheet.waiting == 0


@pytest.mark.parametrize(("chunks", "memory_bytes"), [(None, 1 << 20), ((4, 5, 6), 6000), ((64, 64, 64), 20_000)])
def test_tiles_fit_the_memory(chunks: tuple[int, ...] | None, memory_bytes: int) -> None:
    """Chunks too large for it are not waited for."""
    sheet = Sheet(REGIONS[0], 2, chunks=None if chunks is None else (1, *chunks, 1))
    tiles, needed = plan_painting(sheet, SHAPE, 0, resources=Resources(load("cpu"), 1, memory_bytes))
    covered = np.zeros(SHAPE, np.uint8)
    for tile in tiles:
        covered[tile.slices()] += 1
    assert (covered == 1).all()
    assert needed <= memory_bytes


def test_another_time_point_wants_nothing() -> None:
    assert plan_painting(Sheet(REGIONS[0], 2), SHAPE, 1, resources=Resources(load("cpu"), 1, 1 << 20)) == ([], 0)

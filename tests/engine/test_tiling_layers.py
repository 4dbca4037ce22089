"""Layers of a file's storage units: what is read through them is what is there, and nothing is unpacked twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from pixelforest.box import Box
from pixelforest.engine.objects.label import plan_slabs
from pixelforest.engine.storage.scratch import Scratch
from pixelforest.engine.tiling import layers
from pixelforest.engine.tiling.layers import LayeredReads


class Chunked:
    """A frame in storage units; counts how often each is unpacked."""

    def __init__(self, shape: Sequence[int], chunks: Sequence[int]) -> None:
        self.voxels = np.arange(np.prod(shape), dtype=np.uint32).reshape(shape)
        self.chunks = tuple(chunks)
        self.unpacked: Counter[tuple[int, ...]] = Counter()

    def read(self, box: Box) -> np.ndarray:
        places = zip(box.start, box.stop, self.chunks, strict=True)
        units = Box(*zip(*[(a // c, -(-b // c)) for a, b, c in places], strict=True))
        self.unpacked.update(piece.start for piece in units.split((1, 1, 1)))
        part: np.ndarray = self.voxels[box.slices()]
        return part

    def layered(self, scratch: Scratch) -> LayeredReads:
        return LayeredReads(self.read, self.voxels.shape, self.chunks, bytes_per_voxel=4, scratch=scratch)


@pytest.fixture(autouse=True)
def _small_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "SMALL_LAYER_BYTES", 0)
    monkeypatch.setattr(layers, "PIECE_BYTES", 3000)


@pytest.mark.parametrize("chunks", [(4, 5, 6), (7, 3, 50), (1, 6, 7), (1, 40, 40), (64, 64, 64), (1, 1, 40)])
@pytest.mark.parametrize("shape", [(11, 20, 40), (1, 33, 40)])
def test_slabs_are_what_is_there_and_units_are_unpacked_once(shape: tuple[int, ...], chunks: tuple[int, ...]) -> None:
    for voxels in (100, 400, 1600, 3200, 10**6):
        file = Chunked(shape, chunks)
        with Scratch(1 << 30) as scratch:
            with file.layered(scratch) as read:
                for slab in plan_slabs(shape, voxels):
                    assert np.array_equal(read(slab), file.voxels[slab.slices()])
            assert scratch.bytes_in_memory == 0
        assert set(file.unpacked.values()) == {1}


@pytest.mark.parametrize("rows", [20, 5])
def test_slabs_with_a_surrounding_need_two_layers_at_most(rows: int) -> None:
    file = Chunked((12, 20, 40), (4, 5, 40))
    with Scratch(1 << 30) as scratch, file.layered(scratch) as read:
        for slab in Box.whole((12, 20, 40)).split((1, rows, 40)):
            box = slab.grow((1, 2, 0)).clip((12, 20, 40))
            assert np.array_equal(read(box), file.voxels[box.slices()])
            assert scratch.bytes_in_memory <= 2 * 4 * 4 * 20 * 40
    assert set(file.unpacked.values()) == {1}


def test_sweeps_may_begin_again() -> None:
    file = Chunked((8, 10, 10), (4, 10, 10))
    with Scratch(1 << 30) as scratch, file.layered(scratch) as read:
        for _ in range(2):
            for slab in plan_slabs((8, 10, 10), 100):
                assert np.array_equal(read(slab), file.voxels[slab.slices()])
    assert set(file.unpacked.values()) == {2}


def test_what_was_read_stays_when_more_is_read() -> None:
    file = Chunked((8, 10, 10), (4, 10, 10))
    with Scratch(1 << 30) as scratch, file.layered(scratch) as read:
        parts = [read(slab) for slab in plan_slabs((8, 10, 10), 100)]
    assert np.array_equal(np.concatenate(parts), file.voxels)


def test_channels_come_along() -> None:
    voxels = np.arange(6 * 4 * 4 * 3, dtype=np.float32).reshape(6, 4, 4, 3)
    with (
        Scratch(1 << 20) as scratch,
        LayeredReads(
            lambda box: voxels[box.slices()], (6, 4, 4), (3, 4, 4), bytes_per_voxel=12, scratch=scratch
        ) as read,
    ):
        assert np.array_equal(read(Box((1, 0, 0), (5, 4, 4))), voxels[1:5])


def test_without_room_units_are_unpacked_again(tmp_path) -> None:
    file = Chunked((8, 10, 10), (4, 10, 10))
    with Scratch(0, tmp_path / "missing") as scratch, file.layered(scratch) as read:
        for slab in plan_slabs((8, 10, 10), 100):
            assert np.array_equal(read(slab), file.voxels[slab.slices()])


@pytest.mark.parametrize(
    "box", [Box((1, 0, 3), (2, 10, 8)), Box((0, 0, 0), (4, 10, 10)), Box((4, 0, 0), (8, 10, 10))], ids=str
)
def test_blocks_and_whole_layers_are_read_as_they_are(box: Box) -> None:
    file = Chunked((8, 10, 10), (4, 10, 10))
    with Scratch(1 << 20) as scratch, file.layered(scratch) as read:
        assert np.array_equal(read(box), file.voxels[box.slices()])
        assert scratch.bytes_in_memory == 0

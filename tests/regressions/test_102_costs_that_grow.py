"""Compressed TIFFs with one row per strip took time that grew with the square of the rows: 8000 x 128 pixels a minute.

Each new segment made a list of all segments in the cache. Every other cache and list that is asked once per piece, per
slice or per lane is held to the same: four times as many cost about four times as much.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from support.step_counter import CountedSequence, count_steps

from pixelforest.box import Box
from pixelforest.engine.formats.images.tiff import open_tiff
from pixelforest.engine.formats.spec import ImageInfo, ImageReader
from pixelforest.engine.formats.support.segment_cache import ENTRY_BYTES, SegmentCache
from pixelforest.engine.inputs import stack as stacks
from pixelforest.engine.inputs.stack import Slice, StackReader
from pixelforest.engine.progress import Progress
from pixelforest.engine.run.batch import Batch
from pixelforest.engine.run.lane_log import LaneLog
from pixelforest.engine.storage import scratch as scratch_module
from pixelforest.engine.storage.scratch import Scratch

FEW, MANY = 100, 400


def check_that_it_grows_linearly(cost: Callable[[int], int]) -> None:
    """Four times as many may cost at most five times as much; a square would cost sixteen times as much."""
    few, many = cost(FEW), cost(MANY)
    assert few > 0
    assert many <= 5 * few


def one_row_strips(path: Path, rows: int) -> np.ndarray:
    array = np.random.default_rng(0).integers(0, 4, (rows, 16), dtype="u2")
    tifffile.imwrite(path, array, rowsperstrip=1, compression="zlib", metadata=None)
    return array


def test_reading_strips_of_one_row(tmp_path: Path) -> None:
    def cost(rows: int) -> int:
        array = one_row_strips(tmp_path / "a.tif", rows)
        with open_tiff(tmp_path / "a.tif") as image:
            steps = count_steps(lambda: image.read(Box.whole(image.info.shape)))
            assert np.array_equal(image.read(Box((3, 2), (rows, 9))), array[3:, 2:9])
        return steps

    check_that_it_grows_linearly(cost)


@pytest.mark.parametrize("max_bytes", [1 << 30, 60 * (64 + ENTRY_BYTES)], ids=["all fit", "60 fit"])
def test_adding_to_the_segment_cache(max_bytes: int) -> None:
    def cost(count: int) -> int:
        cache = SegmentCache(lambda page, index: np.full(64, index % 256, np.uint8), max_bytes)
        return count_steps(lambda: [cache.get(0, index, None) for index in range(count)])

    check_that_it_grows_linearly(cost)


def test_the_segment_cache_keeps_what_fits_and_drops_the_oldest() -> None:
    decoded: list[int] = []

    def decode(page: object, index: int) -> np.ndarray:
        decoded.append(index)
        return np.full(64, index, np.uint8)

    cache = SegmentCache(decode, 3 * (64 + ENTRY_BYTES))
    for index in (0, 1, 2, 0, 3, 0, 1):
        assert cache.get(0, index, None)[0] == index
    assert decoded == [0, 1, 2, 3, 1]


def test_segments_without_voxels_are_limited_too() -> None:
    """A sparse file can have millions of tiles that are not stored, each with an entry."""
    decoded: list[int] = []
    cache = SegmentCache(lambda page, index: decoded.append(index), 10 * ENTRY_BYTES)
    for index in [*range(100), 0]:
        assert cache.get(0, index, None) is None
    assert len(decoded) == 101


def test_a_segment_that_cannot_be_decoded_is_tried_again() -> None:
    outcomes = iter([ValueError("damaged"), np.zeros(1, np.uint8)])

    def decode(page: object, index: int) -> np.ndarray:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    cache = SegmentCache(decode, 1000)
    with pytest.raises(ValueError, match="damaged"):
        cache.get(0, 0, None)
    assert cache.get(0, 0, None) is not None


class Plane(ImageReader):
    """A slice of a stack."""

    def __init__(self) -> None:
        self.info = ImageInfo((4, 5), np.dtype(np.uint8), "yx", own_axes=True)

    def read(self, box: Box) -> np.ndarray:
        return np.zeros(box.shape, np.uint8)

    def close(self) -> None:
        pass


def stack_of(count: int) -> StackReader:
    slices = [Slice(str(i), Plane) for i in range(count)]
    return StackReader(slices, Plane().info, axis="z", kind="picture", axes="yx")


def read_plane_by_plane(stack: StackReader, count: int) -> None:
    for z in range(count):
        stack.read(Box((z, 0, 0), (z + 1, 4, 5)))


def test_finding_the_slices_of_a_stack() -> None:
    def cost(count: int) -> int:
        stack = stack_of(count)
        stack._starts = starts = CountedSequence(stack._starts)  # numpy would look at all of them, unseen
        read_plane_by_plane(stack, count)
        return starts.looks

    assert cost(FEW) < FEW * 15
    assert cost(MANY) < MANY * 20


def test_keeping_slices_of_a_stack_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "_MAX_OPEN", 10_000)

    def cost(count: int) -> int:
        stack = stack_of(count)
        return count_steps(lambda: read_plane_by_plane(stack, count))

    check_that_it_grows_linearly(cost)


def test_asking_whether_a_lane_has_failed() -> None:
    def cost(count: int) -> int:
        job = SimpleNamespace(fail_fast=True)
        batch = Batch(job, SimpleNamespace(), Progress(is_shown=False), LaneLog())
        batch.resources = SimpleNamespace(backend=SimpleNamespace(name="cpu"))

        def compute() -> None:
            for index in range(count):
                assert not batch.should_stop()
                lane = SimpleNamespace(lane=SimpleNamespace(index=index), name="")
                batch._record(lane, seconds=0.0)

        return count_steps(compute)

    check_that_it_grows_linearly(cost)


def test_temporary_files_that_are_complete_are_not_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def is_complete(descriptor: int) -> SimpleNamespace:
        looks.append(descriptor)
        return SimpleNamespace(st_blocks=1 << 20)

    with Scratch(0, tmp_path) as arrays:
        monkeypatch.setattr(scratch_module, "os", SimpleNamespace(**{**vars(os), "fstat": is_complete}))
        for _ in range(50):
            arrays.array((1000,), np.uint8)
        monkeypatch.undo()
    assert len(looks) <= 50

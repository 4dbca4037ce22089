"""Intermediate arrays: memory first, then files that leave nothing behind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pixelforest.engine.errors import MemoryTooSmall
from pixelforest.engine.storage.scratch import Scratch

OPEN_FILES = Path("/proc/self/fd")


@pytest.mark.parametrize("budget", [0, 1 << 20], ids=["file", "memory"])
def test_arrays_are_zeros_and_keep_what_is_written(tmp_path: Path, budget: int) -> None:
    with Scratch(budget, tmp_path) as scratch:
        array = scratch.array((3, 4, 5), np.uint32)
        assert type(array) is np.ndarray
        assert array.shape == (3, 4, 5)
        assert not array.any()
        array[1] = 7
        assert array.sum() == 140
        assert not any(tmp_path.iterdir()) or budget == 0
    assert not any(tmp_path.iterdir())


def test_memory_comes_back(tmp_path: Path) -> None:
    with Scratch(100, tmp_path) as scratch:
        first = scratch.array((100,), np.uint8)
        second = scratch.array((100,), np.uint8)
        assert scratch.bytes_in_memory == 100
        scratch.free(second)
        scratch.free(first)
        scratch.free(first)
        scratch.free(np.zeros(3))
        assert scratch.bytes_in_memory == 0
        scratch.array((100,), np.uint8)
        assert scratch.bytes_in_memory == 100
    assert scratch.bytes_in_memory == 0


@pytest.mark.skipif(not OPEN_FILES.exists(), reason="counts the open files of the process")
def test_files_are_closed_with_their_arrays(tmp_path: Path) -> None:
    with Scratch(0, tmp_path) as scratch:
        before = len(list(OPEN_FILES.iterdir()))
        array = scratch.array((100,), np.uint8)
        assert len(list(OPEN_FILES.iterdir())) > before
        scratch.free(array)
        del array
        assert len(list(OPEN_FILES.iterdir())) == before


def test_empty_scratch_arrays(tmp_path: Path) -> None:
    with Scratch(0, tmp_path) as scratch:
        assert scratch.array((0, 3), np.float32).shape == (0, 3)


def test_a_folder_without_room_is_named(tmp_path: Path) -> None:
    with Scratch(1 << 20, tmp_path) as scratch:
        with pytest.raises(MemoryTooSmall, match=r"of 1048576\.00 GiB fits neither .* raise memory"):
            scratch.array((1 << 50,), np.uint8)
        assert scratch.bytes_in_memory == 0


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with Scratch(0, tmp_path / "missing") as scratch, pytest.raises(MemoryTooSmall, match="missing"):
        scratch.array((5,), np.uint8)


def test_many_threads(tmp_path: Path) -> None:
    with Scratch(1000, tmp_path) as scratch, ThreadPoolExecutor(4) as pool:

        def use(i: int) -> int:
            array = scratch.array((50,), np.int64)
            array[:] = i
            total = int(array.sum())
            scratch.free(array)
            return total

        assert list(pool.map(use, range(200))) == [50 * i for i in range(200)]
        assert scratch.bytes_in_memory == 0

"""Regions of arrays that lie in files, read by position: any shape, type, limit and number of files."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelforest.box import Box
from pixelforest.engine.errors import InputError
from pixelforest.engine.storage import file_reads
from pixelforest.engine.storage.file_reads import FilePool, OpenFile

RNG = np.random.default_rng(3)
HEAD = 13  # bytes before the array


def store(path: Path, array: np.ndarray) -> OpenFile:
    path.write_bytes(b"\1" * HEAD + array.tobytes())
    return OpenFile(path, path.name)


@pytest.mark.sampled(2)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("dtype", ["u1", ">u2", "<f4", ">f8"])
@pytest.mark.parametrize(("gap", "buffer"), [(0, 64), (7, 64), (100, 300), (1 << 14, 1 << 20)])
def test_every_region(tmp_path_factory, dtype: str, gap: int, buffer: int, data) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 7), min_size=2, max_size=5)))
    start = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    stop = tuple(data.draw(st.integers(a, n)) for a, n in zip(start, shape, strict=True))
    box = Box(start, stop)
    array = RNG.integers(0, 200, shape).astype(dtype)
    with pytest.MonkeyPatch.context() as limits:
        limits.setattr(file_reads, "_GAP_BYTES", gap)
        limits.setattr(file_reads, "_BUFFER_BYTES", buffer)
        file = store(tmp_path_factory.mktemp("array") / "a", array)
        found = file.read_box(HEAD, shape, array.dtype, box)
        assert found.dtype.isnative
        assert np.array_equal(found, array[box.slices()])
        into = np.zeros([n + 1 for n in box.shape], dtype)[tuple(slice(1, None) for _ in shape)]
        file.copy_box(HEAD, shape, box, into)
        assert np.array_equal(into, array[box.slices()])
        file.close()


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of all reads from now on."""
    sizes: list[int] = []
    read = OpenFile._read_at
    monkeypatch.setattr(
        OpenFile, "_read_at", lambda file, at, memory: sizes.append(len(memory)) or read(file, at, memory)
    )
    return sizes


def test_what_follows_without_a_gap_is_one_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = RNG.integers(0, 200, (6, 50, 60)).astype("u1")
    file, sizes = store(tmp_path / "a", array), count_reads(monkeypatch)
    assert np.array_equal(file.read_box(HEAD, array.shape, array.dtype, Box((2, 0, 0), (5, 50, 60))), array[2:5])
    assert sizes == [3 * 50 * 60]
    file.close()


def test_long_gaps_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = RNG.integers(0, 200, (6, 400, 600)).astype("u1")
    file, sizes = store(tmp_path / "a", array), count_reads(monkeypatch)
    box = Box((0, 10, 0), (6, 20, 600))
    assert np.array_equal(file.read_box(HEAD, array.shape, array.dtype, box), array[box.slices()])
    assert sizes == [10 * 600] * 6
    file.close()


def test_reads_that_come_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux reads at most 2 GB at once, network file systems less."""
    array = RNG.integers(0, 200, (40, 50)).astype("u1")
    file = store(tmp_path / "a", array)
    read = OpenFile._read_at
    monkeypatch.setattr(OpenFile, "_read_at", lambda file, at, memory: read(file, at, memory[:7]))
    assert np.array_equal(file.read_box(HEAD, array.shape, array.dtype, Box.whole(array.shape)), array)
    file.close()


def test_systems_without_preadv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(file_reads.os, "preadv", raising=False)
    array = RNG.integers(0, 200, (64, 500)).astype("u2")
    file = store(tmp_path / "a", array)
    boxes = list(Box.whole(array.shape).split((5, 100))) * 3
    with ThreadPoolExecutor(4) as pool:
        parts = pool.map(lambda box: file.read_box(HEAD, array.shape, array.dtype, box), boxes)
        for box, part in zip(boxes, parts, strict=True):
            assert np.array_equal(part, array[box.slices()])
    file.close()


def test_a_closed_file(tmp_path: Path) -> None:
    file = store(tmp_path / "a", np.zeros((2, 2), "u1"))
    file.close()
    file.close()
    with pytest.raises(InputError, match="a: it was closed"):
        file.read(0, 1)


def test_a_pool_keeps_few_files_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_reads, "_MAX_OPEN", 3)
    paths = [tmp_path / str(i) for i in range(10)]
    for i, path in enumerate(paths):
        path.write_bytes(bytes([i]) * 4)
    pool = FilePool()

    def read(i: int) -> bytes:
        with pool.borrow(paths[i]) as file:
            return file.read(1, 2)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(read, [*range(10)] * 5)) == [bytes([i] * 2) for i in range(10)] * 5
    assert len(pool._open) == 3
    pool.close()
    assert read(4) == b"\4\4"
    pool.close()


def test_a_pool_names_a_file_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gone: no such file"), FilePool().borrow(tmp_path / "gone"):
        pass

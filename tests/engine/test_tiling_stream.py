"""Tiles on their way through the pool: order, limits, errors, and that it always ends."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from pixelforest.engine.errors import MemoryTooSmall
from pixelforest.engine.tiling.plan import READ_AHEAD
from pixelforest.engine.tiling.stream import stream_tiles

THREADS = [1, 2, 3, 8]
READERS = [1, 2, 3]
pytestmark = pytest.mark.timeout(60)


class TroubleError(Exception):
    """Failures of a reader or a worker."""


@pytest.mark.parametrize("readers", READERS)
@pytest.mark.parametrize("threads", THREADS)
def test_everything_once(threads: int, readers: int) -> None:
    lock, done = threading.Lock(), Counter()

    def process(tile: int, source: str) -> None:
        assert source == f"source of {tile}"
        with lock:
            done[tile] += 1

    for count in (0, 1, 2, 5, 200):
        done.clear()
        stream_tiles(range(count), lambda tile: f"source of {tile}", process, threads=threads, readers=readers)
        assert done == Counter(range(count))


@pytest.mark.parametrize("threads", THREADS)
def test_reads_are_in_order_and_in_the_callers_thread(threads: int) -> None:
    read: list[int] = []
    readers = set()

    def note(tile: int) -> int:
        read.append(tile)
        readers.add(threading.get_ident())
        return tile

    stream_tiles(range(100), note, lambda tile, source: None, threads=threads)
    assert read == list(range(100))
    assert readers == {threading.get_ident()}


@pytest.mark.parametrize("readers", [2, 3])
def test_readers_read_in_parallel_and_begin_in_order(readers: int) -> None:
    lock, begun = threading.Lock(), list[int]()
    meeting = threading.Barrier(readers, timeout=20)

    def read(tile: int) -> int:
        with lock:
            begun.append(tile)
        meeting.wait()
        return tile

    stream_tiles(range(20 * readers), read, lambda tile, source: None, threads=2, readers=readers)
    for first in range(0, 20 * readers, readers):
        assert sorted(begun[first : first + readers]) == list(range(first, first + readers))


@pytest.mark.parametrize("readers", READERS)
@pytest.mark.parametrize("threads", THREADS)
def test_reading_does_not_run_away(threads: int, readers: int) -> None:
    """However slow the work, only so many sources are held."""
    lock = threading.Lock()
    held = most = 0

    def read(tile: int) -> int:
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        return tile

    def process(tile: int, source: int) -> None:
        nonlocal held
        time.sleep(0.002)
        with lock:
            held -= 1

    stream_tiles(range(60), read, process, threads=threads, readers=readers)
    assert most <= (threads + READ_AHEAD if threads > 1 else 1)


@pytest.mark.parametrize("threads", [2, 4])
def test_work_runs_side_by_side(threads: int) -> None:
    meeting = threading.Barrier(threads, timeout=20)
    stream_tiles(range(threads * 3), lambda tile: tile, lambda tile, source: meeting.wait() and None, threads=threads)


@pytest.mark.parametrize("readers", READERS)
@pytest.mark.parametrize("threads", THREADS)
def test_error_of_a_worker(threads: int, readers: int) -> None:
    lock, started = threading.Lock(), []

    def process(tile: int, source: int) -> None:
        with lock:
            started.append(tile)
        if tile == bad:
            raise TroubleError(f"tile {tile}")
        time.sleep(0.001)

    for bad in (0, 1, 37, 99):
        started.clear()
        with pytest.raises(TroubleError, match=f"^tile {bad}$"):
            stream_tiles(range(20_000), lambda tile: tile, process, threads=threads, readers=readers)
        assert len(started) == len(set(started))
        assert len(started) < bad + 10_000  # a busy system may let other threads go on before the error is noted


@pytest.mark.parametrize("readers", READERS)
@pytest.mark.parametrize("threads", THREADS)
def test_error_of_the_reader(threads: int, readers: int) -> None:
    def read(tile: int) -> int:
        if tile == bad:
            raise TroubleError(f"tile {tile}")
        return tile

    lock, finished = threading.Lock(), []

    def process(tile: int, source: int) -> None:
        with lock:
            finished.append(tile)

    for bad in (0, 1, 37, 99):
        finished.clear()
        with pytest.raises(TroubleError, match=f"^tile {bad}$"):
            stream_tiles(range(100), read, process, threads=threads, readers=readers)
        others = threads + READ_AHEAD if readers > 1 else 0  # that may have been read when it happened
        assert set(finished) <= {*range(bad + others)} - {bad}


@pytest.mark.parametrize("threads", THREADS)
def test_every_worker_fails_and_one_error_comes_out(threads: int) -> None:
    def process(tile: int, source: int) -> None:
        raise TroubleError(f"tile {tile}")

    with pytest.raises(TroubleError):
        stream_tiles(range(100), lambda tile: tile, process, threads=threads)


@pytest.mark.parametrize("threads", THREADS)
def test_interruption_of_the_reader(threads: int) -> None:
    """Ctrl-C arrives in the caller's thread; the workers end before it goes on."""
    working = threading.Semaphore(0)
    running = 0
    lock = threading.Lock()

    def read(tile: int) -> int:
        if tile == 5:
            raise KeyboardInterrupt
        return tile

    def process(tile: int, source: int) -> None:
        nonlocal running
        with lock:
            running += 1
        time.sleep(0.01)
        with lock:
            running -= 1
        working.release()

    with pytest.raises(KeyboardInterrupt):
        stream_tiles(range(100), read, process, threads=threads)
    assert running == 0


@pytest.mark.parametrize("readers", [2, 3])
def test_interruption_of_the_caller(readers: int) -> None:
    """Readers and workers end before it goes on."""
    lock = threading.Lock()
    running = 0

    def tiles() -> Iterator[int]:
        yield from range(5)
        raise KeyboardInterrupt

    def work(*arguments: int) -> None:
        nonlocal running
        with lock:
            running += 1
        time.sleep(0.01)
        with lock:
            running -= 1

    with pytest.raises(KeyboardInterrupt):
        stream_tiles(tiles(), work, work, threads=2, readers=readers)
    assert running == 0


@pytest.mark.parametrize("threads", [2, 4])
def test_nothing_starts_after_an_error(threads: int) -> None:
    """Also among the last tiles, which all wait in the pool when the error happens."""
    all_read, lock = threading.Event(), threading.Lock()
    count = threads + READ_AHEAD
    started: list[int] = []
    failed = threading.Event()

    def read(tile: int) -> int:
        if tile == count - 1:
            all_read.set()
        return tile

    def process(tile: int, source: int) -> None:
        with lock:
            started.append(tile)
        all_read.wait(20)
        time.sleep(0.05)  # lets the caller hand over its last tile
        if tile == 0:
            failed.set()
            raise TroubleError("tile 0")
        failed.wait(20)
        time.sleep(0.2)  # lets the error arrive

    with pytest.raises(TroubleError):
        stream_tiles(range(count), read, process, threads=threads)
    assert len(started) == threads


@pytest.mark.parametrize("granted", [0, 1])
def test_threads_that_the_system_refuses_are_an_error_with_advice(
    granted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, started = threading.Thread.start, list[threading.Thread]()

    def start(thread: threading.Thread) -> None:
        if len(started) >= granted:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        plain(thread)

    def process(tile: int, source: int) -> None:
        time.sleep(0.05)  # so that the next tile needs another thread

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(MemoryTooSmall, match="lower threads"):
        stream_tiles(range(20), lambda tile: tile, process, threads=4)
    assert not any(thread.is_alive() for thread in started)

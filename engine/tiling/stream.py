"""Stream of tiles: read in order by one thread or a few, computed and written by a pool, within a limited number.

Reading runs a few tiles ahead, so that reading, computing and writing overlap.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from ..errors import MemoryTooSmall, setting
from .plan import READ_AHEAD

Tile = TypeVar("Tile")
Source = TypeVar("Source")


def stream_tiles(
    tiles: Iterable[Tile],
    read: Callable[[Tile], Source],
    process: Callable[[Tile, Source], None],
    *,
    threads: int,
    readers: int = 1,
) -> None:
    """Call ``process(tile, read(tile))`` for every tile on ``threads`` threads; reads begin in the order of ``tiles``.

    The caller's thread reads, or several ``readers`` do; the number of sources in memory is the same. The first error
    stops the stream, as does an interrupt: tiles in work are finished, no more are started, then it is raised.
    """
    if threads <= 1:
        for tile in tiles:
            process(tile, read(tile))
        return
    most = threads + READ_AHEAD
    room = threading.Semaphore(most)
    failed = threading.Event()
    errors: list[BaseException] = []

    def process_unless_failed(tile: Tile, source: Source) -> None:
        if not failed.is_set():
            process(tile, source)

    def hand_over(tile: Tile, source: Source) -> None:
        _submit(pool, threads, process_unless_failed, tile, source).add_done_callback(finish)

    def read_unless_failed(tile: Tile) -> None:
        if failed.is_set():
            room.release()
        else:
            hand_over(tile, read(tile))

    def finish_reading(future: Future[None]) -> None:
        if future.cancelled() or future.exception() is not None:  # else the tile is being processed
            finish(future)

    def finish(future: Future[None]) -> None:
        error = None if future.cancelled() else future.exception()
        if error is not None:
            errors.append(error)
            failed.set()
        room.release()

    with (
        ThreadPoolExecutor(threads, thread_name_prefix="tile") as pool,
        ThreadPoolExecutor(readers, thread_name_prefix="read") as reading,
    ):
        try:
            for tile in tiles:
                room.acquire()
                if failed.is_set():
                    room.release()
                    break
                if readers > 1:
                    _submit(reading, threads, read_unless_failed, tile).add_done_callback(finish_reading)
                else:
                    hand_over(tile, read(tile))
            # Not left to the pool's exit: an interrupt there would leave threads behind that still write.
            for _ in range(most):
                room.acquire()
        except BaseException:
            failed.set()
            for each in (reading, pool):
                each.shutdown(wait=False, cancel_futures=True)
            raise
    if errors:
        raise errors[0]


def _submit(pool: ThreadPoolExecutor, threads: int, work: Callable[..., None], *arguments: object) -> Future[None]:
    """Submit work to a pool. Raises MemoryTooSmall if the system refuses a thread."""
    try:
        return pool.submit(work, *arguments)
    except RuntimeError as problem:
        raise MemoryTooSmall(
            f"the system does not let this process start {threads} threads ({problem}); "
            f"lower {setting('threads')}, or raise the limit (ulimit -v, ulimit -u)"
        ) from problem

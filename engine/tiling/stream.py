"""Stream of tiles: read in order by the caller's thread, computed and written by a pool, within a limited number.

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
) -> None:
    """Call ``process(tile, read(tile))`` for every tile on ``threads`` threads; reads follow the order of ``tiles``.

    The first error stops the stream: tiles in work are finished, no more are started, then it is raised.
    """
    if threads <= 1:
        for tile in tiles:
            process(tile, read(tile))
        return
    room = threading.Semaphore(threads + READ_AHEAD)
    failed = threading.Event()
    errors: list[BaseException] = []

    def process_unless_failed(tile: Tile, source: Source) -> None:
        if not failed.is_set():
            process(tile, source)

    def finish(future: Future[None]) -> None:
        error = None if future.cancelled() else future.exception()
        if error is not None:
            errors.append(error)
            failed.set()
        room.release()

    with ThreadPoolExecutor(threads, thread_name_prefix="tile") as pool:
        try:
            for tile in tiles:
                room.acquire()
                if failed.is_set():
                    break
                source = read(tile)
                try:
                    pool.submit(process_unless_failed, tile, source).add_done_callback(finish)
                except RuntimeError as problem:  # Python's error if the system refuses a thread
                    failed.set()
                    raise MemoryTooSmall(
                        f"the system does not let this process start {threads} threads ({problem}); "
                        f"lower {setting('threads')}, or raise the limit (ulimit -v, ulimit -u)"
                    ) from problem
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    if errors:
        raise errors[0]

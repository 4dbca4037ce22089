"""Turns of threads that compute: one that only waits for its files lets the next begin."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

LONG_S = 0.5  # of a turn, from which on it pays to pass it on
MAX_WAITING = 2  # threads that wait for their files; a disk that falls behind further delays the computing


def is_long(started_s: float) -> bool:
    """Return True if it is long since a moment of ``time.monotonic``."""
    return time.monotonic() - started_s >= LONG_S


class Turns:
    """Limit of the threads that compute at once. Thread-safe."""

    def __init__(self, count: int = 1) -> None:
        """Let ``count`` threads compute at once."""
        self._count = count
        self._changed = threading.Condition()
        self._computing = self._inside = 0
        self._group: Hashable = None

    @property
    def is_busy(self) -> bool:
        """True while a thread has a turn, or waits for its files after it."""
        return self._inside > 0

    @contextmanager
    def taken(self, group: Hashable = None) -> Iterator[Callable[[], bool]]:
        """Wait for a turn, and have it in the context.

        group   threads of different groups are never in their contexts at the same time

        Yields a function that passes the turn on before the context ends, unless it was short or ``MAX_WAITING``
        threads have done so already; it returns whether it did.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._computing < self._count and self._group in (None, (group,)))
            self._group = (group,)
            self._inside += 1
            self._computing += 1
        is_computing, started_s = True, time.monotonic()

        def pass_on() -> bool:
            nonlocal is_computing
            with self._changed:
                if not is_computing or not is_long(started_s) or self._inside - self._computing >= MAX_WAITING:
                    return False
                is_computing = False
                self._computing -= 1
                self._changed.notify_all()
            return True

        try:
            yield pass_on
        finally:
            with self._changed:
                self._computing -= is_computing
                self._inside -= 1
                if not self._inside:
                    self._group = None
                self._changed.notify_all()

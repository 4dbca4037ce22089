"""Temporary files and folders that this process is writing.

Their modification times are renewed every few minutes, so that a search for leftovers by age does not find them, and
all of them can be removed at once if the process has to end without waiting for its threads.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

__all__ = ["RENEW_PERIOD_S", "LiveTargets", "live_targets"]

RENEW_PERIOD_S = 600.0
MAX_STEP_S = 60.0  # maximum time that the end of the process waits for an indivisible step
MAX_REMOVALS = 10


class _Temporary(Protocol):
    @property
    def temporary(self) -> Path: ...
    def discard(self) -> None: ...


class LiveTargets:
    """Set of targets that are neither committed nor discarded. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._targets: dict[int, _Temporary] = {}
        self._renewer: threading.Thread | None = None
        self._indivisible = 0

    def add(self, target: _Temporary) -> None:
        """Keep a target's modification time recent from now on."""
        with self._lock:
            self._targets[id(target)] = target
            if self._renewer is not None:
                return
            self._renewer = threading.Thread(target=self._renew_for_ever, name="renewer", daemon=True)
        with suppress(RuntimeError):  # the system refuses a thread: the times are not renewed
            self._renewer.start()

    def remove(self, target: _Temporary) -> None:
        """Forget a target; one that is unknown is no error."""
        with self._lock:
            self._targets.pop(id(target), None)

    def renew(self) -> None:
        """Set the modification time of all targets to now."""
        with self._lock:
            targets = list(self._targets.values())
        for target in targets:
            with suppress(OSError):
                os.utime(target.temporary)

    @contextmanager
    def indivisible(self) -> Iterator[None]:
        """Mark a step that would damage an existing result if the process ended in the middle of it."""
        with self._lock:
            self._indivisible += 1
        try:
            yield
        finally:
            with self._lock:
                self._indivisible -= 1

    def discard_all(self) -> None:
        """Remove all temporary files, even those being written. For the end of the process only.

        Waits for indivisible steps.
        """
        deadline = time.monotonic() + MAX_STEP_S
        while self._indivisible and time.monotonic() < deadline:
            time.sleep(0.01)
        # Not under the lock: a blocked thread may hold it.
        for target in list(self._targets.values()):
            for _ in range(MAX_REMOVALS):
                target.discard()
                time.sleep(0.005)  # a library may be recreating the folders of a chunk
                if not os.path.lexists(target.temporary):
                    break

    def _renew_for_ever(self) -> None:
        pause = threading.Event()
        while not pause.wait(RENEW_PERIOD_S):
            self.renew()


live_targets = LiveTargets()

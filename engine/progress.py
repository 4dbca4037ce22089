"""Progress of a run: a bar with rate and remaining time on a terminal, occasional log lines elsewhere.

Nothing is shown for work that takes less than a moment.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TextIO

from .public_text import public_text
from .terminal_text import printable

logger = logging.getLogger("pixelforest.progress")

BAR_DELAY_S = 0.5  # shorter work shows no bar
BAR_PERIOD_S = 0.1
LINE_DELAY_S = 5.0  # shorter work logs no line; also the minimum time between two lines
LINE_PERIOD_S = 30.0
LINE_STEP = 0.1  # share of the work
BAR_WIDTH = 30


class Progress:
    """Counter of finished voxels of a known total. ``add`` may be called from several threads.

    terminal   stream the bar is drawn on; None: log lines instead
    """

    def __init__(
        self, *, terminal: TextIO | None = None, is_shown: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._terminal = terminal
        self._is_shown = is_shown
        self._clock = clock
        self._lock = threading.RLock()  # a log line that interrupts the drawing thread hides the bar first
        self._total = 0
        self._skipped = 0
        self._done = 0
        self._is_drawn = False
        self._name = ""
        self._started_s = self._shown_s = clock()
        self._shown_share = 0.0

    def start(self, total_voxels: int, *, skipped_voxels: int = 0) -> None:
        """Start counting towards this total, of which an earlier run has finished some."""
        with self._lock:
            self._total, self._skipped, self._done, self._shown_share = total_voxels, skipped_voxels, 0, 0.0
            self._started_s = self._shown_s = self._clock()

    def add(self, voxels: int) -> None:
        """Add to the number of finished voxels."""
        with self._lock:
            self._done += voxels
            if self._is_shown and self._total > 0:
                self._show()

    @property
    def is_on_terminal(self) -> bool:
        """Return True if the bar is drawn on a terminal."""
        return self._terminal is not None

    def work_on(self, name: str) -> None:
        """Show the name of what is in work beside the bar."""
        self._name = printable(public_text(name))

    def skip(self, voxels: int) -> None:
        """Count voxels of the total that an earlier run has finished, or another one will."""
        with self._lock:
            self._skipped += voxels

    def hide(self) -> None:
        """Remove the bar from the terminal, so that other text can be written; the next ``add`` draws it again."""
        with self._lock:
            if self._is_drawn and self._terminal is not None:
                self._write("\r\x1b[K")
                self._is_drawn = False

    def finish(self) -> None:
        """Remove the bar permanently."""
        with self._lock:
            self.hide()
            self._total = 0

    def _show(self) -> None:
        now = self._clock()
        elapsed_s, since_s = now - self._started_s, now - self._shown_s
        share = min(1.0, (self._skipped + self._done) / self._total)
        if self._terminal is not None:
            if elapsed_s >= BAR_DELAY_S and (since_s >= BAR_PERIOD_S or share >= 1.0):
                from shutil import get_terminal_size  # with compressions, 4 ms, and few runs draw a bar

                filled = round(share * BAR_WIDTH)
                bar = f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {self._numbers(share, elapsed_s)}  {self._name}"
                self._write(f"\r\x1b[K{bar[: get_terminal_size().columns - 1].rstrip()}")
                self._is_drawn, self._shown_s = True, now
        elif since_s >= LINE_DELAY_S and (share - self._shown_share >= LINE_STEP or since_s >= LINE_PERIOD_S):
            logger.info("%s", self._numbers(share, elapsed_s))
            self._shown_s, self._shown_share = now, share

    def _numbers(self, share: float, elapsed_s: float) -> str:
        rate = self._done / elapsed_s if elapsed_s > 0 else 0.0
        left = format_duration((self._total - self._skipped - self._done) / rate) if rate > 0 else "unknown"
        return f"{share * 100:3.0f} %  {rate / 1e6:.2f} Mvoxels/s  {left} left"

    def _write(self, text: str) -> None:
        try:
            assert self._terminal is not None
            self._terminal.write(text)
            self._terminal.flush()
        except (OSError, ValueError):  # the terminal was closed; the work goes on
            self._is_shown = False


def format_duration(seconds: float) -> str:
    """Format a duration for display: 45 s, 3 min 20 s, 2 h 5 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"

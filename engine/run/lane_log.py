"""Assignment of log lines to lanes, for reports that list them by lane."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from contextvars import ContextVar

from ..errors import Text, as_marked
from ..messages import describe_record

_LOGGERS = ("pixelforest", "py.warnings")
_lane: ContextVar[int | None] = ContextVar("lane", default=None)


class LaneLog(logging.Handler):
    """Context manager that collects lines while it is open. Lanes may run in parallel, one thread each.

    A line from another thread, such as one that computes tiles, belongs to the only lane in work, or to none.
    """

    def __init__(self, level: int = logging.INFO) -> None:
        super().__init__(level)
        self._guard = threading.Lock()
        self._active: list[int] = []
        self._lines: dict[int, list[tuple[int, Text]]] = {}

    @contextlib.contextmanager
    def about(self, lane: int) -> Iterator[None]:
        """Assign lines that this thread logs within the context to a lane."""
        token = _lane.set(lane)
        with self._guard:
            self._active.append(lane)
        try:
            yield
        finally:
            with self._guard:
                self._active.remove(lane)
            _lane.reset(token)

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] not in _LOGGERS and record.name not in _LOGGERS:
            return
        with self._guard:
            lane = _lane.get()
            if lane is None and len(self._active) == 1:
                lane = self._active[0]
            if lane is not None:
                self._lines.setdefault(lane, []).append((record.levelno, Text(describe_record(record, as_marked))))

    def notes(self, lane: int) -> tuple[Text, ...]:
        """Lines below warnings, each once."""
        return tuple(dict.fromkeys(text for level, text in self._lines.get(lane, ()) if level < logging.WARNING))

    def warnings(self, lane: int) -> tuple[Text, ...]:
        """Lines that are warnings, each once; errors are not among them."""
        lines = self._lines.get(lane, ())
        return tuple(dict.fromkeys(text for level, text in lines if logging.WARNING <= level < logging.ERROR))

    def __enter__(self) -> LaneLog:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        logging.getLogger().removeHandler(self)

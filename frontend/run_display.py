"""Display of a run for people at a terminal: project, device, a line for each finished input, warnings in place.

Scripts read ilastik's log instead, see console.py. Nothing here imports anything heavy.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pixelforest.engine.errors import as_flag
from pixelforest.engine.messages import describe_error, describe_record
from pixelforest.engine.progress import Progress, format_duration
from pixelforest.engine.public_text import shorten
from pixelforest.engine.terminal_text import printable

from .console import write_line

if TYPE_CHECKING:
    from pixelforest.engine.jobs import Job
    from pixelforest.engine.run.outcome import LaneResult

_BOLD, _FAINT, _RED, _GREEN, _YELLOW = "1", "2", "31", "32", "33"
MAX_CLASSES = 6  # whose shares are shown in a line


class RunDisplay(logging.Handler):
    """Display of one run; also the handler of warnings, and of lines that are marked ``for_people``."""

    def __init__(self, stream: TextIO, progress: Progress, environment: Mapping[str, str] | None = None) -> None:
        super().__init__(logging.INFO)
        self._stream, self._progress, self._guard = stream, progress, threading.Lock()
        environment = os.environ if environment is None else environment
        self._is_single = False
        self._has_colours = not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"

    def begin(self, job: Job) -> None:
        """Show the project: its name, its classes and the number of trees."""
        self._is_single = len(job.lanes) == 1
        classifier = _classifier_of(job)
        parts = [job.project.workflow]
        if classifier is not None:
            parts += [f"classes {', '.join(classifier.label_names)}", f"{classifier.tree_count} trees"]
        self._write(f"{self._paint(_BOLD, job.project.path.name)}  {printable('; '.join(parts))}")

    def emit(self, record: logging.LogRecord) -> None:
        """Show a warning or an error, or a line for people."""
        if getattr(record, "only_in_file", False) or getattr(record, "is_of_lane", False):
            return
        message = printable(shorten(describe_record(record, as_flag)))
        if record.levelno >= logging.ERROR:
            self._write(self._paint(_RED, f"error: {message}"))
        elif record.levelno >= logging.WARNING:
            self._write(self._paint(_YELLOW, f"warning: {message}"))
        elif getattr(record, "for_people", False):
            self._write(message)

    def then(self, take: Callable[[LaneResult], None]) -> Callable[[LaneResult], None]:
        """Return a receiver of finished inputs that shows each, and passes it on."""

        def show(result: LaneResult) -> None:
            self.show_lane(result)
            take(result)

        return show

    def show_lane(self, result: LaneResult) -> None:
        """Show a finished input: seconds, shares of its classes, files; or its error, unless the run ends with it."""
        if result.error is not None:
            if not self._is_single:
                error = printable(shorten(describe_error(result.error, as_flag)))
                self._write(f"{self._paint(_RED, 'failed')}  {printable(result.name)}: {error}")
            return
        state = self._paint(_FAINT, "skipped") if result.is_skipped else self._paint(_GREEN, "done")
        parts = [f"{state}  {printable(result.name)}"]
        if not result.is_skipped:
            parts.append(_format_seconds(result.seconds))
        if shares := _describe_shares(result):
            parts.append(printable(shares))
        if result.files:
            parts.append(
                self._paint(_FAINT, "-> " + ", ".join(printable(_shorten_path(file)) for file in result.files))
            )
        self._write("  ".join(parts))

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._has_colours else text

    def _write(self, text: str) -> None:
        with self._guard:
            self._progress.hide()
            write_line(self._stream, text, has_colours=self._has_colours)


def _classifier_of(job: Job) -> Any:
    """Return the classifier whose classes a run shows, if its kind of project has one."""
    stages = getattr(job.project, "stages", ())
    return getattr(stages[-1] if stages else job.project, "classifier", None)


def _describe_shares(result: LaneResult) -> str:
    """Describe the shares of the classes, largest first; empty if they were not counted."""
    classes: Sequence[Mapping[str, Any]] = () if result.sample is None else result.sample.numbers["classes"]
    counts = {each["name"]: each.get("voxels", each.get("objects", 0)) for each in classes}
    total = sum(counts.values())
    if not total:
        return ""
    order = sorted(counts, key=lambda name: -counts[name])
    words = [f"{name} {counts[name] / total:.0%}" for name in order[:MAX_CLASSES]]
    words += ["…"] if len(order) > MAX_CLASSES else []
    objects = f"{total} objects: " if "objects" in classes[0] else ""
    return objects + ", ".join(words)


def _format_seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 10 else format_duration(seconds)


def _shorten_path(file: Path | str) -> str:
    """Path relative to the current folder, if the file is in it."""
    if isinstance(file, Path) and file.is_relative_to(Path.cwd()):
        return str(file.relative_to(Path.cwd()))
    return str(file)

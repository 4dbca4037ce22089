"""Machine-readable report of ``--report_json``: the outcome of every lane. Its fields: ``docs/cluster.md``.

The file is written once at the end, also of a run that fails or is interrupted, and appears complete or not at all.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixelforest import __version__
from pixelforest.engine.errors import as_flag, render_settings, setting
from pixelforest.engine.terminal_text import printable_json

if TYPE_CHECKING:
    from pixelforest.engine.jobs import Job
    from pixelforest.engine.run.outcome import LaneResult

SCHEMA = "pixelforest/report/1"
OPTION = setting("report_json")


class RunReport:
    """Collector of the facts of a run. Lanes may end in any thread.

    name   the file as typed; None: no report. Raises ExportError if it cannot be written
    """

    def __init__(self, name: str | None) -> None:
        self._path = None if name is None else Path(name).expanduser().absolute()
        self._started_s = time.monotonic()
        self._lock = threading.Lock()
        self._job: Job | None = None
        self._lanes: dict[int, LaneResult] = {}
        self._status, self._error = 1, ""
        if self._path is not None:
            from pixelforest.engine.storage.atomic_write import check_file_place

            check_file_place(self._path, OPTION, begins=b"{")

    def begin(self, job: Job) -> None:
        """Record the lanes of the job."""
        self._job = job

    def end(self, status: int, error: str) -> None:
        """Record the end of the run."""
        self._status, self._error = status, error

    def add(self, result: LaneResult) -> None:
        """Record the outcome of a lane."""
        with self._lock:
            self._lanes[result.index] = result

    def write(self) -> None:
        """Put the file in place. Raises ExportError."""
        if self._path is None:
            return
        from pixelforest.engine.public_text import public_document
        from pixelforest.engine.storage.atomic_write import write_text_file

        document = public_document(self._document())
        text = printable_json(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)) + "\n"
        write_text_file(self._path, text, OPTION, begins=b"{")

    def _document(self) -> Mapping[str, Any]:
        job = self._job
        return {
            "schema": SCHEMA,
            "version": __version__,
            "status": self._status,
            "error": self._error or None,
            "project": None if job is None else str(job.project.path),
            "threads": None if job is None else job.threads,
            "memory_bytes": None if job is None else job.memory_bytes,
            "shard": None if job is None or job.shard is None else list(job.shard),
            "seconds": round(time.monotonic() - self._started_s, 3),
            "lanes": [] if job is None else self._describe_lanes(job),
        }

    def _describe_lanes(self, job: Job) -> Sequence[Mapping[str, Any]]:
        from pixelforest.engine.messages import describe_error

        lanes = []
        for lane in job.lanes:
            result = self._lanes.get(lane.index)
            error = None if result is None or result.error is None else describe_error(result.error, as_flag)
            lanes.append(
                {
                    "lane": lane.index + 1,
                    "state": _state(result),
                    "error": error,
                    "inputs": dict(lane.arguments),
                    "outputs": [] if result is None else [str(file) for file in result.files],
                    "device": None if result is None else result.device,
                    "seconds": None if result is None else round(result.seconds, 3),
                    "warnings": [] if result is None else [render_settings(text, as_flag) for text in result.warnings],
                }
            )
        return lanes


def _state(result: LaneResult | None) -> str:
    if result is None:
        return "not done"
    return "failed" if result.error is not None else "skipped" if result.is_skipped else "done"

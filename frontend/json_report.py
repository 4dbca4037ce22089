"""Reports of a run: the outcome of every lane as JSON, ``--report_json``, and as a page. Fields: ``docs/cluster.md``.

Files are written once at the end, also of a run that fails or is interrupted, and appear complete or not at all.
"""

from __future__ import annotations

import json
import sys
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
    from pixelforest.engine.sampling.lane import LaneSample
    from pixelforest.frontend.console import ConsoleSettings

PROGRAM = "pixelforest"
SCHEMA = "pixelforest/report/1"
OPTION = setting("report_json")


class RunReport:
    """Collector of the facts of a run. Lanes may end in any thread.

    settings   names the files, as typed. Raises ExportError if they cannot be written
    """

    def __init__(self, settings: ConsoleSettings) -> None:
        self._path, self._page = (_absolute(name) for name in (settings.report_json, settings.report_html))
        self._started_s = time.monotonic()
        self._lock = threading.Lock()
        self._job: Job | None = None
        self._provenance: Mapping[str, Any] | None = None
        self._lanes: dict[int, LaneResult] = {}
        self._status, self._error = 1, ""
        if self._path is not None:
            from pixelforest.engine.storage.atomic_write import check_file_place

            check_file_place(self._path, OPTION, begins=b"{")
        if self._page is not None:
            from .html_report.files import check_page_place

            check_page_place(self._page)
        self._multiqc = _absolute(settings.report_multiqc)
        if self._multiqc is not None:
            from .multiqc_report import check_multiqc_place

            check_multiqc_place(self._multiqc)

    def begin(self, job: Job) -> None:
        """Record the lanes of the job."""
        self._job = job
        self._provenance = _describe_run(job) if job.samples else None

    def end(self, status: int, error: str) -> None:
        """Record the end of the run."""
        self._status, self._error = status, error

    def add(self, result: LaneResult) -> None:
        """Record the outcome of a lane."""
        with self._lock:
            self._lanes[result.index] = result

    def write(self) -> None:
        """Put the files in place. Raises ExportError."""
        if self._path is not None:
            from pixelforest.engine.public_text import public_document
            from pixelforest.engine.storage.atomic_write import write_text_file

            document = public_document(self._document())
            text = printable_json(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)) + "\n"
            write_text_file(self._path, text, OPTION, begins=b"{")
        if self._page is not None:
            from .html_report.files import write_page

            write_page(self._document(), self._page)
        if self._multiqc is not None:
            from .multiqc_report import write_multiqc

            write_multiqc(self._document(), self._multiqc)

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
            "provenance": self._provenance,
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
                    "sample": None
                    if result is None or result.sample is None or self._provenance is None
                    else describe_sample(result.sample),
                }
            )
        return lanes


def _absolute(name: str | None) -> Path | None:
    return None if name is None else Path(name).expanduser().absolute()


def describe_sample(sample: LaneSample) -> Mapping[str, Any]:
    """Return the numbers of a sample with its pictures, in base64."""
    import base64  # few runs come here

    pictures = {name: base64.b64encode(data).decode() for name, data in sample.pictures.items()}
    return {**sample.numbers, "pictures": pictures}


def _describe_run(job: Job) -> Mapping[str, Any]:
    """Describe the origin of the results of a run with pictures."""
    import platform
    import shlex
    from datetime import UTC, datetime

    from pixelforest.engine.storage.file_digest import digest_file

    versions = {"pixelforest": __version__, "Python": platform.python_version()}
    versions |= {name: sys.modules[name].__version__ for name in ("numpy", "h5py") if name in sys.modules}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join([PROGRAM, *sys.argv[1:]]),
        "project_sha256": digest_file(job.project.path),
        "workflow": job.project.workflow,
        "versions": versions,
        "machine": f"{platform.system()} {platform.machine()}",
    }


def _state(result: LaneResult | None) -> str:
    if result is None:
        return "not done"
    return "failed" if result.error is not None else "skipped" if result.is_skipped else "done"

"""Results behind URLs that runs can continue: folders of runs beside a result, and the record of a complete one.

Nothing can be appended there, so each process writes objects of a hundred records and the newest one again and again.
The record of a complete result is in the result: whatever replaces or removes it takes the record along.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from .object_storage import RemotePath, RemoteTarget
from .run_folder import forget_run, keep_run

RUNS = ".pixelforest-runs"
RECORD = ".pixelforest-resume"
_FACTS = "run.json"
_RECORDS = ".jsonl"
_SAMPLES = "samples"
RECORDS_PER_OBJECT = 100


class RemoteRunFolder:
    """The folder of a run, open in this process: see ``run_folder.RunFolder``. Threads may add records at once."""

    def __init__(self, result: RemotePath, run: str, facts: Mapping[str, Any]) -> None:
        """Open or create the folder for a result. Raises ExportError."""
        self.folder = remote_run_path(result, run)
        self._target = RemoteTarget(self.folder, run=run)
        self._facts = dict(facts)
        self._lock = threading.Lock()
        self._process, self._objects, self._lines = os.urandom(6).hex(), 0, list[bytes]()
        self.open()

    def open(self) -> None:
        """Create what is missing. Raises ExportError."""
        self._target.put(_FACTS, json.dumps(self._facts, indent=1).encode())
        keep_run(self.folder)

    def records(self) -> list[dict[str, Any]]:
        """Read the records of all processes. Raises ExportError."""
        return [
            record
            for _, content in self._target.values(suffix=_RECORDS)
            for line in content.splitlines()
            if isinstance(record := _parse(line), dict)
        ]

    def add(self, *records: Mapping[str, Any]) -> None:
        """Add records, which the server has when this returns. Raises ExportError."""
        with self._lock:
            for record in records:
                self._lines.append(json.dumps(record, separators=(",", ":")).encode())
                if len(self._lines) == RECORDS_PER_OBJECT:
                    self._put_lines()
                    self._objects, self._lines = self._objects + 1, []
            if self._lines:
                self._put_lines()

    def _put_lines(self) -> None:
        self._target.put(f"{self._process}-{self._objects}{_RECORDS}", b"\n".join(self._lines))

    def put_sample(self, index: int, packed: bytes) -> None:
        """Keep the sample of a block, by its number. Raises ExportError."""
        self._target.put(f"{_SAMPLES}/{index}", packed)

    def sample(self, index: int) -> bytes | None:
        """Read the sample of a block; None if there is none. Raises ExportError."""
        return self._target.read(f"{_SAMPLES}/{index}")

    def discard(self) -> None:
        """Close it; what is in it is kept. Never raises."""

    def remove(self) -> None:
        """Remove it. Never raises."""
        remove_remote_run(self.folder)
        forget_run(self.folder)


def remote_run_path(result: RemotePath, run: str) -> RemotePath:
    """Folder of a run for a result."""
    return RemotePath(f"{_beside(result)}/{RUNS}/{result.name}.{run}")


def remove_remote_run(folder: RemotePath) -> None:
    """Remove the folder of a run. Never raises."""
    with suppress(Exception):
        RemoteTarget(folder).remove()


def find_remote_runs(result: RemotePath) -> Iterator[tuple[RemotePath, dict[str, Any]]]:
    """Yield folder and facts of all runs for a result. Raises ExportError."""
    runs = RemotePath(f"{_beside(result)}/{RUNS}")
    for key, content in RemoteTarget(runs).values(prefix=f"{result.name}.", suffix=f"/{_FACTS}"):
        facts = _parse(content)
        if isinstance(facts, dict):
            yield runs / key.partition("/")[0], facts


def _beside(result: RemotePath) -> str:
    return str(result).rpartition("/")[0]


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


class RemoteResult:
    """A result behind a URL, as the runs that make it see it.

    folder  its store or container; prefix: of its keys in it
    """

    def __init__(self, url: str, internal: str, *, run: str = "") -> None:
        """Name the dataset in a container, or "", and the run that makes it. Raises InputError, ExportError."""
        self.folder = RemotePath(url)
        names = [name for name in internal.split("/") if name not in ("", ".")]
        self.prefix = "".join(f"{name}/" for name in names)
        self._target = RemoteTarget(self.folder, run=run)

    def record(self) -> dict[str, Any] | None:
        """Read the record of a complete result; None if there is none. Raises ExportError."""
        content = self._target.read(self.prefix + RECORD)
        if content is None or self._target.is_unfinished(self.prefix):
            return None
        found = _parse(content)
        return found if isinstance(found, dict) else None

    def put_record(self, record: Mapping[str, Any]) -> None:
        """Record that the result is complete. Raises ExportError."""
        self._target.put(self.prefix + RECORD, json.dumps(record).encode())

    def is_begun(self) -> bool:
        """Return True if the run is writing it. Raises ExportError."""
        return self._target.is_begun(self.prefix)

    def is_there(self) -> bool:
        """Return True if it is complete. Raises ExportError."""
        return self._target.holds(self.prefix) and not self._target.is_unfinished(self.prefix)

    def check_unused(self) -> None:
        """Raise ExportError if there is anything in its place that the run has not written."""
        self._target.check_unused(self.prefix)

"""Folder of a run that several processes compute block by block, or one after another: what it makes, and what is done.

It is beside the result, named by the result and the run, and kept until the result is complete.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .atomic_write import export_errors
from .ledger import Ledger
from .live_targets import live_targets

RUN_SUFFIX = ".run"
_FACTS = "run.json"
_SAMPLES = "samples"
_kept: set[object] = set()


class RunFolder:
    """The folder of a run, open in this process. Threads may add records at once.

    temporary  the folder itself: while it is open, its modification time is kept recent
    """

    def __init__(self, path: Path, run: str, facts: Mapping[str, Any]) -> None:
        """Open or create the folder for a result at ``path``. Raises ExportError."""
        self.temporary = run_path(path, run)
        self._ledger = Ledger(self.temporary)
        self._facts = dict(facts)
        self.open()

    def open(self) -> None:
        """Create what is missing. Raises ExportError."""
        with export_errors(self.temporary):
            self.temporary.mkdir(parents=True, exist_ok=True)
            file = self.temporary / _FACTS
            if not file.exists():
                new = file.with_name(f"{_FACTS}.{os.urandom(6).hex()}")
                new.write_text(json.dumps(self._facts, indent=1), encoding="utf-8")
                os.replace(new, file)
        live_targets.add(self)
        keep_run(self.temporary)

    def records(self) -> list[dict[str, Any]]:
        """Read the records of all processes."""
        return self._ledger.read()

    def add(self, *records: Mapping[str, Any]) -> None:
        """Add records, which are on disk when this returns. Raises ExportError."""
        with export_errors(self.temporary):
            self._ledger.add(*records)

    def put_sample(self, index: int, packed: bytes) -> None:
        """Keep the sample of a block, by its number, which a crash of the machine may lose. Raises ExportError."""
        file = self.temporary / _SAMPLES / str(index)
        with export_errors(file):
            file.parent.mkdir(exist_ok=True)
            new = file.with_name(f".{index}.{os.urandom(6).hex()}")
            new.write_bytes(packed)
            os.replace(new, file)

    def sample(self, index: int) -> bytes | None:
        """Read the sample of a block; None if there is none."""
        try:
            return (self.temporary / _SAMPLES / str(index)).read_bytes()
        except OSError:
            return None

    def discard(self) -> None:
        """Close it; what is in it is kept. Never raises."""
        with suppress(OSError):
            self._ledger.close()
        live_targets.remove(self)

    def remove(self) -> None:
        """Close and remove it. Never raises."""
        self.discard()
        remove_run(self.temporary)
        forget_run(self.temporary)


def remove_run(folder: Path) -> None:
    """Remove the folder of a run, or one that became a result. Never raises."""
    shutil.rmtree(folder, ignore_errors=True)


def keep_run(folder: object) -> None:
    """Take note of the folder of a run of this process that another one could continue."""
    _kept.add(folder)


def forget_run(folder: object) -> None:
    """Forget it: it is complete."""
    _kept.discard(folder)


def was_kept() -> bool:
    """Return True if another process can continue a run of this one."""
    return bool(_kept)


def forget_kept() -> None:
    """Forget the runs of this process up to now, where another command begins."""
    _kept.clear()


def run_path(path: Path, run: str) -> Path:
    """Path of the folder of a run for a result."""
    return path.with_name(f".{path.stem[:60]}.{run}{RUN_SUFFIX}")


def find_runs(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the facts of all runs for results in a folder."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(RUN_SUFFIX))
    except OSError:
        return
    for name in names:
        with suppress(OSError, ValueError):
            facts = json.loads((folder / name / _FACTS).read_text(encoding="utf-8"))
            if isinstance(facts, dict):
                yield facts

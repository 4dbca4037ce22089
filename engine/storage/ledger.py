"""Ledger: records of finished work in a folder, one JSON object per line, that outlive the process that adds them.

Every process appends to a file of its own and reads those of all, so that none waits for a lock on a shared disk. A
record is on disk when ``add`` returns; the caller makes the files that it is about durable before.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from .durable import sync_folder

_SUFFIX = ".jsonl"


class Ledger:
    """Records in a folder, which is created with the first one. Threads may add at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._descriptor: int | None = None
        self._name = f"{os.urandom(6).hex()}{_SUFFIX}"

    def read(self) -> list[dict[str, Any]]:
        """Read the records of all processes. A line that a killed process wrote in part is ignored."""
        try:
            names = sorted(name for name in os.listdir(self.folder) if name.endswith(_SUFFIX))
        except OSError:  # there is none yet
            return []
        records = []
        for name in names:
            with suppress(OSError):
                for line in (self.folder / name).read_bytes().split(b"\n"):
                    with suppress(ValueError):
                        found = json.loads(line)
                        if isinstance(found, dict):
                            records.append(found)
        return records

    def add(self, *records: Mapping[str, Any]) -> None:
        """Append records. Raises OSError."""
        lines = "".join(f"{json.dumps(record, separators=(',', ':'))}\n" for record in records).encode()
        descriptor = self._open()
        if os.write(descriptor, lines) < len(lines):  # at once: lines of several threads do not mix
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)

    def close(self) -> None:
        """Close this process's file; may be called twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _open(self) -> int:
        if self._descriptor is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self._descriptor = os.open(self.folder / self._name, flags, 0o666)
            sync_folder(self.folder)
        return self._descriptor

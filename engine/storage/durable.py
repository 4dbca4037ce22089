"""Files that are on disk under their names, so that a record of them holds whatever happens to the machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePosixPath

MAX_SYNCS = 8  # at once: threads only wait for the disk, and a file system commits together what several ask for


def make_durable(paths: Iterable[Path]) -> None:
    """Wait until files, or folders with everything in them, are on disk under their names. Raises OSError."""
    for path in paths:
        if path.is_dir():
            with ThreadPoolExecutor(MAX_SYNCS, thread_name_prefix="sync") as pool:
                for folder, _, names in os.walk(path):
                    list(pool.map(_sync_file, [Path(folder, name) for name in names]))
                    sync_folder(Path(folder))
        else:
            _sync_file(path)
        sync_folder(path.parent)


class DurableFiles:
    """Files in a folder that come to disk while others are being computed. Threads may add and settle at once.

    Names are relative to the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pool = ThreadPoolExecutor(MAX_SYNCS, thread_name_prefix="sync")
        self._begun: dict[str, Future[None]] = {}
        self._lock = threading.Lock()

    def add(self, name: str, wait: Callable[[], object], *, is_removed: bool = False) -> None:
        """Begin to bring a file to disk, once ``wait`` returns: then it is written, or removed."""

        def sync() -> None:
            wait()
            if not is_removed:
                _sync_file(self._folder / name)

        with self._lock:
            self._begun[name] = self._pool.submit(sync)

    def settle(self, names: Iterable[str] | None = None) -> None:
        """Wait until these of the files that were added, or all, are on disk under their names.

        Raises OSError, and the errors of ``wait``, also when it is called again.
        """
        with self._lock:
            chosen = list(self._begun) if names is None else [name for name in names if name in self._begun]
            begun = {name: self._begun[name] for name in chosen}
        if not begun:
            return
        for each in begun.values():
            each.result()
        folders = {self._folder / parent for name in begun for parent in PurePosixPath(name).parents}
        list(self._pool.map(sync_folder, {*folders, self._folder.parent}))
        with self._lock:
            for name in begun:
                self._begun.pop(name, None)

    def close(self) -> None:
        """Begin no more, and wait until nothing is in work; may be called twice. Never raises."""
        self._pool.shutdown(cancel_futures=True)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on disk, where the system can do that."""
    with suppress(OSError):  # not every system opens folders, nor every file system syncs them
        _sync_file(path)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

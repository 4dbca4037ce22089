"""Large intermediate arrays: in memory within a budget, then in temporary files that are removed automatically."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import MemoryTooSmall, setting
from ..machine import format_size_up


class Scratch:
    """Allocator of arrays of any size. Pages of zeros that are never written take no space, in memory or in a file.

    memory_bytes  limit of its arrays in memory together; further ones are mapped from files
    directory     folder of the files; default: the system's folder for temporary files
    Thread-safe. Closing frees everything; an array must not be used after that.
    """

    def __init__(self, memory_bytes: int, directory: Path | None = None) -> None:
        self.memory_bytes = memory_bytes
        self._directory = Path(tempfile.gettempdir()) if directory is None else directory
        self._lock = threading.Lock()
        self._held: dict[int, tuple[np.ndarray, IO[bytes] | None]] = {}
        self._filling: dict[int, tuple[int, IO[bytes]]] = {}  # size and file of arrays not yet written completely
        self._in_memory = 0

    @property
    def bytes_in_memory(self) -> int:
        """Memory that its arrays take of the budget."""
        return self._in_memory

    def lower_to(self, memory_bytes: int) -> None:
        """Lower the budget for further arrays; existing ones count towards it."""
        self.memory_bytes = min(self.memory_bytes, max(memory_bytes, self._in_memory))

    def array(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Allocate an array of zeros. Raises MemoryTooSmall if it fits neither the memory nor the folder."""
        wanted = np.dtype(dtype)
        size = prod(shape) * wanted.itemsize
        with self._lock:
            fits = self._in_memory + size <= self.memory_bytes
            if fits:
                self._in_memory += size
            elif size:
                self._check_room(size)
        try:
            made, file = (np.zeros(shape, wanted), None) if fits or not size else self._map(shape, wanted, size)
        except BaseException:
            if fits:
                self._release(size)
            raise
        with self._lock:
            self._held[id(made)] = (made, file)
            if file is not None:
                self._filling[id(made)] = (made.nbytes, file)
        return made

    def free(self, array: np.ndarray) -> None:
        """Free an array that ``array`` returned; one that is unknown, or already free, is ignored."""
        with self._lock:
            held = self._held.get(id(array))
            if held is None or held[0] is not array:
                return
            del self._held[id(array)]
            self._filling.pop(id(array), None)
        _, file = held
        if file is None:
            self._release(array.nbytes)
        else:
            file.close()

    def close(self) -> None:
        """Free all arrays."""
        for array, _ in list(self._held.values()):
            self.free(array)

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _release(self, size: int) -> None:
        with self._lock:
            self._in_memory -= size

    def _check_room(self, size: int) -> None:
        try:
            free = shutil.disk_usage(self._directory).free
        except OSError as error:
            raise MemoryTooSmall(f"the folder {self._directory} for temporary files cannot be used: {error}") from error
        if size + self._unwritten() > free:
            raise MemoryTooSmall(
                f"an intermediate array of {format_size_up(size)} fits neither the memory budget of "
                f"{format_size_up(self.memory_bytes)} nor the folder {self._directory}, which has "
                f"{format_size_up(free)} left; raise {setting('memory')}, or let TMPDIR name a folder with more room"
            )

    def _unwritten(self) -> int:
        """Bytes of its files that are not yet allocated on disk; a full folder would end the process without a message.

        A file that is allocated completely is not checked again.
        """
        total = 0
        for key, (size, file) in list(self._filling.items()):
            missing = size - 512 * getattr(os.fstat(file.fileno()), "st_blocks", size)
            if missing > 0:
                total += missing
            else:
                del self._filling[key]
        return total

    def _map(self, shape: tuple[int, ...], dtype: np.dtype[Any], size: int) -> tuple[np.ndarray, IO[bytes]]:
        """Map an array in a file without a name (on Windows: one that is deleted with its last handle)."""
        file = tempfile.TemporaryFile(prefix="pixelforest-", dir=self._directory)  # noqa: SIM115  # closed by free
        try:
            file.truncate(size)
            # A plain view: kernels compile once for all arrays.
            return np.asarray(np.memmap(file, dtype, "r+", shape=shape)), file
        except BaseException:
            file.close()
            raise

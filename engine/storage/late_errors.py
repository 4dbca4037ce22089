"""A file whose errors of writing wait until it is closed.

libhdf5 writes most of a file when it is closed, and if the disk is full by then it may end the process. Here it never
learns of it: what cannot be written is dropped, and the first error is raised afterwards.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class _LateErrors(io.FileIO):
    """An unbuffered file that accepts everything, and keeps the first error."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = rest.nbytes
        try:
            while rest:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = self.error or error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
        return self.tell() if size is None else size


@contextmanager
def open_with_late_errors(path: Path, mode: str) -> Iterator[io.FileIO]:
    """Open a file for reading and writing, ``w+`` or ``r+``, and raise its first error of writing at the end.

    That error replaces any other of the context, since dropped data cause others.
    """
    file = _LateErrors(path, mode)
    try:
        yield file
    except Exception:
        if file.error is None:
            raise
    finally:
        file.close()
    if file.error is not None:
        raise file.error

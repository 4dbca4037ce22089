"""Outputs that are not regular files: devices, pipes, and open descriptors under names such as /dev/fd/3.

They are written into and never replaced. Waiting for the reader of a pipe has a time limit.
"""

from __future__ import annotations

import errno
import os
import re
import select
import stat
import time
from pathlib import Path
from typing import TextIO

__all__ = [
    "SpecialFile",
    "check_special",
    "copy_into",
    "describe_special",
    "is_special",
    "open_text",
    "resolve_links",
]

READER_WAIT_S = 60.0
_POLL_S = 0.1
_PIECE_BYTES = 1 << 16
_DESCRIPTOR = r"/(?:dev|proc/self|proc/thread-self)/fd/(\d+)"
_STANDARD = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}


def is_special(path: Path) -> bool:
    """Return True for a device, a pipe or a socket, also behind a link, and for the name of an open descriptor."""
    if _descriptor(path) is not None:
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def describe_special(path: Path) -> str:
    """Return a noun for a special file at a path; empty for a regular file, a folder or nothing."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return ""
    kinds = {
        stat.S_IFIFO: "a named pipe",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "")


def resolve_links(path: Path) -> Path:
    """Resolve all links of a path. Special files keep their name: some have no other."""
    return path if is_special(path) else Path(os.path.realpath(path))


def check_special(path: Path) -> None:
    """Raise the OSError that writing into a special file would raise, as far as it is known."""
    number = _descriptor(path)
    if number is None:
        if not os.access(path, os.W_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return
    try:
        import fcntl

        flags = fcntl.fcntl(number, fcntl.F_GETFL)
    except OSError:
        raise OSError(errno.EBADF, f"no file is open as descriptor {number}") from None
    except ImportError:
        return
    if flags & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EACCES, f"descriptor {number} is open for reading only")


class SpecialFile:
    """Special file written from its current position. Context manager; closing does not remove it.

    Raises OSError.
    """

    def __init__(self, path: Path) -> None:
        number = _descriptor(path)
        self._descriptor = os.dup(number) if number is not None else _open_for_writing(path)

    def write(self, data: bytes | memoryview) -> None:
        """Write all of ``data``; waits for the reader of a pipe in steps, so that signals are seen."""
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._descriptor, left[:_PIECE_BYTES]) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [], _POLL_S)

    def close(self) -> None:
        """Close it; may be called twice."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def __enter__(self) -> SpecialFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_text(path: Path) -> TextIO:
    """Open a special file to write lines of text; closing does not remove it. Raises OSError."""
    number = _descriptor(path)
    descriptor = os.dup(number) if number is not None else _open_for_writing(path)
    os.set_blocking(descriptor, True)
    return open(descriptor, "w", encoding="utf-8", errors="backslashreplace")


def copy_into(source: Path, path: Path) -> None:
    """Write the content of a finished file into a special one. Raises OSError."""
    with SpecialFile(path) as target, source.open("rb") as stream:
        while piece := stream.read(_PIECE_BYTES):
            target.write(piece)


def _open_for_writing(path: Path) -> int:
    deadline = time.monotonic() + READER_WAIT_S
    while True:
        try:
            return os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
        except OSError as error:
            if error.errno != errno.ENXIO or not stat.S_ISFIFO(path.stat().st_mode):
                raise
            if time.monotonic() >= deadline:
                text = f"nobody has opened this pipe to read it for {READER_WAIT_S:.0f} s"
                raise OSError(errno.ENXIO, text) from None
        time.sleep(_POLL_S)


def _descriptor(path: Path) -> int | None:
    """Parse the number in the name of an open descriptor; None for any other name."""
    text = str(path)
    match = re.fullmatch(_DESCRIPTOR, text) if "/fd/" in text else None
    return int(match[1]) if match and len(match[1]) < 10 else _STANDARD.get(text)

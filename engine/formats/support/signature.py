"""Recognition of files by their first bytes: of inputs, and of earlier results that a project may replace."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

__all__ = ["HDF5_SIGNATURE", "PNM_SIGNATURES", "RADIANCE_SIGNATURES", "TIFF_SIGNATURES", "begins_with", "read_head"]

_HEAD_BYTES = 64

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PNM_SIGNATURES = tuple(b"P%d" % kind + space for kind in range(1, 7) for space in (b"\n", b" ", b"\r", b"\t", b"#"))
RADIANCE_SIGNATURES = (b"#?RA", b"#?RGBE")


def begins_with(*signatures: bytes) -> Callable[[Path, str], bool]:
    """Make ``OutputFormat.is_result`` for files that begin with one of these byte strings.

    A device, a FIFO, a folder or a file that cannot be read is no result; none of them is waited for.
    """

    def is_result(path: Path, internal_path: str) -> bool:
        try:
            number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        except OSError:
            return False
        try:
            is_file = stat.S_ISREG(os.fstat(number).st_mode)
            return is_file and os.read(number, max(map(len, signatures))).startswith(signatures)
        finally:
            os.close(number)

    return is_result


def read_head(path: Path) -> bytes:
    """Read the first bytes of an ordinary file; none if it cannot be read, which is reported when it is opened."""
    try:
        with open(path, "rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError:
        return b""

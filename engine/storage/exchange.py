"""Replacement of one folder by another: in one step where the system can exchange two names, else in two with recovery.

Linux has renameat2 with RENAME_EXCHANGE, macOS renamex_np with RENAME_SWAP; not every file system supports them. A
process killed between the two steps leaves nothing under the final name and the old folder under a hidden one, from
which the next run restores it.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

__all__ = ["exchange", "find_aside", "recover_folder", "replace_in_two_steps"]

log = logging.getLogger("pixelforest.export")

_AT_FDCWD = -100
_RENAME_EXCHANGE = _RENAME_SWAP = 2
_SUFFIX = ".old"
_MAX_NAME_BYTES = 200  # of a name that is kept in the name of the folder moved aside; file systems allow 255
_MAX_TRIES = 5
# Errors of a kernel or a file system that cannot exchange names.
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}


def exchange(first: Path, second: Path) -> bool:
    """Exchange two names in one step. Returns False if that is not supported. Raises OSError."""
    call = _system_call()
    if call is None:
        return False
    if call(os.fsencode(first), os.fsencode(second)) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(first))


@cache
def _system_call() -> Callable[[bytes, bytes], int] | None:
    """Find the function of the C library that exchanges two paths; None if it has none."""
    if not sys.platform.startswith(("linux", "darwin")):
        return None
    library = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "darwin":
        swap = getattr(library, "renamex_np", None)
        if swap is None:
            return None
        swap.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint)
        return lambda first, second: int(swap(first, second, _RENAME_SWAP))
    rename = getattr(library, "renameat2", None)
    if rename is None:
        return None
    rename.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return lambda first, second: int(rename(_AT_FDCWD, first, _AT_FDCWD, second, _RENAME_EXCHANGE))


def replace_in_two_steps(new: Path, path: Path) -> Path:
    """Move the folder at ``path`` aside and ``new`` to its place; returns the new path of the old one.

    The old one is moved back if the new one cannot take its place. Raises OSError.
    """
    for attempt in range(1, _MAX_TRIES + 1):
        aside = path.with_name(f"{_aside_prefix(path)}{os.urandom(6).hex()}{_SUFFIX}")
        os.rename(path, aside)
        try:
            os.rename(new, path)
            return aside
        except BaseException as error:
            # Another run may have mistaken the state between the two renames for that of a killed one.
            is_back = path.exists()
            if not is_back:
                os.rename(aside, path)
            if attempt == _MAX_TRIES or not isinstance(error, OSError) or not is_back:
                raise
    raise AssertionError  # the loop returns or raises


def find_aside(path: Path) -> Path | None:
    """Find the folder that a killed run moved aside from ``path`` without replacing it; None if there is none."""
    if os.path.lexists(path):
        return None
    prefix = _aside_prefix(path)
    try:
        names = [n for n in os.listdir(path.parent) if n.startswith(prefix) and n.endswith(_SUFFIX)]
    except OSError:
        return None
    found = [path.with_name(name) for name in names if len(name) == len(prefix) + 12 + len(_SUFFIX)]
    return max(found, key=lambda p: p.lstat().st_ctime_ns, default=None)


def recover_folder(path: Path) -> None:
    """Restore the folder that a killed run moved aside from ``path``, if nothing is there, and log. Raises OSError."""
    aside = find_aside(path)
    if aside is not None:
        os.rename(aside, path)
        log.warning(
            "%s: an earlier run was killed while it replaced this folder; the old one is put back, it was in %s",
            path,
            aside.name,
        )


def _aside_prefix(path: Path) -> str:
    """Prefix of the name of a folder that was moved aside, unique to this folder."""
    name = path.name
    if len(os.fsencode(name)) > _MAX_NAME_BYTES:
        import hashlib  # 10 ms, and few runs come here

        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return f".{name}."

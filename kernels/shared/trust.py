"""Reading and writing of code files in folders that no other user can change: opened, then checked, then read.

Every folder from the root on is opened without following links, and owner and mode are read from the open descriptor,
so nothing can be exchanged between the check and the use. Only this user, the superuser and the owner of the
installation may own or change a folder on the path; a sticky folder such as /tmp may be open to all.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_OTHERS, _GROUP = stat.S_IWOTH, stat.S_IWGRP
# Windows keeps other users out of these folders by itself.
_HAS_MODES = hasattr(os, "geteuid") and os.open in os.supports_dir_fd
# A folder that may be entered but not listed can be opened as a path only.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
# Opening a FIFO instead of a file must not block.
_FILE = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)


class Untrusted(OSError):
    """Another user can change a file or a folder on its path. An OSError, so the file counts as missing."""


def read_file(folder: Path, name: str, *, is_package: bool = False) -> bytes:
    """Read a file in a folder of code. Raises OSError.

    name        path inside the folder, with slashes
    is_package  the folder is in the ``__pycache__`` of the package. A user who can change that, or a folder above it,
                can change the package's own code, so it may be open to the installation's group.
    """
    if not _HAS_MODES:
        return (folder / name).read_bytes()
    *inner, last = name.split("/")
    with (
        _opened(folder, inner, is_package=is_package) as parent,
        os.fdopen(os.open(last, _FILE, dir_fd=parent), "rb") as stream,
    ):
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise Untrusted(f"{folder / name} is not a file")
        _check(found, folder / name, is_own=True)
        return stream.read()


def write_file(folder: Path, name: str, content: bytes, *, is_package: bool = False) -> None:
    """Write a file atomically so that only its owner can change it. Raises OSError.

    The folders must exist, see make_folders.
    """
    *inner, last = name.split("/")
    partial = f"{last}.{os.getpid()}-{threading.get_ident()}.part"
    if not _HAS_MODES:
        place = folder.joinpath(*inner)
        (place / partial).write_bytes(content)
        os.replace(place / partial, place / last)
        return
    with _opened(folder, inner, is_package=is_package) as parent:
        with contextlib.suppress(FileNotFoundError):  # left by a killed process with the same number
            os.unlink(partial, dir_fd=parent)
        try:
            with os.fdopen(os.open(partial, _NEW_FILE, 0o644, dir_fd=parent), "wb") as stream:
                stream.write(content)
            os.replace(partial, last, src_dir_fd=parent, dst_dir_fd=parent)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(partial, dir_fd=parent)
            raise


def make_folders(folder: Path) -> None:
    """Make a folder and its missing parents, closed to the group under any umask. Raises OSError."""
    for each in (*reversed(folder.parents), folder):
        if not each.is_dir():
            with contextlib.suppress(FileExistsError):
                each.mkdir(mode=0o755)


def check_folder(folder: Path, *, is_package: bool = False) -> None:
    """Raise OSError; Untrusted if another user can change the folder or one above it."""
    if _HAS_MODES:
        with _opened(folder, (), is_package=is_package):
            pass


def check_contents(folder: Path, name: str, *, is_package: bool = False) -> None:
    """Raise OSError; Untrusted if another user can change a folder of code or a file in it."""
    if not _HAS_MODES:
        return
    with _opened(folder, (name,), is_package=is_package) as opened:
        if not os.fstat(opened).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            return  # whatever the modes of its files: nobody else reaches them
        for place, folders, files in os.walk(folder / name):
            for each in (*folders, *files):
                _check(os.lstat(Path(place) / each), Path(place) / each, is_own=True)


@contextlib.contextmanager
def _opened(folder: Path, inner: Sequence[str], *, is_package: bool) -> Iterator[int]:
    """Open a folder inside a folder of code, and check every folder on the path by its descriptor."""
    # Links above the folder may belong to anybody: their targets are checked.
    real = Path(os.path.realpath(folder))
    start = real.parent if is_package else Path(real.anchor)
    place, here = start, os.open(start, _FOLDER)
    own = len(real.relative_to(start).parts) - 1
    try:
        _check(os.fstat(here), place, is_own=False, is_package=is_package)
        for i, part in enumerate((*real.relative_to(start).parts, *inner)):
            below = os.open(part, _FOLDER, dir_fd=here)
            os.close(here)
            place, here = place / part, below
            _check(os.fstat(here), place, is_own=i >= own)
        yield here
    finally:
        os.close(here)


def _check(found: os.stat_result, place: Path, *, is_own: bool, is_package: bool = False) -> None:
    """Raise Untrusted if another user can change the file or folder.

    is_own  the cache made it: it must be closed to the group too
    """
    if found.st_uid not in _owners():
        raise Untrusted(f"{place} belongs to another user")
    if is_own:
        is_open = bool(found.st_mode & (_OTHERS | _GROUP))
    elif found.st_mode & stat.S_ISVTX:  # no user can rename or delete another user's files
        is_open = False
    elif found.st_mode & _OTHERS:
        is_open = True
    else:
        is_open = bool(found.st_mode & _GROUP) and not (is_package or _is_private_group(found.st_uid, found.st_gid))
    if is_open:
        raise Untrusted(f"{place} can be changed by other users")


def _owners() -> set[int]:
    return {0, os.geteuid(), _package_owner()}


@lru_cache(1)
def _package_owner() -> int:
    return _PACKAGE.stat().st_uid


@lru_cache(100)
def _is_private_group(user: int, group: int) -> bool:
    """Return True if a group is named like a user and has no other member (usual with umask 002)."""
    try:
        import grp
        import pwd

        name, found = pwd.getpwuid(user).pw_name, grp.getgrgid(group)
    except (ImportError, KeyError):
        return False
    return found.gr_name == name and set(found.gr_mem) <= {name}

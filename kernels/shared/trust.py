"""Files that hold code, in folders that nobody else can change: opened first, then checked, then read.

Every folder from the root on is opened without following links, and its owner and mode are those of what was opened.
So nothing can be exchanged between the check and the use. Nobody but this user, the superuser and the owner of the
installation may own or change what is on the way; a sticky folder such as /tmp may be open to all.
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
# Windows keeps other users out of these places by itself.
_HAS_MODES = hasattr(os, "geteuid") and os.open in os.supports_dir_fd
# A folder that may be entered but not listed can be opened as a path only.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
# A FIFO in place of a file must not make its reader wait.
_FILE = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)


class Untrusted(OSError):
    """Somebody else can change a file or a folder on the way to it. An OSError: it counts as one that is not there."""


def read_file(folder: Path, name: str, *, is_package: bool = False) -> bytes:
    """The content of a file in a folder of code. Raises OSError.

    name        with slashes for folders inside
    is_package  it is the ``__pycache__`` of the package that holds the folder. Whoever can change that, or what is
                above it, can change the package's own code, so it may be open to the installation's group.
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
    """Write a file that appears once it is complete, and that only its owner can change. Raises OSError.

    The folders must be there: see make_folders.
    """
    *inner, last = name.split("/")
    partial = f"{last}.{os.getpid()}-{threading.get_ident()}.part"
    if not _HAS_MODES:
        place = folder.joinpath(*inner)
        (place / partial).write_bytes(content)
        os.replace(place / partial, place / last)
        return
    with _opened(folder, inner, is_package=is_package) as parent:
        with contextlib.suppress(FileNotFoundError):  # of a process of the same number that was killed
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
    """Make a folder and all above it that are missing, closed to the group under any umask. Raises OSError."""
    for each in (*reversed(folder.parents), folder):
        if not each.is_dir():
            with contextlib.suppress(FileExistsError):
                each.mkdir(mode=0o755)


def check_folder(folder: Path, *, is_package: bool = False) -> None:
    """Raise OSError, Untrusted if somebody else can change the folder or one above it."""
    if _HAS_MODES:
        with _opened(folder, (), is_package=is_package):
            pass


def check_contents(folder: Path, name: str, *, is_package: bool = False) -> None:
    """Raise OSError, Untrusted if somebody else can change a folder of code or a file in it."""
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
    """A descriptor of a folder inside of a folder of code, after every folder on the way was checked as opened."""
    # Links above the folder may be anybody's: what they lead to is looked at.
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
    """Raise Untrusted if somebody else can change what was found.

    is_own  it belongs to the cache, which makes it: closed to the group too
    """
    if found.st_uid not in _owners():
        raise Untrusted(f"{place} belongs to another user")
    if is_own:
        is_open = bool(found.st_mode & (_OTHERS | _GROUP))
    elif found.st_mode & stat.S_ISVTX:  # nobody can rename or delete what is another user's
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
    """Whether a group has the name of a user and no other member, as most systems with umask 002 make one for each."""
    try:
        import grp
        import pwd

        name, found = pwd.getpwuid(user).pw_name, grp.getgrgid(group)
    except (ImportError, KeyError):
        return False
    return found.gr_name == name and set(found.gr_mem) <= {name}

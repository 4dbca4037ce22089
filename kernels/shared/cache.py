"""Cache of kernels that are compiled at run time, shared by such backends and kept between runs.

This process executes the cached code, so only complete files are read, and only from folders that no other user can
write to (``trust.py``). Folders are searched in this order, and the first writable one is written to:
``PIXELFOREST_CACHE_DIR``, the installed package, the user's cache, a temporary folder. A container image or a cluster
fills one of the first two once; it may be read-only afterwards.

Names are "backend-version/…". When a backend caches files of a new version in the package, its older folders there are
deleted; in the other folders they stay, since other installations may be using them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from . import trust

_PACKAGE = Path(__file__).parents[1]
_DIGEST_BYTES = 32
_UNUSED_S = 24 * 3600.0


def folders() -> Iterator[Path]:
    """List the folders that may hold compiled kernels, existing or not."""
    if named := os.environ.get("PIXELFOREST_CACHE_DIR"):
        yield Path(named) / "pixelforest-kernels"
    yield _in_package()
    with contextlib.suppress(RuntimeError):  # a user without a home
        yield _user_cache() / "pixelforest-kernels"
    if _is_private(_temporary()):
        yield _temporary()


def describe_folders() -> str:
    """Describe the folders as text."""
    return "; ".join(f"{folder}{_remark(folder)}" for folder in folders())


def read(name: str) -> bytes | None:
    """Read the entry of a name such as "cpu-version/file" from the first folder that has a complete one, else None."""
    for folder in folders():
        with contextlib.suppress(OSError):
            content = trust.read_file(folder, name, is_package=folder == _in_package())
            digest, data = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
            if digest == _digest(name, data):
                return data
    return None


def write(name: str, data: bytes) -> Path | None:
    """Write an entry atomically. Returns the folder that holds it now, or None if no folder is writable."""
    for folder in folders():
        with contextlib.suppress(OSError):
            trust.make_folders((folder / name).parent)
            if folder == _temporary() and not _is_private(folder):  # another process was faster
                continue
            trust.write_file(folder, name, _digest(name, data) + data, is_package=folder == _in_package())
            _drop_other_versions(folder, name)
            return folder
    return None


def _remark(folder: Path) -> str:
    if not folder.exists():
        return " (not there yet)"
    try:
        trust.check_folder(folder, is_package=folder == _in_package())
    except OSError as error:
        return f" (not used: {error})"
    return ""


def _digest(name: str, data: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\0" + data).digest()


def _in_package() -> Path:
    return _PACKAGE / "__pycache__" / "pixelforest-kernels"


def _temporary() -> Path:
    return Path(tempfile.gettempdir()) / f"pixelforest-kernels-{os.getuid() if hasattr(os, 'getuid') else 'user'}"


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _is_private(folder: Path) -> bool:
    """Return True if a folder in a shared place does not exist yet, or belongs to this user and is closed to others."""
    try:
        found = folder.lstat()
    except OSError:
        return True
    return not hasattr(os, "getuid") or (
        stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
    )


def _drop_other_versions(folder: Path, name: str) -> None:
    """Delete older versions of the same backend from the package's folder, unless a process may still use them."""
    if folder != _in_package():
        return
    version = name.split("/", 1)[0]
    backend = version.split("-", 1)[0]
    with contextlib.suppress(OSError):
        for other in folder.iterdir():
            is_other = not other.name.startswith(version) and other.name.split("-", 1)[0] == backend
            if is_other and time.time() - other.stat().st_mtime > _UNUSED_S:
                shutil.rmtree(other, ignore_errors=True)

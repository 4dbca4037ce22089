"""Where compiled kernels are kept, so that they are compiled once and never used after their source has changed.

numba looks only at the file of the function it loads, although that function contains others compiled into it. Here
every version of the kernels' sources has a folder of its own.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numba

logger = logging.getLogger("pixelforest.kernels")
UNUSED_S = 24 * 3600.0
ROOM_BYTES = 64 << 20


def keep_compiled_kernels() -> Path:
    """Point numba to the folder for these sources, the first of several places that can be written to."""
    version = _fingerprint(Path(__file__).parents[1])
    for place in _places():
        folder = place / version
        is_new = not folder.exists() or not any(folder.iterdir())
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        has_room = not is_new or shutil.disk_usage(folder).free > ROOM_BYTES
        if os.access(folder, os.W_OK) and has_room:
            break
    if is_new:
        logger.info("Compiling kernels, once; they are kept in %s", folder)
        _drop_other_versions(folder)
    numba.config.CACHE_DIR = str(folder)
    return folder


def _fingerprint(sources: Path) -> str:
    """A name for the content of all kernel sources and for the numba that compiles them."""
    digest = hashlib.sha256(numba.__version__.encode())
    for file in sorted(sources.rglob("*.py")):
        digest.update(file.relative_to(sources).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def _places() -> Iterator[Path]:
    """What the user says, the installed package, the user's folder for such things, a temporary folder."""
    name, home = "pixelforest-kernels", Path(os.path.expanduser("~"))
    if numba.config.CACHE_DIR:
        yield Path(numba.config.CACHE_DIR) / name
    yield Path(__file__).parent / "__pycache__" / name
    if sys.platform == "win32":
        yield Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local")) / name
    elif sys.platform == "darwin":
        yield home / "Library" / "Caches" / name
    else:
        yield Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / name
    yield Path(tempfile.mkdtemp(prefix=f"{name}-"))


def _drop_other_versions(folder: Path) -> None:
    """Delete what other versions left in the package's own folder, unless a process may still be using it."""
    if folder.parent.parent == Path(__file__).parent / "__pycache__":
        for other in folder.parent.iterdir():
            if other != folder and time.time() - other.stat().st_mtime > UNUSED_S:
                shutil.rmtree(other, ignore_errors=True)

"""Unfinished files and folders that killed runs left beside their results: found and removed.

Those of runs that can be continued are kept unless they are asked for.

A live process renews the modification times of what it writes (live_targets.py), wherever it runs; so what was not
renewed for much longer belongs to none. Processes of other machines cannot be asked on a shared disk.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ...frozen import frozen
from ..errors import InputNotFound, Text, setting
from .atomic_write import KEPT_SUFFIX
from .live_targets import RENEW_PERIOD_S
from .run_folder import RUN_SUFFIX

MIN_AGE_S = 6 * RENEW_PERIOD_S  # since the last renewal; a few may fail on a busy server
# Names given by atomic_write.py and, for a folder that was moved aside while it was replaced, exchange.py.
_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{12}\.part", re.DOTALL)
_RESUMABLE = re.compile(rf"\..+\.[0-9a-f]{{12}}(\{KEPT_SUFFIX}|\{RUN_SUFFIX})", re.DOTALL)
_ASIDE = re.compile(r"\.(.+)\.[0-9a-f]{12}\.old", re.DOTALL)
_CHUNKS = re.compile(r"\d+|c")  # folders in arrays, with a great many files and nothing unfinished


@frozen
class Leftover:
    """An unfinished file or folder.

    age_s    seconds since its last change
    nbytes   size, of a folder with everything in it
    problem  reason why it is kept; "": it is removed, or would be
    failed   True if the system refuses to remove it
    """

    path: Path
    age_s: float
    nbytes: int
    problem: str = ""
    failed: bool = False


def clean_folder(folder: Path, *, is_dry: bool, is_resumable_removed: bool = False) -> Iterator[Leftover]:
    """Find what killed runs left in a folder and the folders in it, and remove what no live process owns.

    is_dry                remove nothing
    is_resumable_removed  also remove runs that can be continued
    Raises InputNotFound at once if there is no such folder. Errors of single removals are in the results.
    """
    if not folder.is_dir():
        raise InputNotFound(f"there is no folder {folder}")
    return _clean(folder, is_dry=is_dry, is_resumable_removed=is_resumable_removed)


def _clean(folder: Path, *, is_dry: bool, is_resumable_removed: bool) -> Iterator[Leftover]:
    for path in _find(folder):
        try:
            now_s = time.time() if is_dry else _clock_of(path.parent)
            found = Leftover(path, max(0.0, now_s - path.lstat().st_mtime), _size(path))
            if found.age_s < MIN_AGE_S:
                yield replace(found, problem="a live process may own it")
            elif _RESUMABLE.fullmatch(path.name) and not is_resumable_removed:
                yield replace(
                    found, problem=Text(f"{setting('resume')} continues it; {setting('resumable')} removes it")
                )
            else:
                if not is_dry:
                    _remove(path)
                yield found
        except FileNotFoundError:  # its process has ended meanwhile
            continue
        except OSError as error:
            yield Leftover(path, 0.0, 0, str(error.strerror or error).lower(), failed=True)


def _find(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        for name in sorted((*folders, *files)):
            aside = _ASIDE.fullmatch(name)
            # Without the folder that replaced it, what was moved aside is the only copy.
            if _UNFINISHED.fullmatch(name) or _RESUMABLE.fullmatch(name) or (aside and Path(place, aside[1]).exists()):
                yield Path(place, name)
        folders[:] = [name for name in folders if not name.startswith(".") and not _CHUNKS.fullmatch(name)]


def _clock_of(folder: Path) -> float:
    """Return the time by the clock that sets modification times in a folder, which on a shared disk is the server's."""
    probe = folder / f".pixelforest-clean.{os.urandom(6).hex()}.part"
    with open(probe, "xb"):
        pass
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink()


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.lstat().st_size
    return sum(Path(place, name).lstat().st_size for place, _, names in os.walk(path) for name in names)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()

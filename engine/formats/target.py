"""The file or folder a result ends up in: written under a temporary name beside it, put in place in one step.

Turns what the operating system says into one clear line, and foretells it as far as that goes without writing.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import ExportError

__all__ = [
    "FolderTarget",
    "Target",
    "check_file_place",
    "check_folder_place",
    "copy_file",
    "existing_folder",
    "export_errors",
]

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


@contextmanager
def export_errors(path: object, option: str = "--output_filename_format") -> Iterator[None]:
    """Turn an OSError raised inside into an ExportError that names ``path``, the reason, and what to change."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            reason = f"the disk is full; free some space or choose another folder with {option}"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            reason = f"{str(error.strerror).lower()}; choose another folder with {option}"
        elif error.errno == errno.EFBIG:
            reason = (
                "the file would be larger than this disk or a limit on file sizes (ulimit -f) allows; raise the limit, "
                f"or choose another disk with {option}"
            )
        elif error.errno in (errno.ENOTDIR, errno.EEXIST):
            reason = f"there is a file where a folder is needed; choose another folder with {option}"
        elif error.errno == errno.ENAMETOOLONG:
            reason = f"the name is too long; choose a shorter one with {option}"
        else:
            reason = error.strerror or str(error)
        raise ExportError(f"cannot write {path}: {reason}") from error


def check_file_place(path: Path, option: str = "--output_filename_format") -> None:
    """Raise the ExportError that a ``Target`` would end with, as far as it can be known without writing."""
    with export_errors(path, option):
        _refuse_folder(path)
        _check_writable(path)


def check_folder_place(path: Path, option: str = "--output_filename_format") -> None:
    """The same for a ``FolderTarget``."""
    with export_errors(path, option):
        _refuse_file(path)
        _check_writable(path)


def existing_folder(path: Path) -> Path:
    """The folder nearest to a path that exists: what is missing would be made in it. It may be a file in the way."""
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise ExportError(f"cannot write {path}: there is a folder of that name")


def _refuse_file(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise ExportError(f"cannot write {path}: there is a file of that name")


def _check_writable(path: Path) -> None:
    """Raise the OSError that making something at ``path`` would end with, where permissions tell it."""
    folder = existing_folder(path)
    if not folder.is_dir():
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    own = {"effective_ids": True} if os.access in os.supports_effective_ids else {}
    if not os.access(folder, os.W_OK | os.X_OK, **own):
        number = errno.EROFS if _is_read_only(folder) else errno.EACCES
        raise OSError(number, os.strerror(number))
    if _is_kept_by_others(path, folder):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def _is_read_only(folder: Path) -> bool:
    """True for a file system that takes nothing from anybody."""
    return hasattr(os, "statvfs") and bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def _is_kept_by_others(path: Path, folder: Path) -> bool:
    """True for somebody else's file in a folder such as /tmp, where only its owner may replace it."""
    if not hasattr(os, "geteuid") or not path.exists():
        return False
    user, place = os.geteuid(), folder.stat()
    return bool(place.st_mode & stat.S_ISVTX) and user not in (0, place.st_uid, path.lstat().st_uid)


class Target:
    """One file being written.

    The temporary file exists from the start, so a folder that cannot be written to is noticed before anything is
    computed. Missing folders are created.

    option   by which the user chose the path
    """

    def __init__(self, path: Path, option: str = "--output_filename_format") -> None:
        self.path = path
        self.option = option
        self.temporary = path.with_name(f".{path.stem[:60]}.{os.urandom(6).hex()}.part")
        self._created: list[Path] = []
        with export_errors(path, option):
            self._check_place()
            try:
                self._create_folders()
                self._create_temporary()
            except OSError:
                self.discard()
                raise

    def _check_place(self) -> None:
        _refuse_folder(self.path)

    def _create_temporary(self) -> None:
        with open(self.temporary, "xb"):
            pass

    def _remove_temporary(self) -> None:
        self.temporary.unlink(missing_ok=True)

    def _create_folders(self) -> None:
        missing = []
        folder = self.path.parent
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for folder in reversed(missing):
            with suppress(FileExistsError):
                folder.mkdir()
                self._created.append(folder)
        self.path.parent.mkdir(parents=True, exist_ok=True)  # a file in the way fails here

    def commit(self) -> Path:
        """Put the finished file under its final name; what stood there is replaced."""
        with export_errors(self.path, self.option):
            os.replace(self.temporary, self.path)
        return self.path

    def discard(self) -> None:
        """Remove what is temporary and the folders made for it, as far as they are empty. Never raises."""
        with suppress(OSError):
            self._remove_temporary()
        for folder in reversed(self._created):
            with suppress(OSError):
                folder.rmdir()


def copy_file(source: Path, path: Path, option: str = "--output_filename_format") -> None:
    """Give a finished file a second name; the copy appears in one step. Raises ExportError."""
    target = Target(path, option)
    try:
        with export_errors(path, option):
            shutil.copyfile(source, target.temporary)
        target.commit()
    finally:
        target.discard()


class FolderTarget(Target):
    """One folder being written. It exists from the start under its temporary name."""

    def _check_place(self) -> None:
        _refuse_file(self.path)

    def _create_temporary(self) -> None:
        self.temporary.mkdir()

    def _remove_temporary(self) -> None:
        shutil.rmtree(self.temporary, ignore_errors=True)

    def commit(self) -> Path:
        """Put the finished folder under its final name; what stood there is replaced.

        A folder cannot be replaced in one step: the old one is moved aside, and back if the new one cannot take its
        place.
        """
        with export_errors(self.path, self.option):
            if not self.path.exists():
                os.rename(self.temporary, self.path)
                return self.path
            aside = self.temporary.with_suffix(".old")
            os.rename(self.path, aside)
            try:
                os.rename(self.temporary, self.path)
            except BaseException:
                os.rename(aside, self.path)
                raise
            shutil.rmtree(aside, ignore_errors=True)
        return self.path

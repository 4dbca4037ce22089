"""The file or folder a result ends up in: written under a temporary name beside it, put in place in one step.

Turns what the operating system says into one clear line.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import ExportError

__all__ = ["FolderTarget", "Target", "export_errors"]

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


@contextmanager
def export_errors(path: Path, option: str = "--output_filename_format") -> Iterator[None]:
    """Turn an OSError raised inside into an ExportError that names ``path``, the reason, and what to change."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            reason = f"the disk is full; free some space or choose another folder with {option}"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            reason = f"{str(error.strerror).lower()}; choose another folder with {option}"
        else:
            reason = error.strerror or str(error)
        raise ExportError(f"cannot write {path}: {reason}") from error


class Target:
    """One file being written.

    The temporary file exists from the start, so a folder that cannot be written to is noticed before anything is
    computed. Missing folders are created.

    option   by which the user chose the path
    """

    def __init__(self, path: Path, option: str = "--output_filename_format") -> None:
        self.path = path
        self.option = option
        self.temporary = path.with_name(f".{path.stem[:60]}.{secrets.token_hex(6)}.part")
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
        if self.path.is_dir():
            raise ExportError(f"cannot write {self.path}: there is a folder of that name")

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


class FolderTarget(Target):
    """One folder being written. It exists from the start under its temporary name."""

    def _check_place(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise ExportError(f"cannot write {self.path}: there is a file of that name")

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

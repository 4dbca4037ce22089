"""The file a result ends up in: written under a temporary name beside it, put in place in one step.

Used by every format that writes plain files. Turns what the operating system says into one clear line.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import ExportError

__all__ = ["Target", "export_errors"]

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
            if path.is_dir():
                raise ExportError(f"cannot write {path}: there is a folder of that name")
            try:
                self._create_folders()
                with open(self.temporary, "xb"):
                    pass
            except OSError:
                self.discard()
                raise

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
        """Remove the temporary file and the folders made for it, as far as they are empty. Never raises."""
        with suppress(OSError):
            self.temporary.unlink(missing_ok=True)
        for folder in reversed(self._created):
            with suppress(OSError):
                folder.rmdir()

"""Folders inside a zip archive, such as a zipped Zarr store, read by region through tensorstore.

Provides the part of pathlib that the formats use, as object_storage.py does for URLs.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

from ..errors import unreadable_input

__all__ = ["ZipPath"]

_MAX_BYTES = 2**31  # of a file in the archive: a chunk, at most
_ERRORS = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error)


class ZipPath:
    """Folder or file in an archive; the root is the only folder at the top of the archive if there is no file.

    Raises InputError if the archive cannot be read.
    """

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        try:
            self._opened = zipfile.ZipFile(archive)  # closed with the last path in it
        except _ERRORS as error:
            raise unreadable_input(archive, error) from error
        self._members = frozenset(n for n in self._opened.namelist() if not n.endswith("/"))
        tops = {name.partition("/")[0] for name in self._members if not name.startswith("__MACOSX/")}
        self._root: tuple[str, ...] = tuple(tops) if len(tops) == 1 and not tops & self._members else ()
        self._names: tuple[str, ...] = ()

    def _at(self, *names: str) -> ZipPath:
        other = object.__new__(ZipPath)
        other.archive, other._opened, other._members = self.archive, self._opened, self._members
        other._root, other._names = self._root, names
        return other

    def __str__(self) -> str:
        return "/".join((str(self.archive), *self._names))

    def __truediv__(self, name: str) -> ZipPath:
        return self.joinpath(name)

    def joinpath(self, *names: str) -> ZipPath:
        return self._at(*self._names, *(part for name in names for part in name.split("/") if part))

    @property
    def name(self) -> str:
        return self._names[-1] if self._names else self.archive.name

    @property
    def parents(self) -> tuple[ZipPath, ...]:
        """Parent folders within the archive, the nearest first."""
        return tuple(self._at(*self._names[:i]) for i in reversed(range(len(self._names))))

    @property
    def key(self) -> str:
        """Name of the folder in the archive, with a slash at its end; empty for the archive itself."""
        return "".join(f"{name}/" for name in (*self._root, *self._names))

    def is_file(self) -> bool:
        return self.key[:-1] in self._members

    def folders(self) -> list[str]:
        """List the names of the folders in this one."""
        rest = (name.removeprefix(self.key) for name in self._members if name.startswith(self.key))
        return sorted({name.partition("/")[0] for name in rest if "/" in name})

    def open(self, mode: str = "rb") -> io.BytesIO:
        """Open a file for reading. Raises FileNotFoundError, OSError."""
        assert mode == "rb"
        content = self.read()
        if content is None:
            raise FileNotFoundError(str(self))
        return io.BytesIO(content)

    def read(self, name: str = "") -> bytes | None:
        """Read a file of the folder; None if it is missing. Raises OSError. Several threads may read at once."""
        key = f"{self.key}{name}" if name else self.key[:-1]
        if key not in self._members:
            return None
        try:
            with self._opened.open(key) as file:
                content = file.read(_MAX_BYTES + 1)
        except _ERRORS as error:
            raise OSError(_reason(error)) from error
        if len(content) > _MAX_BYTES:
            raise OSError(f"{name or self.name} is too large")
        return content


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return str(text)

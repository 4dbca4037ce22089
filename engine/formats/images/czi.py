"""CZI of Zeiss: the scenes of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..spec import ImageReader, InputFormat

__all__ = ["INPUT"]


def open_czi(path: Path, internal: str = "") -> ImageReader:
    """Open the only scene of a file, or the one of an internal path. Raises InputError, InputNotFound."""
    from ..support.czi_reader import CziReader

    return CziReader(path, internal)


def open_incomplete(path: Path, internal: str = "") -> ImageReader:
    """Open a scene; planes without a subblock are zeros. Raises InputError, InputNotFound."""
    from ..support.czi_reader import CziReader

    return CziReader(path, internal, allow_missing=True)


def list_images(path: Path) -> Sequence[str]:
    """Names of all scenes of a file. Raises InputError, InputNotFound."""
    from ..support.czi_reader import list_scenes

    return list_scenes(path)


INPUT = InputFormat(
    "CZI",
    ("czi",),
    open_czi,
    list_images=list_images,
    open_incomplete=open_incomplete,
    container_extensions=("czi",),
    is_content=lambda head: head.startswith(b"ZISRAWFILE"),
)

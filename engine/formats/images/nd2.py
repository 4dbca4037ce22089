"""ND2 of Nikon: the positions of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..spec import ImageReader, InputFormat

__all__ = ["INPUT"]


def open_file(path: Path, internal: str = "") -> ImageReader:
    """Open the only position of a file, or the one of an internal path. Raises InputError, InputNotFound."""
    from ..support.nd2_reader import open_nd2

    return open_nd2(path, internal)


def list_images(path: Path) -> Sequence[str]:
    """Names of all positions of a file. Raises InputError, InputNotFound."""
    from ..support.nd2_reader import list_nd2

    return list_nd2(path)


# Old files begin like JPEG 2000, so that their extension decides.
INPUT = InputFormat("ND2", ("nd2",), open_file, list_images=list_images, container_extensions=("nd2",))

"""LIF of Leica: the images of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..spec import ImageReader, InputFormat

__all__ = ["INPUT"]


def open_file(path: Path, internal: str = "") -> ImageReader:
    """Open the only image of a file, or the one of an internal path. Raises InputError, InputNotFound."""
    from ..support.lif_reader import open_lif

    return open_lif(path, internal)


def list_images(path: Path) -> Sequence[str]:
    """Names of all images of a file. Raises InputError, InputNotFound."""
    from ..support.lif_reader import list_lif

    return list_lif(path)


INPUT = InputFormat("LIF", ("lif",), open_file, list_images=list_images, container_extensions=("lif",))

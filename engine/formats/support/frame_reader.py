"""Images of which a library reads one plane at a time, in one thread; the planes read last are kept."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from itertools import product
from math import prod
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from ....box import Box
from ...errors import InputError, InputNotFound, damaged_input
from ...storage.pixel_types import check_image
from ..spec import ImageInfo, ImageReader
from .library_errors import library_errors
from .segment_cache import SegmentCache

__all__ = ["FrameReader", "check_there", "describe_frames", "list_names", "open_with"]

_CACHE_BYTES = 64 << 20  # the last plane is kept whatever its size
EXTRA = "pixelforest[microscopy]"


class FrameReader(ImageReader):
    """Reader of an image by its planes.

    info        of the image
    lead        number of its first axes, which number the planes
    read_frame  position along these axes -> plane, of the shape of the other axes
    close       releases the file
    """

    def __init__(
        self,
        path: Path,
        info: ImageInfo,
        lead: int,
        read_frame: Callable[[tuple[int, ...]], np.ndarray],
        close: Callable[[], object],
    ) -> None:
        self._path, self.info, self._lead = path, info, lead
        self._read_frame, self._close, self._lock = read_frame, close, Lock()
        self._frames = SegmentCache(self._load, _CACHE_BYTES)
        self.unchecked = "the planes"

    def read(self, box: Box) -> np.ndarray:
        lead = self._lead
        result = np.empty(box.shape, self.info.dtype)
        inner = Box(box.start[lead:], box.stop[lead:]).slices()
        for place in product(*map(range, box.start[:lead], box.stop[:lead])):
            number = int(np.ravel_multi_index(place, self.info.shape[:lead])) if lead else 0
            frame = self._frames.get(number, 0, place)
            assert frame is not None
            result[tuple(p - a for p, a in zip(place, box.start, strict=False))] = frame[inner]
        return result

    def _load(self, place: tuple[int, ...], index: int) -> np.ndarray:
        def load() -> np.ndarray:
            with self._lock:  # libraries seek in one open file
                frame = np.array(self._read_frame(place))
            if frame.size != prod(self.info.shape[self._lead :]):
                raise damaged_input(self._path, f"a plane has the shape {frame.shape}")
            return frame.reshape(self.info.shape[self._lead :])

        result: np.ndarray = library_errors(self._path, load)
        return result

    def close(self) -> None:
        with self._lock, suppress(Exception):  # closing a file that was read has no error of interest
            self._close()


def describe_frames(path: Path, shape: tuple[int, ...], axes: str, dtype: Any, lead: int, **more: Any) -> ImageInfo:
    """Describe an image by its planes. Raises InputError."""
    chunks = (1,) * lead + shape[lead:]
    return ImageInfo(shape, check_image(path, shape, np.dtype(dtype)), axes, chunks=chunks, **more)


def check_there(path: Path) -> None:
    """Raise InputNotFound if there is no file."""
    if not path.exists():
        raise InputNotFound(f"there is no file {path}")


def open_with(path: Path, package: str, opener: str) -> Any:
    """Open a file with the class of this name in a package of the extra. Raises InputError, InputNotFound."""
    check_there(path)
    try:
        library = import_module(package)
    except ImportError as error:
        raise InputError(
            f"cannot read {path}: this needs the package {package} ({error}); pip install '{EXTRA}'"
        ) from error
    return library_errors(path, lambda: getattr(library, opener)(path))


def list_names(path: Path, file: Any, names: Callable[[Any], tuple[str, ...]]) -> tuple[str, ...]:
    """Return the names of the images in an opened file, and close it. Raises InputError."""
    try:
        found: tuple[str, ...] = library_errors(path, lambda: names(file))
        return found
    finally:
        file.close()

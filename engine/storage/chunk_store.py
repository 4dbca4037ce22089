"""Arrays stored in a folder as one file per chunk, or shard of chunks (N5, Zarr), through tensorstore.

Untrusted files are read; ``store_writer`` writes. The meaning of metadata is decided by the formats.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from math import isfinite, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ...box import Box
from ..errors import InputError, MemoryTooSmall, damaged_input, unreadable_input
from .object_storage import RemotePath, explain, is_url
from .pixel_types import check_image
from .special_files import describe_special
from .thread_limit import thread_limit

if TYPE_CHECKING:
    import tensorstore

    from .zip_store import ZipPath

__all__ = [
    "MAX_CHUNK_BYTES",
    "StorePath",
    "StoredImage",
    "chunk_reader",
    "is_inside",
    "metadata_numbers",
    "open_array",
    "read_json",
    "store_input_errors",
    "to_json",
    "virtual_array",
    "write_json",
]

StorePath: TypeAlias = "Path | RemotePath | ZipPath"  # of what is read: a folder, or one behind a URL or in an archive

_MAX_METADATA_BYTES = 16 * 2**20
MAX_CHUNK_BYTES = 2**31  # a chunk is decompressed whole; one that declares more is treated as damaged
_CACHE_BYTES = 64 * 2**20  # holds the chunks that neighbouring tiles share through their halos
# Exceptions of tensorstore and of damaged JSON.
_ERRORS = (OSError, ValueError, TypeError, KeyError, IndexError, RuntimeError, OverflowError, AttributeError)


def _context() -> tensorstore.Context:
    return _context_of(thread_limit())


@cache
def _context_of(threads: int | None) -> tensorstore.Context:
    """Context that arrays share. Files are synced to disk elsewhere, where they have to be (DurableFiles)."""
    import tensorstore

    settings: dict[str, Any] = {"cache_pool": {"total_bytes_limit": _CACHE_BYTES}, "file_io_sync": False}
    if threads is not None:
        settings["data_copy_concurrency"] = {"limit": threads}
    return tensorstore.Context(settings)


def open_array(
    driver: str,
    folder: StorePath,
    metadata: Mapping[str, Any] | None = None,
    *,
    create: bool = False,
    assume: bool = False,
) -> tensorstore.TensorStore:
    """Open or create the array in a folder. Raises tensorstore's exceptions.

    assume   True: trust ``metadata`` without reading or writing any
    """
    import tensorstore

    if create and isinstance(folder, Path):
        folder.mkdir(parents=True, exist_ok=True)
    spec: dict[str, Any] = {"driver": driver, "kvstore": _kvstore(folder)}
    if metadata is not None:
        spec["metadata"] = metadata
    opened = tensorstore.open(spec, context=_context(), open=not create, create=create, assume_metadata=assume)
    array: tensorstore.TensorStore = opened.result()
    return array


# Descriptors of folders whose names tensorstore cannot take, by device and inode. They stay open: tensorstore keeps the
# path, and a number that is used again would lead arrays to another folder.
_descriptors: dict[tuple[int, int], int] = {}
_descriptors_lock = threading.Lock()
MAX_DESCRIPTORS = 256


def _utf8_path(folder: Path) -> str:
    """Return a UTF-8 path of a folder: its own, or else another one that leads to it. Raises OSError, ValueError."""
    text = str(folder)
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        if not os.path.isdir("/proc/self/fd"):
            raise ValueError("a name in its path is not UTF-8; rename it") from None
    with _descriptors_lock:
        descriptor = os.open(folder, os.O_RDONLY)
        status = os.fstat(descriptor)
        known = _descriptors.setdefault((status.st_dev, status.st_ino), descriptor)
        if known != descriptor:
            os.close(descriptor)
        elif len(_descriptors) > MAX_DESCRIPTORS:
            os.close(_descriptors.popitem()[1])
            raise ValueError(
                f"more than {MAX_DESCRIPTORS} folders with names that are not UTF-8 in one run; rename them"
            )
    return f"/proc/self/fd/{known}"


def _kvstore(folder: StorePath) -> dict[str, Any]:
    if isinstance(folder, Path):
        return {"driver": "file", "path": f"{_utf8_path(folder)}/"}
    if isinstance(folder, RemotePath):
        return folder.store()
    return {"driver": "zip", "base": {"driver": "file", "path": _utf8_path(folder.archive)}, "path": folder.key}


def chunk_reader(folder: StorePath) -> Callable[[str], bytes | None]:
    """Return the function that reads the file of a name in a folder; None for a missing one.

    It may be called while tensorstore waits for it, which raises tensorstore's exceptions, or OSError.
    """
    if not isinstance(folder, Path | RemotePath):
        # tensorstore would wait for itself: it reads archives in the threads that wait for virtual chunks
        return folder.read
    import tensorstore

    files: tensorstore.KvStore = tensorstore.KvStore.open(_kvstore(folder), context=_context()).result()

    def read(name: str) -> bytes | None:
        found = files.read(name).result()
        return None if found.state == "missing" else bytes(found.value)

    return read


def virtual_array(
    shape: Sequence[int], chunk: Sequence[int], dtype: np.dtype, read_chunk: Callable[[tuple[int, ...]], np.ndarray]
) -> tensorstore.TensorStore:
    """Create an array whose chunks are read by a function of their indices, always whole and in ``dtype``.

    Decoded chunks are cached like those of files. Exceptions of ``read_chunk`` become ValueErrors.
    """
    import tensorstore

    def read(domain: tensorstore.IndexDomain, target: np.ndarray, parameters: object) -> None:
        start = domain.inclusive_min
        index = tuple(n // m for n, m in zip(start, chunk, strict=True))
        corner = [i * m for i, m in zip(index, chunk, strict=True)]
        inside = tuple(slice(a - c, b - c) for a, b, c in zip(start, domain.exclusive_max, corner, strict=True))
        target[...] = read_chunk(index)[inside]

    layout = tensorstore.ChunkLayout(chunk_shape=tuple(chunk), grid_origin=(0,) * len(chunk))
    array: tensorstore.TensorStore = tensorstore.virtual_chunked(
        read, dtype=dtype, shape=tuple(shape), chunk_layout=layout, context=_context()
    )
    return array


def reason(error: BaseException) -> str:
    """Return tensorstore's message of an error in one line, without the leading code and the trailing specification."""
    text = " ".join(str(error).split())
    text = re.sub(r"^[A-Z_]{4,}: ", "", text)
    text = re.sub(r" \[(?:tensorstore_spec|source locations)=.*$", "", text)
    return text[:400] or type(error).__name__


@contextmanager
def store_input_errors(what: object) -> Iterator[None]:
    """Turn every expected exception inside into an InputError about ``what``."""
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        raise MemoryTooSmall(
            f"cannot read {what}: the memory does not suffice to unpack its chunks; save it with smaller ones"
        ) from error
    except _ERRORS as error:
        if is_url(str(what)):
            raise InputError(f"cannot read {what}: {explain(error)}") from None
        raise damaged_input(what, reason(error)) from error


def read_json(path: StorePath) -> dict[str, Any] | None:
    """Read the JSON object in a file; None if there is no such file. Raises InputError for anything else."""
    special = describe_special(path) if isinstance(path, Path) else ""
    if special:
        raise InputError(f"cannot read {path}: it is {special} and not a file")
    try:
        with path.open("rb") as stream:
            text = stream.read(_MAX_METADATA_BYTES + 1)
        if len(text) > _MAX_METADATA_BYTES:
            raise ValueError("it is too large for a description of an image")
        found = json.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except (ValueError, RecursionError) as error:
        raise unreadable_input(path, error) from error
    if not isinstance(found, dict):
        raise damaged_input(path, "it does not hold a JSON object")
    return found


def write_json(path: Path, content: Mapping[str, Any], *, indent: int | None = 4) -> None:
    """Write a JSON object the way zarr and z5 do: indented, or without any blanks."""
    path.write_text(to_json(content, indent=indent), encoding="utf-8")


def to_json(content: Mapping[str, Any], *, indent: int | None = 4) -> str:
    """Format a JSON object as ``write_json`` does."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(content, indent=indent, separators=separators, sort_keys=True, allow_nan=False)
    return text if indent is None else f"{text}\n"


def metadata_numbers(values: Sequence[float] | None, dtype: np.dtype) -> list[float] | None:
    """Convert a data range to JSON numbers of the data's own type; None without a range, or if JSON cannot hold it."""
    if values is None:
        return None
    numbers: list[float] = np.asarray(values).astype(dtype).tolist()
    return numbers if all(isfinite(n) for n in numbers) else None


def is_inside(path: StorePath, folder: StorePath) -> bool:
    """Return True if a path, with all links followed, does not leave a folder. Servers and archives have no links."""
    if not (isinstance(path, Path) and isinstance(folder, Path)):
        return True
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


class StoredImage:
    """Array that is read. Its size, type and chunks are checked. Several threads may read at once.

    array   with the axes in the order of its ``info``
    Raises InputError.
    """

    def __init__(self, array: tensorstore.TensorStore, label: str) -> None:
        self._array: tensorstore.TensorStore | None = array
        self._label = label
        self.shape = tuple(int(n) for n in array.shape)
        stored = array.dtype.numpy_dtype
        self.dtype = check_image(label, self.shape, stored)
        self.chunks = tuple(int(n or 1) for n in array.chunk_layout.read_chunk.shape or self.shape)
        if any(array.domain.origin):
            raise damaged_input(label, f"its axes begin at {', '.join(map(str, array.domain.origin))} instead of 0")
        if prod(self.chunks) * stored.itemsize > MAX_CHUNK_BYTES:
            raise InputError(
                f"cannot read {label}: it declares chunks of {' x '.join(map(str, self.chunks))}, too large to be "
                "read; save it with smaller ones"
            )

    def read(self, box: Box) -> np.ndarray:
        """Read the voxels of a box. Raises InputError."""
        array = self._array
        if array is None:
            raise InputError(f"cannot read {self._label}: it was closed")
        with store_input_errors(self._label):
            voxels: np.ndarray = array[box.slices()].read(order="C").result()
            return voxels.astype(self.dtype, copy=False)

    def close(self) -> None:
        """Close it; may be called twice."""
        self._array = None

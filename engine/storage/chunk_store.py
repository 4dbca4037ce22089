"""Arrays stored in a folder as one file per chunk, or shard of chunks (N5, Zarr), through tensorstore.

Untrusted files are read, boxes are written as whole chunks and compressed in parallel. The meaning of metadata is
decided by the formats.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from itertools import chain, product
from math import isfinite, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from ...box import Box
from ...frozen import frozen
from ..errors import ExportError, InputError, MemoryTooSmall
from .atomic_write import FolderTarget, export_errors
from .chunks import ChunkAssembler
from .durable import DurableFiles, make_durable
from .object_storage import RemotePath, RemoteTarget, explain, is_url
from .pixel_types import MAX_IMAGE_BYTES, pixel_type
from .special_files import describe_special
from .thread_limit import thread_limit

if TYPE_CHECKING:
    import tensorstore

    from .zip_store import ZipPath

__all__ = [
    "MAX_CHUNK_BYTES",
    "ChunkNames",
    "LocalStore",
    "RemoteStore",
    "StorePath",
    "StoreTarget",
    "StoredArray",
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
_DESCRIPTION = {"zarr": ".zarray", "zarr3": "zarr.json"}  # driver -> file that describes an array
_PENDING_BYTES = 64 * 2**20  # being written: several shards become complete at once, then none for a while
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
    """Open or create the array in a folder. Raises tensorstore's exceptions, see the two functions below.

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


class StoreTarget(Protocol):
    """Destination of a store of arrays being written. Keys are relative to it.

    durable_folder   its folder, if arrays bring their files to disk one by one
    """

    @property
    def durable_folder(self) -> Path | None: ...

    def create_array(self, driver: str, key: str, metadata: Mapping[str, Any]) -> tensorstore.TensorStore:
        """Create the array of a level. Raises tensorstore's exceptions."""

    def put_json(self, key: str, content: Mapping[str, Any]) -> None:
        """Write a JSON description. Raises OSError."""

    def watched(self) -> AbstractContextManager[None]:
        """Raise ExportError if the store was removed during the context, as far as one check can tell."""

    def check_holds(self, names: Iterable[tuple[str, str]]) -> None:
        """Raise ExportError unless all descriptions and these files, (folder, name), are still there."""

    def commit(self) -> object:
        """Complete the store. Raises ExportError."""

    def discard(self) -> None:
        """Remove it, unless it is complete. Never raises."""


class LocalStore(FolderTarget):
    """A store in the file system: see StoreTarget."""

    def __init__(self, path: Path, *, run: str = "") -> None:
        super().__init__(path, run=run)
        self._described: list[tuple[str, str]] = []

    def create_array(self, driver: str, key: str, metadata: Mapping[str, Any]) -> tensorstore.TensorStore:
        self._described.append((key, _DESCRIPTION[driver]))
        folder = self.temporary / key
        if not self._is_kept:
            return open_array(driver, folder, metadata, create=True)
        # It may exist, and be created by several processes at once.
        content = _description(driver, metadata)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _DESCRIPTION[driver]).write_bytes(content)
        return open_array(driver, folder, json.loads(content), assume=True)

    @property
    def durable_folder(self) -> Path | None:
        return self.temporary if self._is_kept else None

    def put_json(self, key: str, content: Mapping[str, Any]) -> None:
        write_json(self.temporary / key, content)
        folder, _, name = key.rpartition("/")
        self._described.append((folder, name))

    def check_holds(self, names: Iterable[tuple[str, str]]) -> None:
        super().check_holds(chain(self._described, names))

    def commit(self) -> Path:
        if self._is_kept:
            with export_errors(self.path):
                make_durable(self.temporary / folder / name for folder, name in self._described)
        return super().commit()


class RemoteStore(RemoteTarget):
    """A store behind a URL: see StoreTarget."""

    def create_array(self, driver: str, key: str, metadata: Mapping[str, Any]) -> tensorstore.TensorStore:
        """Create the array; its description is written last with the others, so that its chunks alone are no array."""
        content = _description(driver, metadata)
        self.put_later(f"{key}/{_DESCRIPTION[driver]}", content)
        return open_array(driver, self.folder.joinpath(*key.split("/")), json.loads(content), assume=True)

    @property
    def durable_folder(self) -> None:
        return None

    def put_json(self, key: str, content: Mapping[str, Any]) -> None:
        self.put_later(key, to_json(content).encode())

    def watched(self) -> AbstractContextManager[None]:
        """Check nothing: a request for each box would take longer than writing it."""
        return nullcontext()

    def check_holds(self, names: Iterable[tuple[str, str]]) -> None:
        """Check the files only: descriptions are written in ``commit``."""
        self.check_keys(f"{folder}/{name}" for folder, name in names)


def _description(driver: str, metadata: Mapping[str, Any]) -> bytes:
    """Make the content of the file that describes an array."""
    import tensorstore

    spec = {"driver": driver, "kvstore": {"driver": "memory"}, "metadata": metadata}
    made = tensorstore.open(spec, context=tensorstore.Context(), create=True).result().kvstore
    assert made is not None  # true for these drivers
    return bytes(made.read(_DESCRIPTION[driver]).result().value)


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
        raise MemoryTooSmall(f"cannot read {what}: the memory does not suffice to unpack its chunks") from error
    except _ERRORS as error:
        if is_url(str(what)):
            raise InputError(f"cannot read {what}: {explain(error)}") from None
        raise InputError(f"cannot read {what}: {reason(error)}") from error


@contextmanager
def store_export_errors(path: Path | RemotePath) -> Iterator[None]:
    """Turn tensorstore's exceptions into an ExportError about ``path``, by the errno contained in their texts."""
    with export_errors(path):
        try:
            yield
        except ValueError as error:
            if isinstance(path, RemotePath):
                raise ExportError(f"cannot write {path}: {explain(error)}") from None
            found = re.search(r"OS error (\d+)", str(error))
            number = int(found[1]) if found else None
            raise OSError(number, os.strerror(number) if number else reason(error)) from error


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
        raise InputError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise InputError(f"cannot read {path}: it does not hold a JSON object")
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
        if not 2 <= len(self.shape) <= 5:
            raise InputError(f"{label} has {len(self.shape)} dimensions; an image has 2 to 5")
        try:
            self.dtype = pixel_type(stored)
        except ValueError as error:
            raise InputError(f"cannot read {label}: {error}") from None
        self.chunks = tuple(int(n or 1) for n in array.chunk_layout.read_chunk.shape or self.shape)
        if any(array.domain.origin) or prod(self.shape) * stored.itemsize > MAX_IMAGE_BYTES:
            raise InputError(f"cannot read {label}: it declares an impossible size, {' x '.join(map(str, self.shape))}")
        if prod(self.chunks) * stored.itemsize > MAX_CHUNK_BYTES:
            raise InputError(
                f"cannot read {label}: it declares chunks of {' x '.join(map(str, self.chunks))}, too large to be read"
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


@frozen
class ChunkNames:
    """Names of the files of an array's units: ``<folder>/<i>/<j>/<k>``, by position in the grid of units.

    is_reversed   True if the last axis comes first
    """

    folder: str
    is_reversed: bool = False

    def of(self, written: np.ndarray) -> Iterator[tuple[str, str]]:
        """Yield (folder, name) of the units for which ``written``, a boolean for each, is true, grouped by folder."""
        grid = written.T if self.is_reversed else written
        for row in np.ndindex(grid.shape[:-1]):
            names = np.flatnonzero(grid[row])
            if len(names):
                folder = "/".join((self.folder, *map(str, row)))
                yield from ((folder, str(name)) for name in names.tolist())

    def path(self, unit: Sequence[int]) -> str:
        """Return the path of a unit by its position."""
        return "/".join((self.folder, *map(str, reversed(unit) if self.is_reversed else unit)))


class StoredArray:
    """Array that is written: boxes of any shape, stored as whole units. Several threads may write at once.

    path   for messages
    unit   shape of the part stored in one file; boxes that are not aligned to it are assembled in memory
    names  names of these files
    durable_folder  folder that the names are relative to; files in it are on disk after ``settle``. None: it does not
                    matter, since a store counts once it is complete
    """

    def __init__(
        self,
        array: tensorstore.TensorStore,
        unit: Sequence[int],
        path: Path | RemotePath,
        names: ChunkNames,
        durable_folder: Path | None = None,
    ) -> None:
        self._array, self._path, self._names = array, path, names
        self.shape = tuple(int(n) for n in array.shape)
        self.unit = tuple(unit)
        dtype = array.dtype.numpy_dtype
        self._assembler = ChunkAssembler(self.shape, self.unit, dtype)
        # With a single thread it waits while tensorstore packs, so that the two never work at once.
        is_alone = thread_limit() == 1
        self._most_pending = 0 if is_alone else max(1, _PENDING_BYTES // (prod(self.unit) * dtype.itemsize))
        self._pending: deque[tensorstore.WriteFutures] = deque()
        self._late: list[tensorstore.WriteFutures] = []  # those that a thread waits for
        self._durable = None if durable_folder is None else DurableFiles(durable_folder)
        self._lock = threading.Lock()
        # Units of zeros only are not stored: readers treat a missing file as one.
        self._has_file = np.zeros([-(-n // m) for n, m in zip(self.shape, self.unit, strict=True)], bool)

    @property
    def missing(self) -> int:
        """Number of voxels not written yet."""
        return self._assembler.missing

    def write(self, box: Box, data: np.ndarray) -> None:
        """Take a box; complete units may still be being written when this returns. Raises ExportError."""
        with store_export_errors(self._path):
            for corner, unit in self._assembler.add(box, data):
                whole = Box(corner, tuple(c + n for c, n in zip(corner, unit.shape, strict=True))).clip(self.shape)
                source = unit[whole.relative_to(corner).slices()]
                position = tuple(c // n for c, n in zip(corner, self.unit, strict=True))
                has_file = bool(source.any())
                if has_file:
                    self._has_file[position] = True
                if np.may_share_memory(source, data):  # the caller may reuse its memory
                    source = source.copy()
                write = self._array[whole.slices()].write(source, can_reference_source_data_indefinitely=True)
                if self._durable is not None:
                    self._durable.add(self._names.path(position), write.result, is_removed=not has_file)
                self._start(write)

    def _start(self, write: tensorstore.WriteFutures) -> None:
        """Add a pending write, and wait for the oldest ones so that only a few are pending."""
        with self._lock:
            self._pending.append(write)
            late = [self._pending.popleft() for _ in range(len(self._pending) - self._most_pending)]
            self._late += late
        self._wait(late)

    def _wait(self, writes: Iterable[tensorstore.WriteFutures]) -> None:
        """Wait for writes that are late. One that fails stays late, so that ``settle`` raises its error, too."""
        for one in writes:
            one.result()
            with self._lock, suppress(ValueError):  # another thread has waited for it, too
                self._late.remove(one)

    def files(self) -> Iterator[tuple[str, str]]:
        """Yield (folder, name) of every file that must exist once all writes are complete, grouped by folder."""
        return self._names.of(self._has_file)

    def settle(self) -> None:
        """Wait until all writes that were started are complete, by any thread. Raises ExportError."""
        with store_export_errors(self._path):
            self._settle(None)

    def settle_block(self, box: Box) -> str:
        """Wait until the units of a box are written; returns which of them have files, for ``restore``."""
        units = self._units_of(box)
        positions = product(*(range(each.start, each.stop) for each in units))
        with store_export_errors(self._path):
            self._settle(map(self._names.path, positions))
        return np.packbits(self._has_file[units]).tobytes().hex()

    def _settle(self, names: Iterable[str] | None) -> None:
        with self._lock:
            self._late += self._pending
            self._pending.clear()
            writes = list(self._late)
        self._wait(writes)
        if self._durable is not None:
            self._durable.settle(names)

    def restore(self, box: Box, files: str) -> None:
        """Count a box of whole units as written, by another process or an earlier one. Raises ValueError."""
        units = self._units_of(box)
        found = self._has_file[units]
        packed = np.frombuffer(bytes.fromhex(files), np.uint8)
        if len(packed) != -(-found.size // 8):
            raise ValueError(f"{len(packed)} bytes do not describe {found.size} units")
        bits = np.unpackbits(packed, count=found.size)
        self._has_file[units] = bits.reshape(found.shape).astype(bool)
        self._assembler.skip(box)

    def _units_of(self, box: Box) -> tuple[slice, ...]:
        return tuple(slice(a // n, -(-b // n)) for a, b, n in zip(box.start, box.stop, self.unit, strict=True))

    def abandon(self) -> None:
        """Wait until all writes have ended, whatever their outcome. Never raises."""
        with self._lock:
            writes = [*self._late, *self._pending]
            self._pending.clear()
        for one in writes:
            with suppress(Exception):
                one.result()
        if self._durable is not None:
            self._durable.close()

    def read(self, box: Box) -> np.ndarray:
        """Read back a box, once all writes are complete. Raises ExportError."""
        with store_export_errors(self._path):
            voxels: np.ndarray = self._array[box.slices()].read(order="C").result()
            return voxels

    def check_complete(self) -> None:
        """Wait until all writes are complete. Raises ExportError also if voxels are missing."""
        self.settle()
        if self._durable is not None:
            self._durable.close()
        if self.missing:
            raise ExportError(f"cannot complete {self._path}: {self.missing} voxels were never written")

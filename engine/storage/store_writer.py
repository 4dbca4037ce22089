"""Stores of arrays (N5, Zarr) that are written: their destination, a folder or one behind a URL, and their arrays.

Boxes are written as whole chunks and compressed in parallel. A store counts once it is complete: descriptions and files
are checked, and a folder gets its name, in ``commit``.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from itertools import chain, islice, product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ...box import Box
from ...frozen import frozen
from ..errors import ExportError
from .atomic_write import FolderTarget, export_errors
from .chunk_store import open_array, reason, to_json, write_json
from .chunks import ChunkAssembler
from .durable import DurableFiles, make_durable
from .object_storage import RemotePath, RemoteTarget, explain

if TYPE_CHECKING:
    import tensorstore

_DESCRIPTION = {"zarr": ".zarray", "zarr3": "zarr.json"}  # driver -> file that describes an array
_PENDING_BYTES = 64 * 2**20  # being written: several shards become complete at once, then none for a while


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
        self._most_pending = max(1, _PENDING_BYTES // (prod(self.unit) * dtype.itemsize))
        # All that were started and not seen to end; one that fails stays, so that ``settle`` raises its error, too.
        self._pending: deque[tensorstore.WriteFutures] = deque()
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
                start = partial(self._array[whole.slices()].write, can_reference_source_data_indefinitely=True)
                with self._lock:
                    # In one call, between whose parts no interrupt can come: ``abandon`` must know what was started.
                    self._pending.extend(map(start, (source,)))
                    write = self._pending[-1]
                    late = list(islice(self._pending, max(0, len(self._pending) - self._most_pending)))
                if self._durable is not None:
                    self._durable.add(self._names.path(position), write.result, is_removed=not has_file)
                self._wait(late)

    def _wait(self, writes: Iterable[tensorstore.WriteFutures]) -> None:
        for one in writes:
            one.result()
            with self._lock, suppress(ValueError):  # another thread has waited for it, too
                self._pending.remove(one)

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
            writes = list(self._pending)
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
            writes = list(self._pending)
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

"""HDF5: one dataset of a file, read by region and written by chunks.

This module decides the attributes that describe an image, the layout of results, and the replacement of a dataset in
an existing container. The datasets that may be opened are decided in hdf5_datasets.py.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py  # type: ignore[import-untyped]  # ships neither stubs nor a py.typed marker
import numpy as np

from ....box import Box
from ...axes import axistags_json
from ...errors import ExportError, InputError
from ...storage.atomic_write import Target, check_file_place, export_errors
from ...storage.chunks import ChunkAssembler, chunk_shape
from ...storage.live_targets import live_targets
from ...storage.pixel_types import pixel_type
from ...storage.special_files import resolve_links
from ..spec import ImageInfo, ImageReader, ImageSpec, ImageWriter, InputFormat, Limits, OutputFormat
from ..support.hdf5_datasets import HDF5_ERRORS, OpenDataset, list_datasets, reason, wrapped
from ..support.hdf5_fast_read import KnownArray, VoxelSource, open_known, open_voxels
from ..support.vigra_attributes import read_axes, read_resolution, read_units, text_of

# Long enough for another job that is putting its result into the same container.
_LOCK_WAIT_OPEN_S = 5.0
_LOCK_WAIT_FINISH_S = 60.0
_LOCK_POLL_S = 0.1
_ASIDE_PREFIX, _ASIDE_SUFFIX = ".pixelforest-", ".partial"
# One writer of this process at a time has a container open: HDF5 does not open a file for writing that the same process
# reads, and two writers must not replace it at once.
_PUBLISHING = threading.Lock()


_DESCRIBING = ("axistags", "axes", "drange", "display_mode", "axis_units")  # attributes that say what an image is
_SETTLED_NS = 2 * 10**9  # a file that was changed just now can change again at what its system calls the same time


class _KnownDataset(NamedTuple):
    """A dataset in one piece: where it lies in a file, as long as that does not change, and what is known about it."""

    array: KnownArray
    info: ImageInfo
    label: str


class Hdf5Reader(ImageReader):
    """Reader of one dataset. Several threads may read at once."""

    def __init__(self, path: Path, internal: str) -> None:
        self._voxels: VoxelSource | None = None
        self._source: OpenDataset | None = OpenDataset(path, internal)
        try:
            self._label = self._source.label
            with wrapped(self._label):
                self.info = _read_info(self._source.dataset)
                self._voxels = open_voxels(self._source.dataset, self._label)
            known = self._voxels.known
            is_settled = known is not None and time.time_ns() - known.changed_ns > _SETTLED_NS
            if known is not None and is_settled and known.path == path:
                self.known = _KnownDataset(known, self.info, self._label)
        except BaseException:
            self.close()
            raise

    @classmethod
    def reopen(cls, known: object) -> Hdf5Reader | None:
        """Open a dataset without HDF5, a tenth of the work; None if its file is another by now."""
        assert isinstance(known, _KnownDataset)
        voxels = open_known(known.array, known.label)
        if voxels is None:
            return None
        reader = cls.__new__(cls)
        reader._voxels, reader._source = voxels, None
        reader.known, reader.info, reader._label = known, known.info, known.label
        return reader

    def read(self, box: Box) -> np.ndarray:
        voxels = self._voxels
        if voxels is None:
            raise InputError(f"cannot read {self._label}: it was closed")
        with wrapped(self._label):
            return voxels.read(box).astype(self.info.dtype, copy=False)

    def verify(self) -> None:
        if self._source is not None:  # else it lies in one piece, as it did when it was opened first
            self.unchecked = self._source.verify()

    def close(self) -> None:
        # No object of h5py is kept: whenever a file is closed h5py searches all existing objects.
        voxels, self._voxels = self._voxels, None
        if voxels is not None:
            voxels.close()
        source, self._source = self._source, None
        if source is not None:
            source.close()


def _read_info(dataset: h5py.Dataset) -> ImageInfo:
    stored = dataset.attrs  # querying a missing attribute takes HDF5 as long as reading one
    attributes = {name: stored[name] for name in _DESCRIBING if name in stored}
    shape = tuple(int(n) for n in dataset.shape)
    axes = read_axes(attributes, shape)
    drange: Any = attributes.get("drange")
    return ImageInfo(
        shape=shape,
        dtype=pixel_type(dataset.dtype),
        axes=axes.letters,
        own_axes=axes.is_own,
        axes_problem=axes.problem,
        drange=(float(drange[0]), float(drange[1])) if np.shape(drange) == (2,) else None,
        display_mode=text_of(attributes.get("display_mode")),
        axis_units=read_units(text_of(attributes.get("axis_units")), axes.letters),
        resolution=read_resolution(text_of(attributes.get("axistags")), axes.letters),
        chunks=dataset.chunks,
    )


class Hdf5Writer(ImageWriter):
    """Writer of one dataset, into a file of its own that becomes the container or is merged into it at the end.

    Whole chunks are compressed by the thread that delivers them, without a lock, and stored directly. The container is
    only changed in ``finish``: errors before that leave it unchanged.
    """

    def __init__(self, path: Path, internal: str, spec: ImageSpec, *, compress: bool) -> None:
        self.chunks = _chunks(spec)
        self._path = path
        self._names = _split_internal(path, internal)
        self._compress = compress
        self._assembler = ChunkAssembler(spec.shape, self.chunks, spec.dtype)
        self._file: h5py.File | None = None
        # A link is followed: what it points to is replaced, not the link.
        self._container = resolve_links(path)
        self._target = Target(self._container)
        try:
            _check_container(self._container, self._names)
            with _hdf5_errors(path):
                self._file = h5py.File(self._target.temporary, "w", locking=False)
                name = "/".join(self._names)
                self._dataset = _create_dataset(self._file, name, spec, self.chunks, compress=compress)
        except BaseException:
            self.abort()
            raise

    def write(self, box: Box, data: np.ndarray) -> None:
        for corner, chunk in self._assembler.add(box, data):
            stored = _deflate(chunk) if self._compress else chunk
            with _hdf5_errors(self._path):
                self._dataset.id.write_direct_chunk(corner, stored)

    def finish(self) -> list[Path]:
        try:
            if self._assembler.missing:
                raise ExportError(f"cannot complete {self._path}: {self._assembler.missing} voxels were never written")
            with _hdf5_errors(self._path):
                if self._file is not None:
                    self._file.close()
                    self._file = None
                self._target.check_alive()
                with _PUBLISHING:
                    if not _exists(self._container) or self._replaces_everything():
                        self._target.commit()
                    else:
                        with live_targets.indivisible():
                            self._merge()
        finally:
            self.abort()
        return [self._path]

    def abort(self) -> None:
        if self._file is not None:
            with contextlib.suppress(Exception):
                self._file.close()
            self._file = None
        self._target.discard()

    def _replaces_everything(self) -> bool:
        """Return True if the container has only the dataset being replaced: the new file can replace the container."""
        with _open_container(self._container, wait_s=_LOCK_WAIT_FINISH_S, mode="r") as container:
            _check_place(self._container, container, self._names)
            node: object = container["/"]
            for name in self._names:
                if not isinstance(node, h5py.Group) or node.attrs or any(k != name and not _is_aside(k) for k in node):
                    return False
                if name not in node:
                    return True
                node = node[name]
        return True

    def _merge(self) -> None:
        """Copy the finished dataset into the container under a temporary name, then swap it with the old one."""
        import shutil  # 4 ms, and few runs come here

        free, needed = shutil.disk_usage(self._container.parent).free, self._target.temporary.stat().st_size
        if free < needed:
            # A full disk in the middle could damage other content of the container.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        aside = f"{_ASIDE_PREFIX}{os.getpid()}-{os.urandom(4).hex()}{_ASIDE_SUFFIX}"
        name = "/".join(self._names)
        with (
            _open_container(self._container, wait_s=_LOCK_WAIT_FINISH_S, mode="r+") as container,
            h5py.File(self._target.temporary, "r", locking=False) as finished,
        ):
            _check_place(self._container, container, self._names)
            for leftover in [k for k in container if _is_aside(k)]:
                del container[leftover]
            finished.copy(finished[name], container, name=aside)
            container.flush()
            _swap(container, aside, name)


def _swap(container: h5py.File, aside: str, name: str) -> None:
    """Put the dataset ``aside`` under its final name. Both changes are written together when the file is closed."""
    if "/" in name:
        container.require_group(name.rpartition("/")[0])
    if name in container:
        del container[name]
    container.move(aside, name)


def check_place(path: Path, internal: str, spec: ImageSpec) -> None:
    """Raise ExportError unless a dataset can be put at ``internal`` in the container at ``path``."""
    container = resolve_links(path)
    check_file_place(container)
    _check_container(container, _split_internal(path, internal))


def is_result(path: Path, internal: str) -> bool:
    """Return True if ``internal`` is new in an HDF5 file, or replaces a dataset with axistags, as results have."""
    from ..support.signature import HDF5_SIGNATURE, begins_with

    if not begins_with(HDF5_SIGNATURE)(path, internal):
        return False
    try:
        with h5py.File(path, "r", locking=False) as file:
            node: object = file
            for name in _split_internal(path, internal):
                if not isinstance(node, h5py.Group):
                    return False
                link = node.get(name, getlink=True)
                if link is None:
                    return True
                if not isinstance(link, h5py.HardLink):
                    return False
                node = node[name]
            return isinstance(node, h5py.Dataset) and "axistags" in node.attrs
    except HDF5_ERRORS:
        return False


def _check_container(container: Path, names: list[str]) -> None:
    with _PUBLISHING:
        if _exists(container):
            with _open_container(container, wait_s=_LOCK_WAIT_OPEN_S, mode="r") as file:
                _check_place(container, file, names)


def _chunks(spec: ImageSpec) -> tuple[int, ...]:
    return chunk_shape(spec.shape, spec.axes, spec.dtype.itemsize)


def _exists(target: Path) -> bool:
    """Return True if there is a container to keep; an empty file is none."""
    return target.exists() and target.stat().st_size > 0


def _is_aside(name: str) -> bool:
    return name.startswith(_ASIDE_PREFIX) and name.endswith(_ASIDE_SUFFIX)


def _split_internal(path: Path, internal: str) -> list[str]:
    names = [n for n in internal.split("/") if n not in ("", ".")]
    if not names or ".." in names:
        raise ExportError(
            f"cannot write {path}: {internal!r} is not the path of a dataset inside an HDF5 file; choose another"
        )
    return names


def _open_container(path: Path, *, wait_s: float, mode: str) -> h5py.File:
    """Open an existing container, waiting for other programs that have locked it. Raises ExportError."""
    if not h5py.is_hdf5(path):
        raise ExportError(f"cannot write {path}: it exists and is not an HDF5 file; remove it or choose another name")
    if not os.access(path, os.W_OK):
        raise ExportError(f"cannot write {path}: it exists and is read-only; make it writable or choose another name")
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return h5py.File(path, mode, locking="best-effort")
        except HDF5_ERRORS as error:
            if "lock file" not in str(error):
                raise ExportError(f"cannot write {path}: it exists and cannot be opened ({reason(error)})") from error
            if time.monotonic() >= deadline:
                raise ExportError(
                    f"cannot write {path}: another program has it open and locked; close it there and run again"
                ) from error
        time.sleep(_LOCK_POLL_S)


@contextlib.contextmanager
def _hdf5_errors(path: Path) -> Iterator[None]:
    """Turn exceptions of h5py into an ExportError about ``path``, by the errno contained in HDF5's text."""
    with export_errors(path):
        try:
            yield
        except HDF5_ERRORS as error:
            found = re.search(r"errno = (\d+)", str(error))
            number = int(found[1]) if found else getattr(error, "errno", None)
            raise OSError(number, os.strerror(number) if number else reason(error)) from error


def _check_place(path: Path, container: h5py.File, names: list[str]) -> None:
    """Raise ExportError unless a dataset can be put at ``names`` without damaging anything else."""
    node: object = container["/"]
    for depth, name in enumerate(names):
        here = "/".join(names[:depth])
        if not isinstance(node, h5py.Group):
            raise ExportError(
                f"cannot write {path}/{'/'.join(names)}: {here!r} in it is a dataset, not a group; choose another"
            )
        link = node.get(name, getlink=True)
        if link is None:
            return
        if not isinstance(link, h5py.HardLink):
            raise ExportError(
                f"cannot write {path}/{'/'.join(names)}: {name!r} in it is a link to something else; choose another"
            )
        node = node[name]
    if not isinstance(node, h5py.Dataset):
        raise ExportError(f"cannot write {path}/{'/'.join(names)}: there is a group of that name; choose another one")


def _create_dataset(
    file: h5py.File, name: str, spec: ImageSpec, chunks: tuple[int, ...], *, compress: bool
) -> h5py.Dataset:
    dataset = file.create_dataset(
        name,
        shape=spec.shape,
        dtype=spec.dtype,
        chunks=chunks,
        compression="gzip" if compress else None,
        compression_opts=1 if compress else None,
    )
    attributes = dataset.attrs
    attributes["axistags"] = axistags_json(spec.axes, spec.resolution)
    for dimension, letter in enumerate(spec.axes):
        h5py.h5ds.set_label(dataset.id, dimension, letter.encode())
    if spec.axis_units:
        attributes["axis_units"] = json.dumps({a: spec.axis_units[a] for a in spec.axes if a in spec.axis_units})
    if spec.drange is not None:
        attributes["drange"] = np.asarray(spec.drange).astype(spec.dtype)
    if spec.display_mode is not None:
        attributes["display_mode"] = spec.display_mode
    return dataset


def _deflate(chunk: np.ndarray) -> bytes:
    """Compress a chunk to a zlib stream, as stored by HDF5's gzip filter.

    ISA-L at its level 1. On float32 probabilities (100 trees, one core) it makes 460 MB/s at 15.7 % of the size where
    zlib-ng makes 172 at 15.1 % (level 2) or 301 at 22.8 % (level 1); of features 270 against 34 at 88.2 %.
    """
    from isal import isal_zlib

    return isal_zlib.compress(np.ascontiguousarray(chunk).data, level=1)


_EXTENSIONS = ("h5", "hdf5", "ilp")
INPUT = InputFormat(
    "hdf5",
    _EXTENSIONS,
    Hdf5Reader,
    list_images=list_datasets,
    container_extensions=_EXTENSIONS,
    reopen=Hdf5Reader.reopen,
)
OUTPUTS = tuple(
    OutputFormat(
        name,
        "h5",
        partial(Hdf5Writer, compress=compress),
        Limits(),
        summary=f"HDF5, chunked, {what}",
        streams=True,
        container=True,
        unit=_chunks,
        check_place=check_place,
        is_result=is_result,
        least_bytes=(lambda spec: 0) if compress else (lambda spec: spec.nbytes),
    )
    for name, compress, what in (("hdf5", False, "not compressed"), ("compressed hdf5", True, "gzip level 1"))
)

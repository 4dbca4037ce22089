"""N5: one dataset of a container, which is a folder; read by region and written by chunks.

Axes are reversed in N5's metadata: the first one varies fastest. The attributes are ilastik's.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....box import Box
from ...axes import axistags_json
from ...errors import ExportError, InputError, InputNotFound, as_marked, damaged_input, setting
from ...storage.atomic_write import FolderTarget, check_folder_place, put_folder
from ...storage.chunk_store import (
    StoredImage,
    is_inside,
    metadata_numbers,
    open_array,
    read_json,
    store_input_errors,
    to_json,
    write_json,
)
from ...storage.chunks import chunk_shape
from ...storage.durable import make_durable
from ...storage.exchange import recover_folder
from ...storage.object_storage import RemotePath
from ...storage.special_files import resolve_links
from ...storage.store_writer import ChunkNames, RemoteStore, StoredArray, store_export_errors
from ..spec import BlockWriter, ImageInfo, ImageReader, ImageSpec, InputFormat, Limits, OutputFormat
from ..support.vigra_attributes import read_axes, read_resolution, read_units, text_of

if TYPE_CHECKING:
    import tensorstore

_METADATA = "attributes.json"
_VERSION = "2.0.0"
# Attributes passed to tensorstore: it refuses ``axes`` as ilastik writes it.
_OF_THE_FORMAT = ("dimensions", "blockSize", "dataType", "compression")
_MAX_FOLDERS = 10_000  # searched for datasets
_PUBLISHING = threading.Lock()  # one writer of this process at a time puts a dataset into a container


class N5Reader(ImageReader):
    """Reader of one dataset. Several threads may read at once."""

    unchecked = "the chunks"

    def __init__(self, container: Path | RemotePath, internal: str) -> None:
        name = internal.strip("/")
        if isinstance(container, Path):
            _check_container(container)
            name = name or _only_dataset(container)
        elif not name:
            raise InputError(f"cannot read {container}: a server lists no datasets; name one behind the container")
        label = f"{container}/{name}"
        attributes = _dataset_attributes(container, name)
        if attributes is None and isinstance(container, RemotePath):
            raise InputNotFound(f"there is no dataset {name!r} in {container}; check its name")
        if attributes is None:
            assert isinstance(container, Path)
            names = ", ".join(list_datasets(container)) or "no datasets with 2 to 5 dimensions"
            raise InputNotFound(f"there is no dataset {name!r} in {container}; it has: {names}")
        attributes = _modernise(attributes)
        missing = [key for key in _OF_THE_FORMAT if key not in attributes]
        if missing:
            raise damaged_input(label, f"its attributes lack {', '.join(missing)}")
        with store_input_errors(label):
            metadata = {key: attributes[key] for key in _OF_THE_FORMAT}
            array = _open_dataset(container / name, metadata)
            self._image = StoredImage(array.T, label)
            self.info = _read_info(self._image, attributes)

    def read(self, box: Box) -> np.ndarray:
        return self._image.read(box)

    def close(self) -> None:
        self._image.close()


def _modernise(attributes: dict[str, Any]) -> dict[str, Any]:
    """Add the compression as an object where the attributes name it as N5 did before version 2."""
    kind = attributes.get("compressionType")
    if "compression" in attributes or not isinstance(kind, str):
        return attributes
    return {**attributes, "compression": {"type": kind}}


def _open_dataset(folder: Path | RemotePath, metadata: Mapping[str, Any]) -> tensorstore.TensorStore:
    """Open a dataset for reading. Raises tensorstore's exceptions."""
    compression = metadata["compression"]
    if isinstance(compression, dict) and compression.get("type") == "lz4":
        from ..support.n5_lz4 import open_lz4

        return open_lz4(folder, metadata)
    return open_array("n5", folder, metadata, assume=True)


def _read_info(image: StoredImage, attributes: Mapping[str, Any]) -> ImageInfo:
    axes = read_axes(attributes, image.shape)
    drange = attributes.get("drange")
    is_range = isinstance(drange, list) and len(drange) == 2 and all(type(n) in (int, float) for n in drange)
    return ImageInfo(
        shape=image.shape,
        dtype=image.dtype,
        axes=axes.letters,
        own_axes=axes.is_own,
        axes_problem=axes.problem,
        drange=(float(drange[0]), float(drange[1])) if is_range and drange else None,
        display_mode=text_of(attributes.get("display_mode")),
        axis_units=read_units(text_of(attributes.get("axis_units")), axes.letters),
        resolution=read_resolution(text_of(attributes.get("axistags")), axes.letters),
        chunks=image.chunks,
    )


def _is_container(folder: Path) -> bool:
    return folder.suffix.lower() == ".n5" and folder.is_dir()


def _check_container(container: Path) -> None:
    if not container.exists():
        raise InputNotFound(f"there is no N5 container {container}")
    if not container.is_dir():
        raise InputError(f"cannot read {container}: an N5 container is a folder, and this is a file; name the folder")


def _dataset_attributes(container: Path | RemotePath, name: str) -> dict[str, Any] | None:
    """Read the attributes of a dataset; None if there is none of that name in the container."""
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\\" in part or "\x00" in part for part in parts):
        raise InputError(
            f"cannot read {container}: {name!r} is not the name of a dataset in it; give its path in the container"
        )
    folder = container.joinpath(*parts)
    if not is_inside(folder, container) or not is_inside(folder / _METADATA, container):
        raise InputError(f"cannot read {container}: {name!r} is a link that leads out of it; copy the data into it")
    attributes = read_json(folder / _METADATA)
    return attributes if attributes is not None and "dimensions" in attributes else None


def list_datasets(container: Path) -> tuple[str, ...]:
    """Sorted names of all datasets in the container that have 2 to 5 dimensions."""
    _check_container(container)
    return tuple(sorted(_walk(container)))


def _walk(container: Path) -> Iterator[str]:
    """Yield the names of datasets. The chunk folders of a dataset are not searched, links are not followed."""
    folders, seen = [""], 0
    while folders:
        name = folders.pop()
        if name:
            attributes = read_json(container / name / _METADATA) or {}
            if "dimensions" in attributes:
                dimensions = attributes["dimensions"]
                if isinstance(dimensions, list) and 2 <= len(dimensions) <= 5:
                    yield name
                continue
        with store_input_errors(container), os.scandir(container / name) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                    folders.append(f"{name}/{entry.name}" if name else entry.name)
                    seen += 1
        if seen > _MAX_FOLDERS:
            raise InputError(f"cannot read {container}: too many folders to look for datasets; name one behind it")


def _only_dataset(container: Path) -> str:
    names = list_datasets(container)
    if not names:
        raise InputError(f"{container} contains no datasets with 2 to 5 dimensions; choose another container")
    if len(names) > 1:
        raise InputError(
            f"{container} contains several datasets; append the internal path of one to its name, as in "
            f"{container}/{names[0]}. It has: {', '.join(names[:10])}{' and more' if len(names) > 10 else ''}"
        )
    return names[0]


class N5Writer(BlockWriter):
    """Writer of one dataset, into a container of its own that becomes the final one or is merged into it at the end.

    run  name of a run whose processes write the blocks of the dataset; "": this one writes all
    """

    def __init__(self, path: Path, internal: str, spec: ImageSpec, run: str = "", *, compress: bool) -> None:
        self.chunks = _chunks(spec)
        self._path = path
        self._names = _split_internal(path, internal)
        # A link is followed: what it points to is replaced, not the link.
        self._container = resolve_links(path)
        self._target = FolderTarget(self._container, run=run)
        self._is_kept = bool(run)
        self._array: StoredArray | None = None
        try:
            with store_export_errors(path):
                recover_folder(self._container.joinpath(*self._names))
            _check_place(self._container, self._names)
            attributes = _attributes(spec, self.chunks, compress=compress)
            with store_export_errors(path):
                write_json(self._target.temporary / _METADATA, {"n5": _VERSION})
                folder = self._target.temporary.joinpath(*self._names)
                folder.mkdir(parents=True, exist_ok=self._is_kept)
                write_json(folder / _METADATA, attributes, indent=None)
                metadata = {key: attributes[key] for key in _OF_THE_FORMAT}
                array = open_array("n5", folder, metadata, assume=True)
            names = ChunkNames("/".join(self._names), is_reversed=True)
            durable_folder = self._target.temporary if self._is_kept else None
            self._array = StoredArray(array.T, self.chunks, path, names, durable_folder)
        except BaseException:
            self.abort()
            raise

    def write(self, box: Box, data: np.ndarray) -> None:
        with self._target.watched():
            self._open_array().write(box, data)

    def settle(self, box: Box) -> str:
        with self._target.watched():
            return self._open_array().settle_block(box)

    def restore(self, box: Box, files: str) -> None:
        self._open_array().restore(box, files)

    def finish(self) -> list[Path]:
        try:
            array = self._open_array()
            with self._target.watched():
                array.check_complete()
            folders = ("", "/".join(self._names))
            self._target.check_holds(chain(((folder, _METADATA) for folder in folders), array.files()))
            with _PUBLISHING, store_export_errors(self._path):
                if self._is_kept:
                    make_durable(self._target.temporary / folder / _METADATA for folder in folders)
                _check_place(self._container, self._names)
                if self._container.exists():
                    self._merge()
                else:
                    self._target.commit()
        finally:
            self.abort()
        return [self._path]

    def abort(self) -> None:
        if self._array is not None:
            self._array.abandon()
            self._array = None
        self._target.discard()

    def _open_array(self) -> StoredArray:
        if self._array is None:
            raise ExportError(f"cannot write {self._path}: it was closed")
        return self._array

    def _merge(self) -> None:
        """Move the finished dataset into the existing container; all others in it are unchanged."""
        if not (self._container / _METADATA).exists():  # an empty folder
            os.replace(self._target.temporary / _METADATA, self._container / _METADATA)
        dataset = self._target.temporary.joinpath(*self._names)
        if self._is_kept:  # so that another process finds it under one of two names
            self._target.check_alive()
            put_folder(dataset, self._container.joinpath(*self._names), may_exchange=False)
            return
        place = FolderTarget(self._container.joinpath(*self._names))
        try:
            place.adopt(dataset)
            place.commit()
        finally:
            place.discard()


class N5UrlWriter(BlockWriter):
    """Writer of one dataset of a container behind a URL; a replaced dataset is removed before the first chunk.

    run  name of a run whose processes write the blocks of the dataset; "": this one writes all
    """

    def __init__(self, url: str, internal: str, spec: ImageSpec, run: str = "", *, compress: bool) -> None:
        if run:
            self._target = RemoteStore(RemotePath(url), run=run)
            key = "/".join(_split_internal(self._target.folder, internal))
        else:
            self._target, key = _check_remote(url, internal, spec)
        self._prefix, self.chunks = f"{key}/", _chunks(spec)
        attributes = _attributes(spec, self.chunks, compress=compress)
        # The container's metadata are written first: they are no image, and other datasets may be written in parallel.
        self._has_made_container = self._target.read(_METADATA) is None
        if self._has_made_container:
            self._target.put(_METADATA, to_json({"n5": _VERSION}).encode())
        self._has_made_container &= not run  # other processes need it
        self._target.begin(f"{key}/{_METADATA}", prefix=self._prefix)
        self._target.put_later(f"{key}/{_METADATA}", to_json(attributes, indent=None).encode())
        with store_export_errors(self._target.folder):
            metadata = {name: attributes[name] for name in _OF_THE_FORMAT}
            array = open_array("n5", self._target.folder.joinpath(*key.split("/")), metadata, assume=True)
        names = ChunkNames(key, is_reversed=True)
        self._array: StoredArray | None = StoredArray(array.T, self.chunks, self._target.folder, names)

    def write(self, box: Box, data: np.ndarray) -> None:
        self._open_array().write(box, data)

    def settle(self, box: Box) -> str:
        return self._open_array().settle_block(box)

    def restore(self, box: Box, files: str) -> None:
        self._open_array().restore(box, files)

    def _open_array(self) -> StoredArray:
        if self._array is None:
            raise ExportError(f"cannot write {self._target.folder}: it was closed")
        return self._array

    def finish(self) -> list[Path]:
        try:
            if self._array is not None:
                self._array.check_complete()
                self._target.check_holds(self._array.files())
                self._target.commit()
                self._has_made_container = False  # nothing is left to undo
        finally:
            self.abort()
        return []

    def abort(self) -> None:
        if self._array is not None:
            self._array.abandon()
            self._array = None
        self._target.discard(self._prefix)
        if self._has_made_container:
            with suppress(ExportError):
                if self._target.holds_only(_METADATA):
                    self._target.remove()


def _check_remote(url: str, internal: str, spec: ImageSpec) -> tuple[RemoteStore, str]:
    """Return the container behind a URL and the key of the dataset; raises ExportError unless it can be put there."""
    try:
        store = RemoteStore(RemotePath(url))
    except InputError as error:
        raise ExportError(error.render(as_marked)) from None
    names = _split_internal(store.folder, internal)
    key = "/".join(names)
    if store.read(_METADATA) is None and store.holds():
        raise ExportError(
            f"cannot write {store.folder}: what exists there is not an N5 container; remove it or choose another name"
        )
    for depth in range(1, len(names)):
        if b'"dimensions"' in (store.read(f"{'/'.join(names[:depth])}/{_METADATA}") or b""):
            raise ExportError(
                f"cannot write {store.folder}/{key}: {names[depth - 1]!r} is a dataset, not a group; choose another"
            )
        store.check_free(f"{store.folder}/{key}", prefix=f"{'/'.join(names[:depth])}/", may_replace=False)
    store.check_free(f"{store.folder}/{key}", prefix=f"{key}/", may_replace=spec.may_replace)
    is_left_over = store.is_unfinished(f"{key}/")
    old = store.read(f"{key}/{_METADATA}") or b""
    if b'"dimensions"' not in old and not is_left_over and store.holds(f"{key}/"):
        raise ExportError(f"cannot write {store.folder}/{key}: there is a group of that name; choose another one")
    if old and not spec.may_replace:
        raise ExportError(
            f"cannot write {store.folder}/{key}: it exists; {setting('overwrite')} replaces it (nothing can be "
            "swapped there, "
            "so it goes before the new one is complete)"
        )
    return store, key


def check_url(url: str, internal: str, spec: ImageSpec) -> None:
    """Raise ExportError unless a dataset can be put at ``internal`` in the container behind a URL."""
    _check_remote(url, internal, spec)


def _chunks(spec: ImageSpec) -> tuple[int, ...]:
    return chunk_shape(spec.shape, spec.axes, spec.dtype.itemsize)


def _attributes(spec: ImageSpec, chunks: tuple[int, ...], *, compress: bool) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "dimensions": list(reversed(spec.shape)),
        "blockSize": list(reversed(chunks)),
        "dataType": spec.dtype.name,
        "compression": {"type": "gzip", "level": 1, "useZlib": False} if compress else {"type": "raw"},
        "axes": spec.axes[::-1],
        "axistags": axistags_json(spec.axes, spec.resolution),
    }
    if spec.axis_units:
        attributes["axis_units"] = json.dumps({a: spec.axis_units[a] for a in spec.axes if a in spec.axis_units})
    drange = metadata_numbers(spec.drange, spec.dtype)
    if drange is not None:
        attributes["drange"] = drange
    if spec.display_mode is not None:
        attributes["display_mode"] = spec.display_mode
    return attributes


def _split_internal(path: Path | RemotePath, internal: str) -> list[str]:
    names = [n for n in internal.split("/") if n not in ("", ".")]
    if not names or any(n == ".." or "\\" in n or ":" in n or "\x00" in n or n == _METADATA for n in names):
        raise ExportError(
            f"cannot write {path}: {internal!r} is not the path of a dataset inside an N5 container; choose another"
        )
    return names


def check_place(path: Path, internal: str, spec: ImageSpec) -> None:
    """Raise ExportError unless a dataset can be put at ``internal`` in the container at ``path``."""
    container = resolve_links(path)
    check_folder_place(container)
    _check_place(container, _split_internal(path, internal))


def _check_place(container: Path, names: list[str]) -> None:
    """Raise ExportError unless a dataset can be put at ``names`` without damaging anything else."""
    if not container.exists():
        return
    what = f"{container}/{'/'.join(names)}"
    try:
        head = read_json(container / _METADATA)
        if head is None and any(container.iterdir()):
            raise ExportError(
                f"cannot write {container}: it exists and is not an N5 container; remove it or choose another name"
            )
        for depth in range(1, len(names) + 1):
            folder, here = container.joinpath(*names[:depth]), "/".join(names[:depth])
            if folder.is_symlink():
                raise ExportError(f"cannot write {what}: {here!r} in it is a link to something else; choose another")
            if not folder.exists():
                return
            is_dataset = "dimensions" in (read_json(folder / _METADATA) or {})
            if depth < len(names) and is_dataset:
                raise ExportError(f"cannot write {what}: {here!r} in it is a dataset, not a group; choose another name")
            if depth == len(names) and not is_dataset:
                raise ExportError(f"cannot write {what}: there is a group of that name; choose another one")
    except (OSError, InputError) as error:
        raise ExportError(f"cannot write {what}: the container cannot be examined ({error})") from error


INPUT = InputFormat(
    "n5",
    ("n5",),
    N5Reader,
    list_images=list_datasets,
    is_image=_is_container,
    open_remote=N5Reader,
    container_extensions=("n5",),
)
OUTPUTS = tuple(
    OutputFormat(
        name,
        "n5",
        partial(N5Writer, compress=compress),
        Limits(),
        summary=f"N5, chunked, {what}",
        streams=True,
        container=True,
        open_url=partial(N5UrlWriter, compress=compress),
        check_url=check_url,
        unit=_chunks,
        check_place=check_place,
        is_result=lambda path, internal: path.is_dir(),  # check_place asks for a container
        is_folder=True,
        open_blocks=partial(N5Writer, compress=compress),
        open_url_blocks=partial(N5UrlWriter, compress=compress),
    )
    for name, compress, what in (("n5", False, "not compressed"), ("compressed n5", True, "gzip level 1"))
)

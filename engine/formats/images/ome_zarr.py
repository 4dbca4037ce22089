"""OME-Zarr: images with one or several levels of resolution in a folder, read by region and written by chunks.

A zip archive of such a folder is read, too, and so are arrays without OME metadata.

Axes t c z y x are written in ilastik's layout: version 0.4 (Zarr 2), or 0.5 (Zarr 3), where a file is a shard of many
chunks. Smaller levels are computed from the next larger one when that is complete. Metadata are handled in
ome_metadata.py.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ....box import Box
from ...axes import axistags_json, box_to_canonical, from_canonical, to_canonical
from ...axes import box_from_canonical as box_from
from ...errors import OUTPUT_FILES, ExportError, InputError, Text, as_marked, damaged_input, setting
from ...requests import OME_ZARR_VERSIONS
from ...storage.atomic_write import check_folder_place
from ...storage.chunk_store import StoredImage, StorePath, metadata_numbers, store_input_errors
from ...storage.exchange import find_aside
from ...storage.object_storage import RemotePath
from ...storage.special_files import resolve_links
from ...storage.store_writer import ChunkNames, LocalStore, RemoteStore, StoredArray, StoreTarget, store_export_errors
from ...storage.thread_limit import thread_limit
from ..spec import BlockWriter, ImageInfo, ImageReader, ImageSpec, InputFormat, Limits, OutputFormat
from ..support.ome_metadata import AXES, MARKS, find_multiscale, is_in_store, is_store, list_images, multiscale_json
from ..support.ome_zarr_layout import (
    file_shape,
    file_shape_of_result,
    largest_level,
    level_shapes,
    zarr2_metadata,
    zarr3_metadata,
)
from ..support.pyramid import shrink
from ..support.signature import read_head

_ZIP = b"PK\3\4"
MAX_WORKERS = 4  # that compute a smaller level in parallel


class OmeZarrReader(ImageReader):
    """Reader of one level of an image. Several threads may read at once."""

    unchecked = "the chunks"

    def __init__(self, path: Path | RemotePath, internal: str) -> None:
        folder = _open_folder(path)
        from ..support.zarr_arrays import open_zarr  # not needed for writing, nor to test whether a folder is a store

        image, level = find_multiscale(folder / internal if internal else folder)
        label = f"{image.root}/{level.path}".rstrip("/")
        with store_input_errors(label):
            array = open_zarr(image.format, image.root / level.path, level.metadata)
            self._image = StoredImage(array, label)
        if self._image.shape != level.shape:
            raise damaged_input(label, f"its shape is {self._image.shape}, not {level.shape}")
        self.info = ImageInfo(
            shape=self._image.shape,
            dtype=self._image.dtype,
            axes=image.axes,
            own_axes=image.has_own_axes and not image.axes_problem,
            axes_problem=image.axes_problem,
            axis_units=image.units,
            resolution=image.resolution(level),
            chunks=self._image.chunks,
            scales=None if image.is_plain else image.scales(level),
        )

    def read(self, box: Box) -> np.ndarray:
        return self._image.read(box)

    def close(self) -> None:
        self._image.close()


def _open_folder(path: Path | RemotePath) -> StorePath:
    """Return the folder of a store: the path itself, or the content of a zip archive."""
    if not isinstance(path, Path) or path.is_dir() or not path.exists():
        return path
    if not read_head(path).startswith(_ZIP):
        raise InputError(
            f"cannot read {path}: a Zarr store is a folder or a zip archive, and this is another file; name the store"
        )
    from ...storage.zip_store import ZipPath

    return ZipPath(path)


def list_stored_images(path: Path) -> list[str]:
    """List the images of a store by their paths in it. Raises InputError."""
    return list_images(_open_folder(path))


class OmeZarrWriter(BlockWriter):
    """Writer of one image in a store of its own, which replaces an older one only if allowed.

    run  name of a run whose processes write the blocks of the store; "": this one writes all
    """

    def __init__(
        self, path: Path | RemotePath, internal: str, spec: ImageSpec, run: str = "", *, is_multiscale: bool
    ) -> None:
        if isinstance(path, Path):
            _check_store(path, spec)
        self._path, self._spec = path, spec
        self._version = spec.version or OME_ZARR_VERSIONS[0]
        shape, self._chunk = largest_level(spec)
        self._shapes = level_shapes(spec, shape, self._chunk, is_multiscale=is_multiscale)
        # A link is followed: what it points to is replaced, not the link.
        self._target: StoreTarget
        if isinstance(path, RemotePath):
            self._target = _open_remote(path, spec, run)
        else:
            self._target = LocalStore(resolve_links(path), run=run)
        self._levels: dict[int, StoredArray] = {}  # those that were begun; all or none contain the whole result
        try:
            self._levels[0] = self._create(next(iter(self._shapes)))
            self.chunks = file_shape_of_result(spec)
        except BaseException:
            self.abort()
            raise

    def write(self, box: Box, data: np.ndarray) -> None:
        ordered = from_canonical(to_canonical(data, self._spec.axes), AXES)
        with self._target.watched():
            self._open_level().write(self._stored_box(box), ordered)

    def settle(self, box: Box) -> str:
        with self._target.watched():
            return self._open_level().settle_block(self._stored_box(box))

    def restore(self, box: Box, files: str) -> None:
        self._open_level().restore(self._stored_box(box), files)

    def _stored_box(self, box: Box) -> Box:
        """Reorder a box in output axes to the axes of the store."""
        return box_from(box_to_canonical(box, self._spec.axes), AXES)

    def finish(self) -> list[Path]:
        try:
            with self._target.watched():
                levels = self._complete_levels()
                with store_export_errors(self._path):
                    self._describe()
            if isinstance(self._path, Path):
                _check_store(self._path, self._spec)
            self._target.check_holds(chain.from_iterable(level.files() for level in levels))
            self._target.commit()
        finally:
            self.abort()
        return [self._path] if isinstance(self._path, Path) else []

    def abort(self) -> None:
        for level in self._levels.values():
            level.abandon()
        self._levels.clear()
        self._target.discard()

    def level_shapes(self) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        found = []
        for shape in list(self._shapes.values())[1:]:
            sizes = (dict(zip(AXES, each, strict=True)) for each in (shape, self._unit(shape)))
            whole, unit = (tuple(each[letter] for letter in "tzyx") for each in sizes)
            found.append((whole, unit))
        return found

    def make_part(self, level: int, part: Box) -> str:
        with self._target.watched():
            larger, smaller = self._open_level(level - 1), self._open_level(level)
            box = _with_channels(part, smaller.shape)
            _fill(smaller, larger, self._chunk, self._spec, box)
            return smaller.settle_block(box)

    def restore_part(self, level: int, part: Box, files: str) -> None:
        smaller = self._open_level(level)
        smaller.restore(_with_channels(part, smaller.shape), files)

    def _open_level(self, number: int = 0) -> StoredArray:
        if not self._levels:
            raise ExportError(f"cannot write {self._path}: it was closed")
        if number not in self._levels:
            self._levels[number] = self._create(list(self._shapes)[number])
        return self._levels[number]

    def _complete_levels(self) -> list[StoredArray]:
        """Compute the smaller levels, unless all of their parts are there; returns all levels."""
        levels = [self._open_level()]
        levels[0].check_complete()
        for number in range(1, len(self._shapes)):
            level = self._open_level(number)
            if level.missing:
                _fill(level, levels[-1], self._chunk, self._spec, Box.whole(level.shape))
            level.check_complete()
            levels.append(level)
        return levels

    def _unit(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return file_shape(shape, self._chunk, self._version)

    def _create(self, name: str) -> StoredArray:
        """Start the array of a level."""
        shape = self._shapes[name]
        attributes = self._array_attributes()
        with store_export_errors(self._path):
            unit = self._unit(shape)
            if self._version == "0.4":
                metadata = zarr2_metadata(shape, self._chunk, self._spec.dtype)
                array, names = self._target.create_array("zarr", name, metadata), ChunkNames(name)
                self._target.put_json(f"{name}/.zattrs", attributes)
            else:
                metadata = zarr3_metadata(shape, unit, self._chunk, self._spec.dtype, attributes)
                array, names = self._target.create_array("zarr3", name, metadata), ChunkNames(f"{name}/c")
        return StoredArray(array, unit, self._path, names, self._target.durable_folder)

    def _array_attributes(self) -> dict[str, Any]:
        spec = self._spec
        attributes: dict[str, Any] = {"axistags": axistags_json(AXES, spec.resolution)}
        units = {a: spec.axis_units[a] for a in AXES if a in spec.axis_units}
        drange = metadata_numbers(spec.drange, spec.dtype)
        if units:
            attributes["axis_units"] = units
        if spec.display_mode is not None:
            attributes["display_mode"] = spec.display_mode
        if drange is not None:
            attributes["drange"] = drange
        return attributes

    def _describe(self) -> None:
        """Write the metadata that make the arrays an OME-Zarr image."""
        spec, target = self._spec, self._target
        offset = dict(zip(spec.axes, spec.offset, strict=True))
        image = multiscale_json(
            self._shapes,
            resolution=spec.resolution,
            units=spec.axis_units,
            offset=[offset.get(a, 0) for a in AXES],
            translation=spec.scales.translation if spec.scales else {},
        )
        if len(set(self._shapes.values())) > 1:
            image["metadata"] = _downscaling(spec)
        content: dict[str, Any] = {"multiscales": [image]}
        is_new = self._version != "0.4"
        if spec.is_labels and spec.dtype.kind in "iu":
            content["image-label"] = {} if is_new else {"version": self._version}
        if is_new:
            attributes = {"ome": {"version": self._version, **content}, "_creator": _creator()}
            target.put_json("zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": attributes})
        else:
            image["version"] = self._version
            target.put_json(".zgroup", {"zarr_format": 2})
            target.put_json(".zattrs", {**content, "_creator": _creator()})


def check_place(path: Path, internal: str, spec: ImageSpec) -> None:
    """Raise ExportError unless a store can be put at ``path``."""
    check_folder_place(resolve_links(path))
    _check_store(path, spec)


def check_url(url: str, internal: str, spec: ImageSpec) -> None:
    """Raise ExportError unless a store can be put behind a URL."""
    _check_remote(_remote_store(url), spec)


def _remote_store(url: str) -> RemoteStore:
    try:
        return RemoteStore(RemotePath(url))
    except InputError as error:
        raise ExportError(error.render(as_marked)) from None


def _check_remote(store: RemoteStore, spec: ImageSpec) -> None:
    """Raise ExportError if existing data there may not be replaced."""
    if not store.holds():
        return
    store.check_free(str(store.folder), may_replace=spec.may_replace)
    is_described = any(store.read(mark) is not None for mark in MARKS)
    if store.is_unfinished() and not is_described:
        return
    if not spec.may_replace:
        raise ExportError(
            f"cannot write {store.folder}: it exists; {setting('overwrite')} replaces it (nothing can be swapped "
            "there, so it "
            f"goes before the new one is complete), {OUTPUT_FILES} chooses another place"
        )
    if not is_described:
        raise ExportError(f"cannot write {store.folder}: what exists there is not a Zarr store; remove it first")


def _open_remote(path: RemotePath, spec: ImageSpec, run: str) -> RemoteStore:
    """Open a store behind a URL. Swapping is not possible: a replaced store is removed before the first chunk."""
    store = RemoteStore(path, run=run)
    if not run:
        _check_remote(store, spec)
    store.begin(*MARKS)
    return store


def _open_url(url: str, internal: str, spec: ImageSpec, run: str = "", *, is_multiscale: bool) -> OmeZarrWriter:
    return OmeZarrWriter(_remote_store(url).folder, internal, spec, run, is_multiscale=is_multiscale)


def _check_store(path: Path, spec: ImageSpec) -> None:
    """Raise ExportError if existing data at ``path`` may not be replaced."""
    if not path.exists():
        aside = find_aside(resolve_links(path))
        if aside is not None and not spec.may_replace:
            raise ExportError(
                f"cannot write {path}: a run that was killed while it replaced it has left it as {aside}; move that "
                f"back, or replace it with {setting('overwrite')}"
            )
        return
    if not path.is_dir():
        raise ExportError(f"cannot write {path}: there is a file of that name, and a Zarr store is a folder")
    if not spec.may_replace:
        raise ExportError(
            f"cannot write {path}: it exists; {setting('overwrite')} replaces it, {OUTPUT_FILES} chooses another place"
        )
    if not is_store(path) and any(path.iterdir()):
        raise ExportError(f"cannot write {path}: the folder there is not a Zarr store; remove it first")


def _with_channels(box: Box, shape: tuple[int, ...]) -> Box:
    """Complete a box (t, z, y, x) of a level to one in the axes of the store."""
    return box_from(Box((*box.start, 0), (*box.stop, shape[AXES.index("c")])), AXES)


def _fill(smaller: StoredArray, larger: StoredArray, chunk: tuple[int, ...], spec: ImageSpec, box: Box) -> None:
    """Compute a box of whole files of a level from the next larger one, several files in parallel."""

    def make(unit: Box) -> None:
        content = np.empty(unit.shape, spec.dtype)
        for box in unit.split(chunk):
            piece = shrink(larger.read, larger.shape, smaller.shape, box, spec.dtype, is_labels=spec.is_labels)
            content[box.relative_to(unit.start).slices()] = piece
        smaller.write(unit, content)

    workers = max(1, min(MAX_WORKERS, thread_limit() or os.cpu_count() or 1))
    with ThreadPoolExecutor(workers, thread_name_prefix="level") as pool:
        try:
            pending = [pool.submit(make, unit) for unit in box.split(smaller.unit)]
            for done in pending:
                done.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _downscaling(spec: ImageSpec) -> dict[str, Any]:
    """Describe the downscaling of the levels in the terms of ``multiscales``."""
    order = 0 if spec.is_labels else 1
    how = "nearest voxel" if spec.is_labels else "Gaussian of sigma factor / 4, mirrored, then linear interpolation"
    return {
        "description": f"pixelforest: {how}; each level from the one before, equal to skimage.transform.resize",
        "method": "skimage.transform.resize",
        "version": "0.24.0",
        "kwargs": {"order": order, "anti_aliasing": not spec.is_labels, "preserve_range": True},
    }


def _creator() -> dict[str, str]:
    from .... import __version__

    return {"name": "pixelforest", "version": __version__}


_SUMMARY = f"OME-Zarr 0.4 or 0.5 ({setting('ome_zarr_version')})"
INPUT = InputFormat(
    "ome-zarr",
    ("zarr", "ozx", "zip"),
    OmeZarrReader,
    list_images=list_stored_images,
    is_image=is_in_store,
    open_remote=OmeZarrReader,
    container_extensions=("ozx", "zip"),
    opens_any_url=True,
)
OUTPUTS = tuple(
    OutputFormat(
        name,
        "zarr",
        partial(OmeZarrWriter, is_multiscale=is_multiscale),
        Limits(),
        summary=Text(f"{_SUMMARY}, {what}"),
        streams=True,
        fixed_axes=AXES,
        unit=file_shape_of_result,
        open_url=partial(_open_url, is_multiscale=is_multiscale),
        check_url=check_url,
        check_place=check_place,
        is_result=lambda path, internal: is_store(path),
        is_folder=True,
        open_blocks=partial(OmeZarrWriter, is_multiscale=is_multiscale),
        open_url_blocks=partial(_open_url, is_multiscale=is_multiscale),
    )
    for name, is_multiscale, what in (
        ("single-scale OME-Zarr", False, "full resolution only"),
        ("multi-scale OME-Zarr", True, "and smaller copies of it"),
    )
)

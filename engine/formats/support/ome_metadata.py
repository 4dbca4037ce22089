"""OME-Zarr metadata of an image: its levels of resolution, axes and pixel sizes, read and created.

Versions 0.1 to 0.4 are in ``.zattrs`` of Zarr 2, version 0.5 in ``zarr.json`` of Zarr 3. Metadata are not trusted:
levels must be inside their store.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from itertools import chain, islice, takewhile
from math import prod
from pathlib import Path
from typing import Any

from ....frozen import frozen
from ...axes import default_axes, is_axis_order
from ...errors import InputError, InputNotFound, damaged_input
from ...storage.chunk_store import StorePath, is_inside, read_json, store_input_errors
from ...storage.object_storage import RemotePath
from ..spec import Scales

__all__ = [
    "AXES",
    "MARKS",
    "Level",
    "Multiscale",
    "find_multiscale",
    "is_in_store",
    "is_store",
    "list_images",
    "multiscale_json",
]

logger = logging.getLogger("pixelforest.inputs")

AXES = "tczyx"  # of written images, and of files that state none
_KINDS = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
MARKS = (".zattrs", ".zgroup", ".zarray", "zarr.json")
_MAX_LEVELS = 100
_MAX_SIZE = 1e30  # of a pixel, in any unit; also keeps out infinity and NaN
_MAX_NAMES = 5  # in a message
_MAX_IMAGES = 1000  # searched in a group


@frozen
class Level:
    """One level of resolution: path of the array in the store, its metadata, shape, and factors to physical sizes."""

    path: str
    metadata: Mapping[str, Any]
    shape: tuple[int, ...]
    scale: tuple[float, ...] | None
    translation: tuple[float, ...] | None


@frozen
class Multiscale:
    """An image with all its existing levels.

    format        of the arrays: 2 or 3
    axes_problem  defect of the axes in the metadata, else ""; in this case ``axes`` are guessed from the shape
    is_plain      True for an array that is no part of an image, with the path ""; has_own_axes: it states its axes
    """

    root: StorePath
    format: int
    axes: str
    levels: tuple[Level, ...]
    units: Mapping[str, str] = field(default_factory=dict)
    scale: tuple[float, ...] | None = None
    translation: tuple[float, ...] | None = None
    axes_problem: str = ""
    is_plain: bool = False
    has_own_axes: bool = True

    def resolution(self, level: Level) -> dict[str, float]:
        """Map axis letters to known pixel sizes. Invalid ones are logged and left out."""
        if level.scale is None:
            return {}
        factors = self.scale or (1.0,) * len(self.axes)
        sizes = {a: n * m for a, n, m in zip(self.axes, level.scale, factors, strict=True) if a != "c"}
        bad = [a for a, n in sizes.items() if not 0 < n < float("inf")]
        if bad:
            logger.warning("%s: the pixel size along %s makes no sense and is ignored", self.root, ", ".join(bad))
        return {a: n for a, n in sizes.items() if a not in bad}

    def scales(self, level: Level) -> Scales:
        """Describe all levels and the one that is read."""
        moves = [t for t in (level.translation, self.translation) if t is not None]
        shift = {a: sum(t[i] for t in moves) for i, a in enumerate(self.axes)}
        return Scales(
            active=level.path,
            shapes={n.path: dict(zip(self.axes, n.shape, strict=True)) for n in self.levels},
            translation={a: n for a, n in shift.items() if n},
        )


def is_in_store(path: StorePath) -> bool:
    """Return True if a path, existing or not, is a Zarr store or inside one."""
    return any(is_store(folder) for folder in _upwards(path))


def is_store(folder: StorePath) -> bool:
    """Return True if a folder is a Zarr group or array."""
    return any((folder / mark).is_file() for mark in MARKS)


def find_multiscale(path: StorePath) -> tuple[Multiscale, Level]:
    """Find the image and the level that a path names; without a level the one with the highest resolution.

    An array that is no level of an image is an image of its own. Raises InputError, InputNotFound.
    """
    array, zarr_format = _read_array(path)
    for folder in _upwards(path):
        attributes, group_format = _read_attributes(folder)
        if attributes is None:
            continue
        images = attributes.get("multiscales")
        wanted = str(path).removeprefix(str(folder)).replace(os.sep, "/").strip("/")
        if isinstance(images, list) and images:
            version = str(attributes.get("version") or _member(images[0], "version") or "")
            if version and not re.match(r"0\.[1-5](?!\d)", version):
                raise InputError(
                    f"cannot read {folder}: it is OME-Zarr of version {version}; versions 0.1 to 0.5 can be read; "
                    "save it as 0.5"
                )
            if array is None or any(wanted == _member(d, "path") for d in _datasets(images)):
                return _choose_level(folder, images, wanted, group_format)
        if array is not None:
            continue
        _refuse_collections(folder, attributes)
        found = _list_children(folder, attributes)
        if found:
            return _only_image(path, folder, found, wanted)
    if array is not None:
        return _describe_array(path, array, zarr_format)
    advice = "save it as OME-Zarr, HDF5 or npy"
    if isinstance(path, RemotePath):
        advice = f"name the image or array in it, if there is one, or {advice}"
    raise InputError(f"cannot read {path}: there is no OME-Zarr image in it, and no Zarr array; {advice}")


def list_images(path: StorePath) -> list[str]:
    """List the images of a store, or its arrays if there are none, by their paths in it; "" if it is one itself."""
    attributes, _ = _read_attributes(path)
    if attributes is None or _listed(attributes.get("multiscales")) or _read_array(path)[0] is not None:
        return [""]
    found = _find_collection(path, attributes)
    return _list_children(path, attributes) if found is None else found[1]


def _datasets(images: list[object]) -> Iterator[object]:
    return chain.from_iterable(_listed(_member(image, "datasets")) for image in images[:_MAX_LEVELS])


def _read_array(folder: StorePath) -> tuple[dict[str, Any] | None, int]:
    """Read the metadata of an array, and its Zarr format; None if there is no array."""
    second = read_json(folder / ".zarray")
    if second is not None:
        return second, 2
    third = read_json(folder / "zarr.json")
    return (third, 3) if third is not None and third.get("node_type") == "array" else (None, 0)


def _describe_array(folder: StorePath, metadata: Mapping[str, Any], zarr_format: int) -> tuple[Multiscale, Level]:
    """Describe an array without OME metadata; its dimensions have names in Zarr 3, and by a convention of xarray."""
    shape = _read_shape(folder, metadata)
    names = metadata.get("dimension_names")
    if zarr_format == 2:
        names = (read_json(folder / ".zattrs") or {}).get("_ARRAY_DIMENSIONS")
    axes = "".join(n if isinstance(n, str) and len(n) == 1 else "?" for n in _listed(names)).lower()
    is_own = is_axis_order(axes) and len(axes) == len(shape)
    level = Level("", metadata, shape, None, None)
    axes = axes if is_own else default_axes(shape)
    return Multiscale(folder, zarr_format, axes, (level,), is_plain=True, has_own_axes=is_own), level


def _list_children(folder: StorePath, attributes: Mapping[str, Any]) -> list[str]:
    """List the images in a group that is none itself, such as the root that bioformats2raw writes; else its arrays."""
    names: list[object] = []
    if "bioformats2raw.layout" in attributes:
        names = _listed((_read_attributes(folder / "OME")[0] or {}).get("series"))
        numbered = takewhile(lambda n: is_store(folder / str(n)), range(_MAX_IMAGES))
        names = names or [str(n) for n in numbered]
    elif isinstance(folder, Path):
        with store_input_errors(folder), os.scandir(folder) as entries:
            names = [e.name for e in islice(entries, _MAX_IMAGES) if not e.name.startswith(".") and e.is_dir()]
    elif not isinstance(folder, RemotePath):
        names = list(folder.folders()[:_MAX_IMAGES])
    inside = [name for name in names if isinstance(name, str) and _is_part(folder, name)]
    found = [name for name in inside if _holds_image(folder, name)]
    found = found or [name for name in inside if _read_array(folder.joinpath(*name.split("/")))[0] is not None]
    return sorted(found, key=lambda name: (len(name), name))


def _is_part(folder: StorePath, name: str) -> bool:
    return _is_harmless(name) and is_inside(folder.joinpath(*name.split("/")), folder)


def _holds_image(folder: StorePath, name: str) -> bool:
    """Return True if the group of this name in a folder is an image."""
    attributes, _ = _read_attributes(folder.joinpath(*name.split("/")))
    return attributes is not None and bool(_listed(attributes.get("multiscales")))


def _only_image(path: StorePath, folder: StorePath, names: list[str], wanted: str) -> tuple[Multiscale, Level]:
    """Find the image in a group with one. Raises InputError that lists them if there are several."""
    if wanted or len(names) > 1:
        what = f"there is no image {wanted!r} in {folder}" if wanted else f"cannot read {path}: it holds several images"
        raise InputError(f"{what}; name one of its images: {_shorten([f'{folder}/{n}' for n in names])}")
    logger.info("%s: its only image, %s, is read", folder, names[0])
    return find_multiscale(folder.joinpath(*names[0].split("/")))


def _upwards(path: StorePath) -> Sequence[StorePath]:
    """List a path and its parents, up to one with the extension of a Zarr store."""
    folders: list[StorePath] = []
    for folder in (path, *path.parents):
        folders.append(folder)
        if ".zarr" in folder.name.lower():
            break
    return folders


def _read_attributes(folder: StorePath) -> tuple[dict[str, Any] | None, int]:
    """Read the OME attributes of a group, and its Zarr format; None if it is no group."""
    if not is_store(folder):
        return None, 0
    third = read_json(folder / "zarr.json")
    if third is not None:
        attributes = third.get("attributes")
        ome = attributes.get("ome") if isinstance(attributes, dict) else None
        return (ome if isinstance(ome, dict) else {}), 3
    return read_json(folder / ".zattrs") or {}, 2


def _refuse_collections(folder: StorePath, attributes: Mapping[str, Any]) -> None:
    """Raise InputError that lists the images if this is a group of several."""
    found = _find_collection(folder, attributes)
    if found is None:
        return
    kind, names = found
    if not names:
        raise InputError(f"cannot read {folder}: it is {kind} without images")
    there = _shorten([f"{folder}/{n}" for n in names])
    raise InputError(f"cannot read {folder}: it is {kind} and not an image; name one of its images: {there}")


def _find_collection(folder: StorePath, attributes: Mapping[str, Any]) -> tuple[str, list[str]] | None:
    """Return the kind of a group of several images and their paths in it; None if it is no such group."""
    plate, well, labels = attributes.get("plate"), attributes.get("well"), attributes.get("labels")
    if isinstance(plate, dict):
        wells = [name for w in _listed(plate.get("wells")) if isinstance(name := _member(w, "path"), str)]
        return "a plate", [f"{name}/{image}" for name in wells for image in _images_of_well(folder, name)]
    if isinstance(well, dict):
        return "a well", _paths(well.get("images"))
    if isinstance(labels, list):
        return "a collection of labels", [name for name in labels if isinstance(name, str)]
    return None


def _images_of_well(folder: StorePath, name: str) -> list[str]:
    """List the images of a well of a plate; the first one behind a URL, where each well would take a request."""
    if isinstance(folder, RemotePath) or not _is_part(folder, name):
        return ["0"]
    attributes, _ = _read_attributes(folder.joinpath(*name.split("/")))
    well = (attributes or {}).get("well")
    return (_paths(well.get("images")) if isinstance(well, dict) else []) or ["0"]


def _paths(entries: object) -> list[str]:
    return [path for entry in _listed(entries) if isinstance(path := _member(entry, "path"), str)]


def _shorten(names: Sequence[str]) -> str:
    more = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _member(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, dict) else None


def _choose_level(root: StorePath, images: list[object], wanted: str, zarr_format: int) -> tuple[Multiscale, Level]:
    """Choose the image that has the level, or the first one, and the level."""
    found = [_parse_image(root, image, zarr_format) for image in images[:1]]
    if wanted and not any(level.path == wanted for level in found[0].levels):
        found += [_parse_image(root, image, zarr_format) for image in images[1:_MAX_LEVELS]]
    image = next((m for m in found if any(n.path == wanted for n in m.levels)), found[0])
    names = ", ".join(f"{n.path} ({' x '.join(map(str, n.shape))})" for n in image.levels)
    if wanted:
        for level in image.levels:
            if level.path == wanted:
                return image, level
        raise InputNotFound(f"there is no scale {wanted!r} in {root}; it has: {names}")
    level = max(image.levels, key=lambda n: prod(n.shape))
    if len(image.levels) > 1:
        logger.info("%s: scale %s is read, the highest resolution of: %s", root, level.path, names)
    return image, level


def _parse_image(root: StorePath, image: object, zarr_format: int) -> Multiscale:
    if not isinstance(image, dict) or not isinstance(image.get("datasets"), list):
        raise damaged_input(root, "its multiscales metadata name no datasets")
    levels = tuple(_parse_level(root, d, zarr_format) for d in image["datasets"][:_MAX_LEVELS])
    if not levels:
        raise damaged_input(root, "its multiscales metadata name no datasets")
    shape = levels[0].shape
    for level in levels:
        if len(level.shape) != len(shape):
            raise damaged_input(root, "its scales have different numbers of axes")
    axes, units, problem = _parse_axes(image.get("axes"), shape)
    scale, translation = _parse_transformations(root, image.get("coordinateTransformations"), len(axes))
    return Multiscale(root, zarr_format, axes, levels, units, scale, translation, problem)


def _parse_axes(stored: object, shape: tuple[int, ...]) -> tuple[str, dict[str, str], str]:
    """Parse letters and units, and describe a defect of the stored axes, with letters guessed from the shape."""
    names = list(AXES) if stored is None else [a if isinstance(a, str) else _member(a, "name") for a in _listed(stored)]
    axes = "".join(n.lower() if isinstance(n, str) and len(n) == 1 else "?" for n in names)
    shown = ", ".join(map(str, names))[:80] or "not listed"
    if not is_axis_order(axes):
        return default_axes(shape), {}, f"its axes are {shown}, and only t, c, z, y and x are known"
    if len(axes) != len(shape):
        return default_axes(shape), {}, f"its axes are {shown}, but its shape is {shape}"
    units = {a: _member(entry, "unit") for a, entry in zip(axes, _listed(stored), strict=False)}
    return axes, {a: u for a, u in units.items() if isinstance(u, str) and u}, ""


def _parse_level(root: StorePath, dataset: object, zarr_format: int) -> Level:
    path = _member(dataset, "path")
    if not isinstance(path, str) or not _is_harmless(path):
        raise damaged_input(root, f"{path!r} is not the path of a scale in it")
    folder = root.joinpath(*path.split("/"))
    mark = folder / (".zarray" if zarr_format == 2 else "zarr.json")
    if not is_inside(folder, root) or not is_inside(mark, root):
        raise InputError(
            f"cannot read {root}: the scale {path!r} is a link that leads out of it; copy the scale into it"
        )
    metadata = read_json(mark)
    if metadata is None:
        raise InputNotFound(
            f"cannot read {root}: its scale {path!r} is not there, or is not Zarr {zarr_format}; copy or save it again"
        )
    shape = _read_shape(folder, metadata)
    scale, translation = _parse_transformations(folder, _member(dataset, "coordinateTransformations"), len(shape))
    return Level(path, metadata, shape, scale, translation)


def _read_shape(folder: StorePath, metadata: Mapping[str, Any]) -> tuple[int, ...]:
    shape = metadata.get("shape")
    if not isinstance(shape, list) or not 2 <= len(shape) <= 5 or not all(type(n) is int and n >= 0 for n in shape):
        raise InputError(
            f"cannot read {folder}: its shape is {str(shape)[:80]}, and an image has 2 to 5 axes; save a part of it"
        )
    return tuple(shape)


def _is_harmless(path: str) -> bool:
    """Return True for a relative path that does not lead out of its folder."""
    return not any(p in ("", ".", "..") or re.search(r"[\\:\x00-\x1f]", p) for p in path.split("/"))


def _parse_transformations(
    where: StorePath, stored: object, ndim: int
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Parse scale and translation of a list of transformations; unknown ones are logged and left out."""
    found: dict[str, tuple[float, ...]] = {}
    for entry in _listed(stored):
        kind = _member(entry, "type")
        if kind not in ("scale", "translation"):
            continue
        numbers = _member(entry, str(kind))
        values = [float(n) for n in _listed(numbers) if isinstance(n, int | float) and abs(n) < _MAX_SIZE]
        if len(values) == len(_listed(numbers)) == ndim:
            found[str(kind)] = tuple(values)
        else:
            logger.warning("%s: a %s of pixels that makes no sense is ignored", where, kind)
    return found.get("scale"), found.get("translation")


def multiscale_json(
    shapes: Mapping[str, Sequence[int]],
    *,
    resolution: Mapping[str, float],
    units: Mapping[str, str],
    offset: Sequence[int],
    translation: Mapping[str, float],
) -> dict[str, Any]:
    """Create the entry of ``multiscales`` for arrays with the axes t c z y x, without a version.

    shapes       path -> shape, the largest first
    resolution   pixel sizes of the largest; those of axes along which levels differ go to the levels, others to all
    offset       of the first voxel in the image that contains the arrays; ``translation``: of that image
    """
    pixel = [float(resolution.get(a) or 1.0) for a in AXES]
    first, *others = shapes.values()
    is_scaled = [any(s[i] != first[i] for s in others) for i in range(len(AXES))]

    def of_level(shape: Sequence[int]) -> list[float]:
        factors = zip(pixel, is_scaled, first, shape, strict=True)
        return [p * n / m if scaled else 1.0 for p, scaled, n, m in factors]

    entry: dict[str, Any] = {
        "axes": [{"name": a, "type": _KINDS[a], **({"unit": units[a]} if units.get(a) else {})} for a in AXES],
        "datasets": [
            {"path": path, "coordinateTransformations": [{"type": "scale", "scale": of_level(shape)}]}
            for path, shape in shapes.items()
        ],
    }
    common = [1.0 if scaled else p for p, scaled in zip(pixel, is_scaled, strict=True)]
    shift = [n * p + translation.get(a, 0.0) for a, n, p in zip(AXES, offset, pixel, strict=True)]
    if any(n != 1.0 for n in common) or any(shift):
        entry["coordinateTransformations"] = [{"type": "scale", "scale": common}]
    if any(shift):
        entry["coordinateTransformations"].append({"type": "translation", "translation": shift})
    return entry

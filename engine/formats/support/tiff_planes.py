"""Planes declared in the metadata of a TIFF, and those that its files contain.

tifffile treats planes that it cannot find as zeros, or falls back to those that it finds, and raises nothing. Here the
declared planes of each kind of metadata are counted. Missing strips and tiles of a page are allowed: a sparse file
omits them where the image is empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ....frozen import frozen
from ...errors import InputError, setting
from .ome_xml import OmeImage, read_ome
from .tiff_series import list_series, read_series_axes

__all__ = ["MissingPlanes", "Planes", "check_ndtiff_files", "find_planes"]

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MAX_NAMED = 3  # files in a message
_FALLBACKS = ("uniform", "generic")  # kinds of series that tifffile creates from pages whose metadata it could not use


@frozen
class MissingPlanes:
    """Number of planes that are in no file, of the declared total, and the files that should contain them.

    promise   kind of metadata
    files     name of the file -> number of its missing planes; "" if the metadata name no file
    """

    count: int
    total: int
    promise: str
    files: dict[str, int]

    def describe(self, path: Path) -> str:
        """Describe the missing planes and their files, as one clause."""
        are = "is" if self.count == 1 else "are"
        what = f"{self.count} of {self.total} planes that its {self.promise} promise {are} missing"
        others = self._other_files(path)
        if not others:
            return f"{what}: they should be in the file itself, which has {self.total - self.count}"
        named = ", ".join(f"{name} ({_reason(path, name)})" for name in others[:_MAX_NAMED])
        more = f" and {len(others) - _MAX_NAMED} more files" if len(others) > _MAX_NAMED else ""
        return f"{what}: they should be in {named}{more}"

    def error(self, path: Path) -> InputError:
        """Create the error that refuses such a file."""
        advice = f"bring these files to {path.parent}" if self._other_files(path) else "copy or save it again"
        return InputError(
            f"cannot read {path}: {self.describe(path)}; {advice}, or use {setting('allow_missing_planes')} to read "
            "zeros in their place"
        )

    def _other_files(self, path: Path) -> list[str]:
        return [name for name in self.files if name not in ("", path.name)]


@frozen
class Planes:
    """Image of a TIFF as described by tifffile, and its planes.

    series    completed if tifffile omitted planes
    pages     a tifffile page for each plane, None for a missing one; None instead of the list: none is missing and
              the series finds them by itself
    missing   None: no plane is missing
    notes     lines about other content that is not read
    files     all files of a multi-file image, in the order of the planes; empty for a single file
    """

    series: Any
    pages: Sequence[Any] | None = None
    missing: MissingPlanes | None = None
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()


def find_planes(tiff: Any, series: Any, path: Path) -> Planes:
    """Find every plane of a series of an open TIFF file.

    Raises InputError if a file of the set holds planes of another shape or type.
    """
    image, notes = _read_ome_of(tiff, series)
    if series.kind in _FALLBACKS:
        if image is not None:
            return Planes(series, None, _promised_by_ome(image, series, path), notes)
        if tiff.is_imagej and tiff.imagej_metadata:
            series = _complete_imagej(tiff, series)
    elif series.kind == "mmstack":
        series = _complete_mmstack(tiff, series)
    pages = _list_pages(series)
    files = _list_files(tiff, [series.keyframe] if pages is None else pages, path)
    if pages is None:
        return Planes(series, notes=notes, files=files)
    _check_alike(pages, series, path)
    lost = [i for i, page in enumerate(pages) if page is None]
    if not lost:
        return Planes(series, pages, notes=notes, files=files)
    places = Counter(image.file_of(i, path.name) if image is not None else "" for i in lost)
    promise = {"ome": "OME metadata", "imagej": "ImageJ metadata", "mmstack": "Micro-Manager metadata"}
    missing = MissingPlanes(len(lost), len(pages), promise.get(series.kind, "metadata"), dict(places))
    return Planes(series, pages, missing, notes, files)


def check_ndtiff_files(tiff: Any, path: Path) -> None:
    """Raise InputError if the index of an NDTiff data set names files that do not exist."""
    if not tiff.is_ndtiff:
        return
    import tifffile

    files = Counter(entry[1] for entry in tifffile.read_ndtiff_index(path.parent / "NDTiff.index"))
    lost = {name: count for name, count in files.items() if _reason(path, name) != "too few planes"}
    if lost:
        missing = MissingPlanes(sum(lost.values()), files.total(), "NDTiff index", lost)
        raise InputError(f"cannot read {path}: {missing.describe(path)}; bring these files to {path.parent}")


def _reason(path: Path, name: str) -> str:
    """Reason why planes in a file of this name, next to ``path``, cannot be read."""
    try:
        with open(path.parent / name, "rb") as file:
            return "too few planes" if file.read(4) in _MAGIC else "not a TIFF file"
    except FileNotFoundError:
        return "not there"
    except OSError as error:
        return (error.strerror or str(error)).lower()


# ------------------------------------------------------------------------------------------------------ existing planes


def _list_pages(series: Any) -> list[Any] | None:
    """List a page for every plane; None if the series finds all of them by itself."""
    keyframe, listed = series.keyframe, series._pages
    total = prod(read_series_axes(series).stored_shape) // max(1, prod(keyframe.shape))
    if total <= 1:
        return None
    if len(listed) == 1:
        first = listed[0]
        if first.is_final and (series.dataoffset is not None or series.is_truncated) and not _is_cut(first, total):
            held = _count_in_file(first)
            return None if held >= total else [*_cut_planes(first, held), *[None] * (total - held)]
        held = min(total, len(series.parent.pages) - first.index)
        listed = [series[i] for i in range(held)]
    if series.kind == "mmstack":  # a frame beyond the end of a truncated file is missing
        listed = [None if page is None or not page.offset else page for page in listed]
    return [*listed[:total], *[None] * (total - len(listed))]


def _list_files(tiff: Any, pages: Sequence[Any], path: Path) -> tuple[Path, ...]:
    """List the files of pages, and the opened one; none if that is the only one."""
    parents = {id(page.parent): page.parent for page in pages if page is not None}
    if set(parents) <= {id(tiff)}:
        return ()
    found = [path if parent is tiff else Path(parent.filehandle.path) for parent in parents.values()]
    return tuple(dict.fromkeys(found if id(tiff) in parents else [path, *found]))


def _is_cut(first: Any, total: int) -> bool:
    """Return True if the next page's directory is in the place of planes that would follow the first one directly."""
    pages = first.parent.pages
    if len(pages) <= first.index + 1:
        return False
    start = first.dataoffsets[0]
    return bool(start < pages[first.index + 1].offset < start + total * first.nbytes)


def _count_in_file(page: Any) -> int:
    """Number of contiguous planes like this one that fit into the file from this one on."""
    return int(max(0, page.parent.filehandle.size - page.dataoffsets[0]) // max(1, page.nbytes))


def _cut_planes(first: Any, count: int) -> list[Any]:
    """Create pages for contiguous planes, of which only the first has a page in the file."""
    import tifffile

    return [
        tifffile.TiffFrame(
            first.parent,
            first.index + i,
            offset=None,
            keyframe=first.keyframe,
            dataoffsets=tuple(offset + i * first.nbytes for offset in first.dataoffsets),
            databytecounts=first.databytecounts,
        )
        for i in range(count)
    ]


def _check_alike(pages: Sequence[Any], series: Any, path: Path) -> None:
    """Raise InputError if a file of the set has planes of another shape or type than the first one."""
    wanted = series.keyframe
    for keyframe in {id(page.keyframe): page.keyframe for page in pages if page is not None}.values():
        if keyframe.shape != wanted.shape or keyframe.dtype != wanted.dtype:
            raise InputError(
                f"cannot read {path}: it is an image of several files, and the planes of "
                f"{keyframe.parent.filehandle.name} are {keyframe.shape} {keyframe.dtype}, not {wanted.shape} "
                f"{wanted.dtype} as those of {wanted.parent.filehandle.name}; copy all files of the set again"
            )


# --------------------------------------------------------------------------------------------------- declared planes


def _read_ome_of(tiff: Any, series: Any) -> tuple[OmeImage | None, tuple[str, ...]]:
    """Read the OME image of a series, and list other images of the metadata that are not read."""
    if not tiff.is_ome or series.kind not in ("ome", *_FALLBACKS):
        return None, ()
    ome = read_ome(tiff.ome_metadata or "")
    if ome.metadata_file:
        line = f"its OME metadata are in {ome.metadata_file}, which is not read; only the planes of this file are"
        return None, (line,)
    if not ome.images:
        return None, ()
    names = [image for image in ome.images if series.kind == "ome" and (image.name or "") == series.name]
    shape = read_series_axes(series).stored_shape
    names = names or list(ome.images)
    planes = prod(shape) // max(1, prod(series.keyframe.shape))
    chosen = next((image for image in names if image.plane_count == planes), names[0])
    others = len(ome.images) - len(list_series(tiff))
    if series.kind != "ome" or others <= 0:
        return chosen, ()
    return chosen, (f"its OME metadata describe {others} more image{'s' if others > 1 else ''}, with no planes here",)


def _promised_by_ome(image: OmeImage, series: Any, path: Path) -> MissingPlanes | None:
    """Return the missing planes if the file was read as plain pages because no declared plane was found."""
    total, found = image.plane_count, len(series)
    if total <= found:
        return None
    files = Counter(image.file_of(i, path.name) for i in range(total))
    return MissingPlanes(total - found, total, "OME metadata", dict(files))


def _complete_imagej(tiff: Any, series: Any) -> Any:
    """Complete a series to all planes of ImageJ's metadata, if tifffile fell back to fewer."""
    meta, page = tiff.imagej_metadata, tiff.pages.first
    sizes = {axis: meta.get(name, 1) for axis, name in (("T", "frames"), ("Z", "slices"), ("C", "channels"))}
    if not all(isinstance(n, int) and n > 0 for n in sizes.values()):
        return series
    if page.shaped[0] == sizes["C"] or page.shaped[4] == sizes["C"]:  # channels within a page
        sizes["C"] = 1
    if prod(sizes.values()) == 1 and isinstance(meta.get("images"), int):
        sizes["Z"] = max(1, meta["images"])
    total, count = prod(sizes.values()), len(tiff.pages)
    if total <= count or page.shape != series.keyframe.shape:
        return series
    held = [tiff.pages[i] for i in range(count)]
    if count == 1 and page.is_final:  # one page for all planes, which are contiguous
        held = _cut_planes(page, max(1, min(total, _count_in_file(page))))
    order = {"czt": "TZC", "ctz": "ZTC", "zct": "TCZ", "ztc": "CTZ", "tcz": "ZCT", "tzc": "CZT"}
    axes = order.get(str(meta.get("order", "czt")).lower(), "TZC")
    return _make_series(tiff, [*held, *[None] * (total - len(held))], [sizes[a] for a in axes], axes, page, "imagej")


def _complete_mmstack(tiff: Any, series: Any) -> Any:
    """Complete a series to all planes of Micro-Manager's summary; tifffile omits missing files."""
    settings = tiff.micromanager_metadata
    names = {"C": "Channels", "Z": "Slices", "T": "Frames", "R": "Positions"}
    columns = {"C": 0, "Z": 1, "T": 2, "R": 3}
    stored = read_series_axes(series)
    axes = stored.stored_axes[: -len(series.keyframe.shape)]
    found = stored.stored_shape[: len(axes)]
    if not set(axes) <= set(names):
        return series
    first = np.min(settings["IndexMap"][:, :4], axis=0)
    starts = [int(first[columns[a]]) for a in axes]
    promised = [int(settings["Summary"].get(names[a], 1)) for a in axes]
    if all(p <= n for p, n in zip(promised, found, strict=True)):
        return series
    shape = [max(p, s + n) for p, s, n in zip(promised, starts, found, strict=True)]
    if prod(shape) > max(1 << 20, 1000 * prod(found)):
        raise ValueError(f"Micro-Manager's summary declares {prod(shape)} planes, which is implausible")
    pages = np.full(shape, None, object)
    held = np.empty(len(series._pages), object)
    held[:] = series._pages
    pages[tuple(slice(s, s + n) for s, n in zip(starts, found, strict=True))] = held.reshape(found)
    return _make_series(tiff, pages.reshape(-1).tolist(), shape, axes, series.keyframe, "mmstack")


def _make_series(tiff: Any, pages: Sequence[Any], sizes: Sequence[int], axes: str, keyframe: Any, kind: str) -> Any:
    import tifffile

    shape, letters = (*sizes, *keyframe.shape), axes + keyframe.axes
    return tifffile.TiffPageSeries(pages, shape, keyframe.dtype, letters, parent=tiff, kind=kind, truncated=True)

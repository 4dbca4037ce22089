"""TIFF: one level of one series, read by region; single pictures written. Stacks: multipage_tiff.py.

Axes are those found by tifffile, with samples as channels and an image sequence as time; colour maps are ignored. The
series of whole slides and other files of several images is chosen in tiff_choice.py. Only the strips or tiles that a
region needs are read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from ....box import Box
from ...axes import default_axes, is_axis_order
from ...errors import InputNotFound, damaged_input, unreadable_input
from ...storage.chunks import cut_range
from ...storage.file_reads import FilePool, OpenFile
from ...storage.pixel_types import check_image
from ...storage.thread_limit import thread_limit
from ..spec import ImageInfo, ImageReader, ImageSpec, InputFormat, Limits, Scales
from ..support.library_errors import library_errors
from ..support.picture_writers import DescribedStore, Store, picture_formats
from ..support.segment_cache import SegmentCache
from ..support.signature import TIFF_SIGNATURES

if TYPE_CHECKING:
    from ..support.tiff_choice import Choice
    from ..support.tiff_planes import Planes
    from ..support.tiff_series import SeriesAxes

__all__ = ["INPUT", "OUTPUTS", "needs_bigtiff", "open_tiff"]

_CACHE_BYTES = 64 << 20  # decoded strips and tiles kept per file; the latest one is kept whatever its size
_MAX_EXPANSION = 20_000  # plausible ratio of decoded to stored bytes
_PLAUSIBLE_BYTES = 64 << 20  # the expansion of segments up to this size is not checked
_DTYPES = frozenset(["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64"])


def open_tiff(path: Path, internal_path: str = "") -> ImageReader:
    """Open the main series of a TIFF file, or the one of an internal path. Raises InputError, InputNotFound."""
    return TiffReader(path, internal_path)


def open_incomplete_tiff(path: Path, internal_path: str = "") -> ImageReader:
    """Open a TIFF file; planes mentioned in its metadata but in no file are zeros. Raises as ``open_tiff``."""
    return TiffReader(path, internal_path, allow_missing=True)


def list_images(path: Path) -> tuple[str, ...]:
    """Names of all series of a TIFF file; the only one has none. Raises InputError, InputNotFound."""
    from ..support.tiff_choice import series_names

    with _open_file(path) as tiff:
        names: tuple[str, ...] = library_errors(path, lambda: series_names(tiff))
        return names if len(names) > 1 else ("",)


class TiffReader(ImageReader):
    """Reader of a TIFF. Uncompressed pages are read directly, others decoded segment by segment and cached."""

    def __init__(self, path: Path, internal: str = "", *, allow_missing: bool = False) -> None:
        self._internal = internal
        self._path, self._lock, self._allow_missing = path, Lock(), allow_missing
        self._tiff = _open_file(path)
        self._others = FilePool()
        self._whole: np.ndarray | None = None
        self._offset: int | None = None
        try:
            self._file = OpenFile(path, str(path))
        except OSError as error:
            self._tiff.close()
            raise unreadable_input(path, error) from error
        try:
            self._translate(self._look)
        except BaseException:
            self.close()
            raise

    def _look(self) -> None:
        from ..support.tiff_choice import choose_series
        from ..support.tiff_pixel_size import read_pixel_size
        from ..support.tiff_planes import Planes, check_ndtiff_files, find_planes
        from ..support.tiff_series import PageGrid, read_series_axes

        self._check_chain()
        check_ndtiff_files(self._tiff, self._path)
        choice = choose_series(self._tiff, self._internal, self._path)
        # levels and the images of slides have no metadata that promise planes
        is_complete = choice.is_slide or choice.number
        planes = Planes(choice.level) if is_complete else find_planes(self._tiff, choice.level, self._path)
        if planes.missing is not None and not self._allow_missing:
            raise planes.missing.error(self._path)
        series = self._series = planes.series
        self._planes = planes.pages
        self._page = page = series.keyframe
        series_axes = read_series_axes(series)
        shape = self._shape = series_axes.shape
        self._dtype = check_image(self._path, shape, np.dtype(series.dtype))
        axes, own_axes = _read_axes(series_axes)
        if min(shape) < 1:
            raise damaged_input(self._path, f"the image is empty (shape {shape})")
        resolution, units = read_pixel_size(self._tiff, axes, choice)
        self._pages = PageGrid(series, series_axes, len(series if self._planes is None else self._planes))
        self._cache = SegmentCache(self._decode_segment, _CACHE_BYTES)
        self.files = planes.files
        self.warnings = (*planes.notes, *self._describe_missing(planes))
        if planes.missing is None or planes.pages is None:
            self._offset = self._find_series()
        if self._offset is None and not self._pages.is_regular:
            if planes.missing is not None:
                raise planes.missing.error(self._path)
            self._check_expansion(series.nbytes, self._file.size)
            self._whole = series.asarray(maxworkers=thread_limit()).reshape(shape)
        is_plain = self._offset is not None or self._whole is not None
        chunks = None if is_plain else self._pages.chunks
        from ..support.tiff_range import read_range  # only runs with TIFF files need it

        drange = read_range(page.description, self._dtype)
        scales = _describe_levels(choice) if choice.is_slide else None
        self.info = ImageInfo(shape, self._dtype, axes, own_axes, drange, None, units, resolution, chunks, scales)
        if len(choice.names) > 1:
            self.siblings = choice.names
        if not is_plain:
            self._check_count(page)
            self._check_extent(page)

    def _describe_missing(self, planes: Planes) -> tuple[str, ...]:
        if planes.missing is None:
            return ()
        end = "zeros are read in their place"
        if planes.pages is None:
            end = f"only the {len(planes.series)} planes in the file are read, since the metadata place none of them"
        return (f"{planes.missing.describe(self._path)}; {end}",)

    def _check_chain(self) -> None:
        """Refuse a file whose list of pages leads beyond its end; tifffile would omit the following pages."""
        big = self._tiff.is_bigtiff
        # NDPI has the entries of a TIFF and the offsets of a BigTIFF
        count_size, entry_size, offset_size = (8, 20, 8) if big else (2, 12, self._tiff.tiff.offsetsize)
        seen: set[int] = set()
        at = self._number(8 if big else 4, offset_size)
        while at and at not in seen:
            seen.add(at)
            at = self._number(at + count_size + entry_size * self._number(at, count_size), offset_size)

    def _number(self, at: int, size: int) -> int:
        if at + size > self._file.size:
            raise damaged_input(
                self._path, f"its list of pages leads beyond the end of the file ({self._file.size} bytes)"
            )
        data = self._file.read(at, size)
        return int.from_bytes(data, "little" if self._tiff.byteorder == "<" else "big")

    def _find_series(self) -> int | None:
        """Find the offset of a series stored as one array, or None if it is not stored contiguously."""
        series = self._series
        if self.files or series.dataoffset is None or series.transform is not None:
            return None
        self._check_end(series.dataoffset, series.dtype, self._shape, self._file)
        return int(series.dataoffset)

    def _check_end(self, offset: int, dtype: Any, shape: tuple[int, ...], file: OpenFile) -> None:
        stop = offset + math.prod(shape) * np.dtype(dtype).itemsize
        if stop > file.size:
            raise damaged_input(
                self._path,
                f"it declares an image of shape {shape} and type {np.dtype(dtype).name}, which would need {stop} "
                f"bytes, but the file has {file.size}; it is truncated or damaged",
            )

    @contextmanager
    def _file_of(self, page: Any) -> Iterator[OpenFile]:
        """Borrow the file that a page is in: this one, or another one of a set."""
        if page.parent is self._tiff:
            yield self._file
        else:
            with self._others.borrow(Path(page.parent.filehandle.path)) as file:
                yield file

    def _check_count(self, page: Any) -> None:
        """Refuse a page whose list of strips or tiles is not complete."""
        count = math.prod(self._pages.grid)
        if len(page.dataoffsets) != count or len(page.databytecounts) != count:
            raise damaged_input(
                self._path,
                f"an image of shape {page.keyframe.shape} needs {count} strips or tiles, but the file lists "
                f"{len(page.dataoffsets)}; it is damaged",
            )

    def _check_extent(self, page: Any) -> None:
        """Refuse a page that is not within the file, before anything is computed."""
        ends = (offset + size for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True))
        if page.parent is self._tiff and max(ends) > self._file.size:
            raise damaged_input(
                self._path, f"image data lies beyond the end of the file ({self._file.size} bytes); it is truncated"
            )

    def verify(self) -> None:
        """Check every page: its list of strips or tiles, and that they are within the file."""
        if self._whole is not None or self._offset is not None:
            return
        for number in range(len(self._series if self._planes is None else self._planes)):
            self._translate(partial(self._verify_page, number))
        if self._page.compression != 1:
            self.unchecked = "the compressed strips or tiles"

    def _verify_page(self, number: int) -> None:
        with self._lock:
            page = self._series[number] if self._planes is None else self._planes[number]
        if page is None:
            return
        self._check_count(page)
        with self._file_of(page) as file:
            file_size = file.size
            if self._is_stored(page):
                self._check_end(page.dataoffsets[0], page.dtype, self._pages.page_shape, file)
                return
        decoded = math.prod(self._pages.segment) * page.keyframe.dtype.itemsize
        for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True):
            if not (offset and size):
                continue  # sparse
            self._check_expansion(decoded, size)
            if offset + size > file_size:
                raise damaged_input(
                    self._path,
                    f"image data of page {number + 1} lies beyond the end of {page.parent.filehandle.name} "
                    f"({file_size} bytes); it is truncated",
                )

    def _check_expansion(self, decoded: int, stored: int) -> None:
        if decoded > max(_PLAUSIBLE_BYTES, stored * _MAX_EXPANSION):
            raise damaged_input(
                self._path,
                f"{stored} stored bytes cannot give the {decoded} bytes of image that the header declares",
            )

    def _translate(self, action: Callable[[], Any]) -> Any:
        return library_errors(self._path, action)

    def read(self, box: Box) -> np.ndarray:
        if self._whole is not None:
            return np.array(self._whole[box.slices()], self._dtype, order="C")
        if self._offset is not None:
            stored = np.dtype(self._series.dtype).newbyteorder(self._tiff.byteorder)
            return self._file.read_box(self._offset, self._shape, stored, box).astype(self._dtype, copy=False)
        result = np.empty(box.shape, self._dtype)
        self._translate(lambda: self._fill(result, box))
        return result

    def _fill(self, result: np.ndarray, box: Box) -> None:
        """Copy the region page by page."""
        lead = self._pages.lead
        full = self._pages.expand(box)
        out = result.reshape(full.shape)
        for position in product(*(range(a, b) for a, b in zip(full.start[:lead], full.stop[:lead], strict=True))):
            number = int(np.ravel_multi_index(position, self._pages.shape[:lead])) if lead else 0
            into = out[tuple(p - a for p, a in zip(position, full.start[:lead], strict=True))]
            self._fill_page(into, number, Box(full.start[lead:], full.stop[lead:]))

    def _is_stored(self, page: Any) -> bool:
        """Return True for pages whose pixels are stored contiguously and uncompressed."""
        return bool(page.is_final) and self._page.dtype.name != "bool"

    def _fill_page(self, into: np.ndarray, number: int, box: Box) -> None:
        with self._lock:  # looking up a page may read its directory
            page = self._series[number] if self._planes is None else self._planes[number]
        if page is None:
            into[...] = 0
            return
        self._check_count(page)
        if self._is_stored(page):
            self._copy_stored(into, page, box)
            return
        normal = self._pages.normalise(box)
        target = into.reshape(normal.shape)
        size, strides = self._pages.segment, self._pages.grid_strides
        for steps in product(*map(cut_range, normal.start, normal.stop, size)):
            corner, inside, part = zip(*steps, strict=True)
            index = sum(c // n * stride for c, n, stride in zip(corner, size, strides, strict=False))
            data = self._cache.get(number, index, page)
            target[inside] = self._page.nodata if data is None else data[part]

    def _copy_stored(self, into: np.ndarray, page: Any, box: Box) -> None:
        """Copy a part of a page whose pixels are contiguous in the file."""
        dtype = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
        with self._file_of(page) as file:
            self._check_end(page.dataoffsets[0], dtype, self._pages.page_shape, file)
            into[...] = file.read_box(page.dataoffsets[0], self._pages.page_shape, dtype, box)

    def _decode_segment(self, page: Any, index: int) -> np.ndarray | None:
        """Decode one strip or tile as (separate sample, depth, length, width, sample); None if it is not stored."""
        keyframe = page.keyframe
        offset, size = page.dataoffsets[index], page.databytecounts[index]
        data = None
        if offset and size:
            with self._file_of(page) as file:
                if offset + size > file.size:
                    raise damaged_input(self._path, "it ends within a strip or tile; it is truncated")
                data = file.read(offset, size)
            self._check_expansion(math.prod(self._pages.segment) * keyframe.dtype.itemsize, size)
        extra: dict[str, Any] = {}
        if keyframe.compression in (6, 7, 34892, 33007):  # the JPEG family
            extra = {"jpegtables": page.jpegtables, "jpegheader": keyframe.jpegheader}
        array: np.ndarray | None = keyframe.decode(data, index, **extra)[0]
        return None if array is None else array[np.newaxis]

    def close(self) -> None:
        with self._lock:
            self._tiff.close()
            self._whole = None
        self._others.close()
        self._file.close()


def _open_file(path: Path) -> Any:
    import tifffile

    try:
        return tifffile.TiffFile(path)
    except FileNotFoundError:
        raise InputNotFound(f"there is no file {path}") from None
    except Exception as error:  # tifffile raises nearly every exception type on damaged files
        raise unreadable_input(path, error) from error


def _describe_levels(choice: Choice) -> Scales | None:
    """Describe the levels of a slide, by their numbers."""
    from ..support.tiff_series import read_series_axes

    if len(choice.levels) < 2:
        return None
    shapes = {}
    for number, level in enumerate(choice.levels):
        found = read_series_axes(level)
        letters = found.axes.lower().replace("s", "c").replace("i", "t")
        shapes[str(number)] = dict(zip(letters, found.shape, strict=True))
    return Scales(str(choice.number), shapes)


def _read_axes(series: SeriesAxes) -> tuple[str, bool]:
    """Read the axes of a series, and whether the file itself states them."""
    stored, shape = series.axes, series.shape
    axes = stored.lower().replace("s", "c").replace("i", "t")
    if is_axis_order(axes):
        return axes, "I" not in stored
    return default_axes(shape), False


# --- writing -----------------------------------------------------------------------------------------------------


def needs_bigtiff(nbytes: int, pages: int) -> bool:
    """Return True if the data and a directory for each page could exceed 32-bit offsets."""
    return nbytes + pages * 1024 + (1 << 16) > (1 << 32) - (1 << 25)


def _store_with_range(spec: ImageSpec) -> Store:
    """Make the function that stores the pictures of a result with the range of its values, unless it was stretched."""
    from ..support.tiff_range import imagej_description, range_entry

    def store(path: Path, plane: np.ndarray) -> None:
        text = imagej_description(spec) if plane.shape[2] == 1 else range_entry(spec)
        _store_tiff(path, plane, text if plane.dtype == spec.dtype else "")

    return store


def _store_tiff(path: Path, plane: np.ndarray, description: str) -> None:
    """Store one picture in vigra's layout: LZW without predictor, interleaved, strips of about 4 MB of float pixels."""
    import tifffile

    height, width, bands = plane.shape
    with tifffile.TiffWriter(path, byteorder="<", bigtiff=needs_bigtiff(plane.nbytes, 1)) as writer:
        writer.write(
            plane[..., 0] if bands == 1 else plane,
            photometric="rgb" if bands > 2 else "minisblack",
            planarconfig=None if bands == 1 else "contig",
            extrasamples=None if bands in (1, 3) else ("unassalpha",),
            compression="lzw",
            predictor=False,
            rowsperstrip=min(height, max(1, (1 << 20) // (width * bands))),
            metadata=None,
            description=description or None,
            software=False,
            extratags=[(274, "H", 1, 1, True)],  # orientation: top left
        )


_PICTURE = Limits(_DTYPES - {"int64", "uint64"}, stretches=True, max_dims=2, channels=frozenset({1, 2, 3, 4}))
_SUMMARY = "one picture, LZW, 1 to 4 channels"

_EXTENSIONS = ("tif", "tiff", "btf", "tf2", "tf8", "lsm", "stk", "svs", "ndpi", "scn", "qptiff", "bif")
INPUT = InputFormat(
    "TIFF",
    _EXTENSIONS,
    open_tiff,
    list_images=list_images,
    container_extensions=_EXTENSIONS,
    open_incomplete=open_incomplete_tiff,
    is_content=lambda head: head.startswith(TIFF_SIGNATURES),
)
OUTPUTS = (
    *picture_formats("tif", DescribedStore(_store_with_range), _PICTURE, _SUMMARY, signatures=TIFF_SIGNATURES),
    *picture_formats("tiff", DescribedStore(_store_with_range), _PICTURE, _SUMMARY, signatures=TIFF_SIGNATURES),
)

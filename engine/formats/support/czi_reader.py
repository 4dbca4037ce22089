"""CZI of Zeiss: the scenes of a file, read by region from the subblocks that it needs.

Tiles of a mosaic that overlap are drawn in the order of their numbers, as by Zeiss's own library. Lower resolutions
that a file holds are not used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ....box import Box
from ....frozen import frozen
from ...errors import InputError, InputNotFound, as_marked, setting, unreadable_input
from ...storage.file_reads import OpenFile
from ...storage.pixel_types import pixel_type
from ..spec import ImageInfo, ImageReader
from .czi_directory import Subblock, read_metadata, read_subblocks, voxels_position
from .image_names import choose_image
from .library_errors import library_errors
from .segment_cache import SegmentCache

__all__ = ["CziReader", "list_scenes"]

_CACHE_BYTES = 64 << 20  # decoded subblocks
_MAX_EXPANSION = 20_000  # plausible ratio of decoded to stored bytes
_PLAUSIBLE_BYTES = 64 << 20
_UNCOMPRESSED, _JPEG, _JPEG_XR, _ZSTD_0, _ZSTD_1 = 0, 1, 4, 5, 6
_PLANES = "TZC"  # dimensions of planes, in the order of the axes
# Dimensions that an image here does not have.
_OTHERS = {"R": "rotations", "I": "illuminations", "H": "phases", "V": "views", "B": "blocks"}


@frozen
class _Tile:
    """A subblock of one plane, at a place of the scene."""

    number: int
    block: Subblock
    y: int
    x: int

    @property
    def box(self) -> Box:
        return Box((self.y, self.x), (self.y + self.block.size["Y"], self.x + self.block.size["X"]))


class CziReader(ImageReader):
    """Reader of a scene, with those of the axes t, z, y, x, c that are longer than 1. Several threads may read."""

    unchecked = "the subblocks"

    def __init__(self, path: Path, internal: str = "", *, allow_missing: bool = False) -> None:
        self._path = path
        self._file = _open(path)
        try:
            blocks = self._translate(lambda: read_subblocks(self._file))
            scenes, names = _list_scenes(blocks)
            scene = scenes[choose_image(names, internal, path)]
            if len(names) > 1:
                self.siblings = names
            own = [b for b in blocks if b.is_full and b.start.get("S", 0) == scene]
            self._translate(lambda: self._arrange(own, allow_missing=allow_missing))
        except BaseException:
            self.close()
            raise
        self._cache = SegmentCache(self._decode, _CACHE_BYTES)

    def _arrange(self, blocks: Sequence[Subblock], *, allow_missing: bool) -> None:
        """Sort the subblocks of a scene by plane, and describe the image."""
        if not blocks:
            raise ValueError("the scene has no subblocks of full resolution")
        for letter in sorted({a for b in blocks for a in b.start} - {*"XYSM", *_PLANES}):
            if len({b.start.get(letter, 0) for b in blocks}) > 1 or any(b.size.get(letter, 1) > 1 for b in blocks):
                what = _OTHERS.get(letter, "positions")
                raise InputError(
                    f"it has several {what} (dimension {letter}), which is not supported; export one in ZEN"
                )
        if any(b.size.get(a, 1) > 1 for b in blocks for a in _PLANES):
            raise InputError("subblocks of several planes are not supported; export it as OME-TIFF")
        types = {b.pixels() for b in blocks}
        if len(types) > 1:
            raise InputError(
                "its channels have pixels of different types, which is not supported; export them one by one in ZEN"
            )
        ((self._stored, self._samples),) = types
        odd = sorted({b.compression for b in blocks} - {_UNCOMPRESSED, _JPEG, _JPEG_XR, _ZSTD_0, _ZSTD_1})
        if odd:
            raise InputError(f"its compression, number {odd[0]} of CZI, is not supported; save it uncompressed in ZEN")
        starts = {a: min(b.start.get(a, 0) for b in blocks) for a in "YX" + _PLANES}
        counts = [max(b.start.get(a, 0) for b in blocks) - starts[a] + 1 for a in _PLANES]
        height, width = (max(b.start[a] + b.size[a] for b in blocks) - starts[a] for a in "YX")
        self._tiles: dict[tuple[int, ...], list[_Tile]] = {}
        for number, block in sorted(enumerate(blocks), key=lambda each: each[1].start.get("M", 0)):
            plane = tuple(block.start.get(a, 0) - starts[a] for a in _PLANES)
            tile = _Tile(number, block, block.start["Y"] - starts["Y"], block.start["X"] - starts["X"])
            self._tiles.setdefault(plane, []).append(tile)
        missing = int(np.prod(counts, dtype=np.int64)) - len(self._tiles)
        if missing:
            what = f"{missing} of {missing + len(self._tiles)} planes are missing"
            if not allow_missing:
                raise InputError(f"{what}; {setting('allow_missing_planes')} reads zeros in their place")
            self.warnings = (f"{what}; zeros are read in their place",)
        sizes = (counts[0], counts[1], height, width, counts[2] * self._samples)
        kept = [i for i, n in enumerate(sizes) if n > 1 or i in (2, 3)]
        axes = "".join("tzyxc"[i] for i in kept)
        self._kept, self._sizes = kept, sizes
        first = next(iter(self._tiles.values()))[0].block
        unit = (1, 1, min(first.size["Y"], height), min(first.size["X"], width), self._samples)
        resolution = self._read_pixel_size(axes)
        self.info = ImageInfo(
            tuple(sizes[i] for i in kept),
            pixel_type(self._stored),
            axes,
            own_axes=True,
            axis_units=dict.fromkeys(resolution, "µm"),
            resolution=resolution,
            chunks=tuple(unit[i] for i in kept),
        )

    def _read_pixel_size(self, axes: str) -> dict[str, float]:
        """Read the sizes of pixels in µm; the metadata have them in m."""
        metadata = read_metadata(self._file)
        found: dict[str, float] = {}
        for element in () if metadata is None else metadata.iterfind(".//Scaling/Items/Distance"):
            try:
                size = float(element.findtext("Value", "0")) * 1e6
            except ValueError:
                continue
            if 0 < size < 1e12:
                found[element.get("Id", "").lower()] = float(f"{size:.12g}")
        return {a: found[a] for a in axes if a in found and a in "zyx"}

    def read(self, box: Box) -> np.ndarray:
        start, stop = [0] * 5, list(self._sizes)
        for i, a, b in zip(self._kept, box.start, box.stop, strict=True):
            start[i], stop[i] = a, b
        whole = Box(tuple(start), tuple(stop))
        result = np.zeros(whole.shape, self.info.dtype)
        self._translate(lambda: self._fill(result, whole))
        return result.reshape(box.shape)

    def _fill(self, result: np.ndarray, box: Box) -> None:
        samples = self._samples
        t0, z0, y0, x0, c0 = box.start
        region = Box((y0, x0), (box.stop[2], box.stop[3]))
        channels = range(c0 // samples, -(-box.stop[4] // samples))
        for t, z, c in product(range(t0, box.stop[0]), range(z0, box.stop[1]), channels):
            low, high = max(c0, c * samples), min(box.stop[4], (c + 1) * samples)
            target = result[t - t0, z - z0, :, :, low - c0 : high - c0]
            for tile in self._tiles.get((t, z, c), ()):
                part = tile.box.intersect(region)
                if not part.is_empty:
                    voxels = self._read_tile(tile, part.relative_to((tile.y, tile.x)))
                    target[part.relative_to(region.start).slices()] = voxels[
                        ..., low - c * samples : high - c * samples
                    ]

    def _read_tile(self, tile: _Tile, part: Box) -> np.ndarray:
        """Read a part of a subblock as (y, x, sample)."""
        block = tile.block
        if block.compression != _UNCOMPRESSED:
            decoded = self._cache.get(tile.number, 0, block)
            assert decoded is not None
            piece: np.ndarray = decoded[part.slices()]
            return piece
        start, size = voxels_position(self._file, block)
        shape = (block.size["Y"], block.size["X"], self._samples)
        if size < int(np.prod(shape, dtype=np.int64)) * self._stored.itemsize:
            raise ValueError("a subblock is smaller than its image")
        whole = Box((*part.start, 0), (*part.stop, self._samples))
        return _to_rgb(self._file.read_box(start, shape, self._stored, whole))

    def _decode(self, block: Subblock, index: int) -> np.ndarray:
        """Decode a compressed subblock as (y, x, sample)."""
        import imagecodecs

        start, stored = voxels_position(self._file, block)
        shape = (block.size["Y"], block.size["X"], self._samples)
        size = int(np.prod(shape, dtype=np.int64)) * self._stored.itemsize
        if size > max(_PLAUSIBLE_BYTES, stored * _MAX_EXPANSION):
            raise ValueError(f"{stored} stored bytes cannot give the {size} bytes of a subblock")
        data = self._file.read(start, stored)
        if block.compression in (_JPEG, _JPEG_XR):
            decode = imagecodecs.jpegxr_decode if block.compression == _JPEG_XR else imagecodecs.jpeg8_decode
            pixels = np.asarray(decode(data))  # in the order RGB
            if pixels.size != int(np.prod(shape, dtype=np.int64)) or pixels.dtype != self._stored:
                raise ValueError(f"a subblock holds {pixels.shape} pixels of {pixels.dtype} instead of {shape}")
            return pixels.reshape(shape)
        return _to_rgb(np.frombuffer(_unpack_zstd(block, data, size), self._stored).reshape(shape))

    def verify(self) -> None:
        """Check that all subblocks are within the file."""
        for tiles in self._tiles.values():
            for tile in tiles:
                self._translate(partial(voxels_position, self._file, tile.block))

    def _translate(self, action: Callable[[], Any]) -> Any:
        return _about(self._path, action)

    def close(self) -> None:
        self._file.close()


def _about(path: Path, action: Callable[[], Any]) -> Any:
    """Run an action that reads the file; every error becomes an InputError that names it."""
    try:
        return library_errors(path, action)
    except InputNotFound:
        raise
    except InputError as error:
        text = error.render(as_marked)
        raise error if str(path) in text else InputError(f"cannot read {path}: {text}") from error


def _open(path: Path) -> OpenFile:
    try:
        return OpenFile(path, str(path))
    except FileNotFoundError:
        raise InputNotFound(f"there is no file {path}") from None
    except OSError as error:
        raise unreadable_input(path, error) from error


def _list_scenes(blocks: Sequence[Subblock]) -> tuple[list[int], tuple[str, ...]]:
    """List the numbers of the scenes, and their names as internal paths."""
    scenes = sorted({b.start.get("S", 0) for b in blocks if b.is_full})
    return scenes, tuple(f"scene{number}" for number in scenes)


def _to_rgb(pixels: np.ndarray) -> np.ndarray:
    """Reorder BGR or BGRA."""
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(pixels.shape[2])
    return pixels if order is None else pixels[..., order]


def _unpack_zstd(block: Subblock, data: bytes, size: int) -> bytes:
    """Decompress; a header may say that the low bytes of all pixels come first, then the high ones."""
    import imagecodecs

    is_split, start = False, 0
    if block.compression == _ZSTD_1 and data:
        start = data[0]
        is_split = start == 3 and data[1] == 1 and bool(data[2] & 1)
    pixels = bytes(imagecodecs.zstd_decode(data[start:], out=size))
    if len(pixels) != size:
        raise ValueError("a subblock is smaller than its image")
    if not is_split:
        return pixels
    return np.frombuffer(pixels, np.uint8).reshape(2, size // 2).T.tobytes()


def list_scenes(path: Path) -> tuple[str, ...]:
    """Names of all scenes of a file. Raises InputError, InputNotFound."""
    file = _open(path)
    try:
        names: tuple[str, ...] = _about(path, lambda: _list_scenes(read_subblocks(file))[1])
        return names
    finally:
        file.close()

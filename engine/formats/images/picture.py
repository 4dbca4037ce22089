"""PNG, JPEG, BMP, GIF and PNM pictures: always axes yxc, the pixels as stored.

What vigra makes of a file is the measure: palettes become RGB (their transparency is dropped), gray below 8 bits is
scaled to 0..255, CMYK stays four channels, EXIF rotation and colour profiles are ignored, GIF gives the first frame,
PNM values are not scaled by maxval, and a set bit of a PBM is 255. The first bytes tell the kind, not the name.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np

from ...box import Box
from ...errors import InputError, InputNotFound, MemoryTooSmall
from ..planes import Store, plane_writer, sequence_writer
from ..spec import ImageInfo, ImageReader, InputFormat, Limits, OutputFormat

__all__ = ["INPUT", "OUTPUTS", "open_picture"]

_HEADER_BYTES = 1 << 16


@dataclass(frozen=True)
class _Header:
    """What the first bytes say: the shape, and how many pixel bytes one byte of such a file can give at most."""

    width: int
    height: int
    channels: int
    dtype: np.dtype
    expansion: float
    decode: Callable[[bytes], np.ndarray]


def _read_png_header(data: bytes) -> _Header:
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise ValueError("the file is truncated")
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    channels = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}.get(colour)
    if channels is None or depth not in (1, 2, 4, 8, 16):
        raise ValueError(f"colour type {colour} with {depth} bits does not exist in PNG")
    # deflate gives at most 1032 bytes for one; a 1-bit pixel then becomes three bytes (palette)
    expansion = 1032.0 * (8 / depth if depth < 8 else 1) * (3 if colour == 3 else 1)

    def decode(data: bytes) -> np.ndarray:
        import imagecodecs

        # The decoder adds the transparency of palettes and of single colours as a channel that nobody asked for.
        pixels: np.ndarray = np.atleast_3d(imagecodecs.png_decode(data))[..., :channels]
        return pixels

    return _Header(width, height, channels, np.dtype(np.uint16 if depth == 16 else np.uint8), expansion, decode)


_JPEG_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")


def _read_jpeg_header(data: bytes) -> _Header:
    at = 2
    while True:
        match = _JPEG_MARKER.search(data, at)
        if match is None or match.end() + 2 > len(data):
            raise ValueError("the file is truncated or holds no picture")
        at, marker = match.end(), match[1][0]
        if marker in _JPEG_FRAME:
            if at + 8 > len(data):
                raise ValueError("the file is truncated")
            bits, height, width, channels = struct.unpack(">BHHB", data[at + 2 : at + 8])
            break
        if marker not in (0x01, 0xD8):
            at += struct.unpack(">H", data[at : at + 2])[0]
    if bits != 8 or channels not in (1, 3, 4):
        raise ValueError(f"JPEG with {channels} channels of {bits} bits is not supported")
    # a block of 64 pixels takes at least one bit with Huffman codes, a little less with arithmetic ones
    return _Header(width, height, channels, np.dtype(np.uint8), 64.0 * 64 * channels, _decode_jpeg)


def _decode_jpeg(data: bytes) -> np.ndarray:
    import imagecodecs

    if not _is_complete_jpeg(data):
        raise ValueError("the file is truncated")
    return np.atleast_3d(imagecodecs.jpeg8_decode(data))


def _is_complete_jpeg(data: bytes) -> bool:
    """True if the end marker follows the last scan; libjpeg itself fills what is missing with grey."""
    at = 2
    while (match := _JPEG_MARKER.search(data, at)) is not None:
        at, marker = match.end(), match[1][0]
        if marker == 0xD9:
            return True
        if marker not in (0x01, 0xD8):
            if at + 2 > len(data):
                return False
            at += struct.unpack(">H", data[at : at + 2])[0]
    return False


def _read_pillow_header(data: bytes) -> _Header:
    """BMP and GIF. The plugins are used directly: ``Image.open`` refuses or warns about large pictures."""
    picture = _open_with_pillow(data)
    table = _palette(picture)
    is_gray = (picture.mode in ("1", "L")) if table is None else bool((table == table[:, :1]).all())
    channels = 1 if is_gray else 4 if picture.mode == "RGBA" else 3

    def decode(data: bytes) -> np.ndarray:
        picture = _open_with_pillow(data)
        table = _palette(picture)
        picture.load()
        if table is not None and picture.mode == "P":
            indices = np.asarray(picture)
            if indices.max(initial=0) >= len(table):
                raise ValueError("a pixel lies outside the palette")
            colours: np.ndarray = table[indices]
            return colours[..., :channels]
        if picture.mode not in ("1", "L", "RGB", "RGBA"):
            picture = picture.convert("RGB")
        pixels = np.atleast_3d(np.asarray(picture))
        return pixels * np.uint8(255) if pixels.dtype == bool else pixels

    # run-length and dictionary codes: a GIF code of 12 bits stands for 4096 pixels at most, a BMP run for 255
    return _Header(picture.width, picture.height, channels, np.dtype(np.uint8), 4096.0 * 3, decode)


def _open_with_pillow(data: bytes) -> Any:
    from PIL import BmpImagePlugin, GifImagePlugin

    plugin = GifImagePlugin.GifImageFile if data[:3] == b"GIF" else BmpImagePlugin.BmpImageFile
    try:
        return plugin(io.BytesIO(data))
    except (SyntaxError, OSError, EOFError, IndexError, struct.error) as error:
        raise ValueError(str(error) or "the header is damaged") from None


def _palette(picture: Any) -> np.ndarray | None:
    """The colours of a palette picture as (n, 3) uint8."""
    if picture.mode != "P" or picture.palette is None:
        return None
    order = picture.palette.rawmode or picture.palette.mode
    table = np.frombuffer(bytes(picture.palette.palette), np.uint8)
    table = table[: len(table) // len(order) * len(order)].reshape(-1, len(order))
    return np.stack([table[:, order.index(colour)] for colour in "RGB"], axis=1)


_PNM_HEADER = re.compile(rb"P([1-6])" + rb"(?:\s|#[^\n]*\n)+([0-9]{1,9})" * 2)
_PNM_MAXVAL = re.compile(rb"(?:\s|#[^\n]*\n)+([0-9]{1,10})")


def _read_pnm_header(data: bytes) -> _Header:
    match = _PNM_HEADER.match(data)
    if match is None:
        raise ValueError("the header is damaged")
    kind, width, height, at, maxval = int(match[1]), int(match[2]), int(match[3]), match.end(), 1
    if kind not in (1, 4):
        match = _PNM_MAXVAL.match(data, at)
        if match is None or not 0 < int(match[1]) < 1 << 32:
            raise ValueError("the largest value in the header is damaged")
        maxval, at = int(match[1]), match.end()
    channels = 3 if kind in (3, 6) else 1
    dtype = np.dtype(np.uint8 if maxval < 1 << 8 else np.uint16 if maxval < 1 << 16 else np.uint32)
    shape = (height, width, channels)

    def decode(data: bytes) -> np.ndarray:
        count = height * width * channels
        if kind == 4:
            rows = np.frombuffer(_exactly(data, at + 1, height * -(-width // 8)), np.uint8)
            bits = np.unpackbits(rows.reshape(height, -1), axis=1, count=width)
            return bits.reshape(shape) * np.uint8(255)
        if kind > 4:
            big_endian = dtype.newbyteorder(">")
            return np.frombuffer(_exactly(data, at + 1, count * dtype.itemsize), big_endian).reshape(shape)
        text = re.sub(rb"#[^\n]*", b"", data[at:])
        if kind == 1:
            digits = np.frombuffer(re.sub(rb"[^01]", b"", text), np.uint8)[:count] - ord("0")
            values = digits * np.uint8(255)
        else:
            values = np.array(text.split()[:count], dtype=np.uint64).astype(dtype)
        if values.size < count:
            raise ValueError("the file is truncated")
        return values.reshape(shape)

    return _Header(width, height, channels, dtype, 8.0, decode)


def _exactly(data: bytes, start: int, size: int) -> bytes:
    if len(data) < start + size:
        raise ValueError("the file is truncated")
    return data[start : start + size]


def _read_header(data: bytes) -> _Header:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _read_png_header(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _read_jpeg_header(data)
    if data.startswith((b"BM", b"GIF8")):
        return _read_pillow_header(data)
    if re.match(rb"P[1-6][\s#]", data):
        return _read_pnm_header(data)
    raise ValueError("this is not a PNG, JPEG, BMP, GIF or PNM picture")


def _find_size(file: BinaryIO) -> int:
    return file.seek(0, io.SEEK_END)


class PictureReader(ImageReader):
    """Knows the header from the start; decodes once, when the first pixel is asked for."""

    def __init__(self, path: Path, internal_path: str = "") -> None:
        self._path, self._lock = path, Lock()
        self._pixels: np.ndarray | None = None
        file_size = self._read(_find_size)
        self._header = header = self._read_header(file_size)
        self.shape = (header.height, header.width, header.channels)
        size = header.height * header.width * header.channels * header.dtype.itemsize
        if min(self.shape) < 1:
            raise InputError(f"cannot read {path}: the picture is empty ({header.width} x {header.height} pixels)")
        if size > header.expansion * file_size:
            raise InputError(
                f"cannot read {path}: the header promises {header.width} x {header.height} pixels, more than a file of "
                f"{file_size} bytes can hold; it is truncated or damaged"
            )
        self.info = ImageInfo(self.shape, header.dtype, "yxc", own_axes=True, chunks=self.shape)

    def _read_header(self, file_size: int) -> _Header:
        start = self._read(lambda file: file.read(_HEADER_BYTES))
        try:
            return _read_header(start)
        except ValueError as error:
            if file_size <= len(start):
                raise InputError(f"cannot read {self._path}: {error}") from None
        whole = self._read(lambda file: file.read())  # the size stands behind a long profile or comment
        header: _Header = self._translate(lambda: _read_header(whole))
        return header

    def _read(self, action: Callable[[BinaryIO], Any]) -> Any:
        try:
            with open(self._path, "rb") as file:
                return action(file)
        except FileNotFoundError:
            raise InputNotFound(f"there is no file {self._path}") from None
        except OSError as error:
            raise InputError(f"cannot read {self._path}: {error.strerror or error}") from error
        except MemoryError:
            raise MemoryTooSmall(f"the file {self._path} does not fit into memory") from None

    def _translate(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except MemoryError:
            raise MemoryTooSmall(f"the decoded pixels of {self._path} do not fit into memory") from None
        except (ValueError, OSError, EOFError, RuntimeError, IndexError, SyntaxError, struct.error) as error:
            raise InputError(f"cannot read {self._path}: {error}") from error

    def read(self, box: Box) -> np.ndarray:
        with self._lock:
            if self._pixels is None:
                self._pixels = self._decode()
            pixels = self._pixels
        return pixels[box.slices()].copy()

    def _decode(self) -> np.ndarray:
        data = self._read(lambda file: file.read())
        pixels: np.ndarray = self._translate(lambda: self._header.decode(data))
        if pixels.shape != self.shape:
            raise InputError(f"cannot read {self._path}: it holds {pixels.shape} pixels instead of {self.shape}")
        return np.ascontiguousarray(pixels, dtype=self._header.dtype)

    def close(self) -> None:
        with self._lock:
            self._pixels = None


def open_picture(path: Path, internal_path: str = "") -> ImageReader:
    """Open one picture. Raises InputError, InputNotFound."""
    return PictureReader(path)


def _store_png(path: Path, plane: np.ndarray) -> None:
    import imagecodecs

    path.write_bytes(imagecodecs.png_encode(plane))


def _store_jpeg(path: Path, plane: np.ndarray) -> None:
    import imagecodecs

    # quality 75 without chroma subsampling, as vigra writes
    path.write_bytes(imagecodecs.jpeg8_encode(plane, level=75, subsampling="444"))


def _store_bmp(path: Path, plane: np.ndarray) -> None:
    from PIL import Image

    Image.fromarray(plane[..., 0] if plane.shape[2] == 1 else plane).save(path, "BMP")


def _picture_format(
    name: str, store: Store, limits: Limits, summary: str, *, max_side: int | None = None
) -> OutputFormat:
    return OutputFormat(name, name, plane_writer(store, limits, max_side=max_side), limits, summary)


def _sequence_limits(limits: Limits) -> Limits:
    return Limits(limits.dtypes, limits.stretches, max_dims=3, channels=limits.channels)


def _sequence_format(name: str, store: Store, limits: Limits, *, max_side: int | None = None) -> OutputFormat:
    """``<name> sequence``: the same pictures, one per slice."""
    return OutputFormat(
        f"{name} sequence",
        name,
        sequence_writer(store, limits, max_side=max_side),
        _sequence_limits(limits),
        f"one {name} picture per slice, numbered by {{slice_index}}",
        sequence=True,
        streams=True,
    )


INPUT = InputFormat(
    "picture", ("png", "jpg", "jpeg", "bmp", "gif", "pnm", "pbm", "pgm", "ppm"), open_picture, stack="picture"
)

_BYTES = frozenset({"uint8"})
_PNG = Limits(frozenset({"uint8", "uint16"}), stretches=True, max_dims=2, channels=frozenset({1, 2, 3, 4}))
_JPEG = Limits(_BYTES, stretches=True, max_dims=2, channels=frozenset({1, 3}))
_BMP = Limits(_BYTES, stretches=True, max_dims=2, channels=frozenset({1, 3}))
_JPEG_SIDE, _PNG_SIDE = 65_500, 1_000_000  # limits of libjpeg and libpng

OUTPUTS = (
    _picture_format("bmp", _store_bmp, _BMP, "8-bit picture, uncompressed, 1 or 3 channels", max_side=1 << 20),
    _picture_format("jpeg", _store_jpeg, _JPEG, "8-bit picture, lossy, 1 or 3 channels", max_side=_JPEG_SIDE),
    _picture_format("jpg", _store_jpeg, _JPEG, "8-bit picture, lossy, 1 or 3 channels", max_side=_JPEG_SIDE),
    _picture_format("png", _store_png, _PNG, "8 or 16-bit picture, 1 to 4 channels", max_side=_PNG_SIDE),
    _sequence_format("png", _store_png, _PNG, max_side=_PNG_SIDE),
)

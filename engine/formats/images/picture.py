"""PNG, JPEG, BMP and GIF; and the reader for pictures of all kinds: always axes yxc, the pixels as stored.

Files are decoded as by vigra: palettes become RGB (without transparency), gray below 8 bits is scaled to 0..255, CMYK
stays four channels, EXIF rotation and colour profiles are ignored, GIF gives the first frame.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..spec import ImageReader, InputFormat, Limits
from ..support.picture_reader import PictureHeader, PictureReader, UnsupportedPicture, check_size, read_all
from ..support.picture_writers import picture_formats
from ..support.signature import RADIANCE_SIGNATURES
from .pnm import read_pnm_header
from .radiance import read_radiance_header
from .sun_raster import SUN_RASTER_MAGIC, read_sun_raster_header
from .viff import VIFF_MAGIC, read_viff_header

__all__ = ["INPUT", "OUTPUTS", "open_picture"]

_PNG_MAGIC, _JPEG, _BMP, _GIF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"GIF8"
_JPEG2000 = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")  # a file, and a bare codestream
_PNG_PALETTE = 3  # type of colour


def _read_png_header(data: bytes) -> PictureHeader:
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise ValueError("the file is truncated")
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    channels = {0: 1, 2: 3, _PNG_PALETTE: 3, 4: 2, 6: 4}.get(colour)
    if channels is None or depth not in (1, 2, 4, 8, 16):
        raise ValueError(f"colour type {colour} with {depth} bits does not exist in PNG")
    # deflate gives at most 1032 bytes for one; a 1-bit pixel then becomes three bytes (palette)
    expansion = 1032.0 * (8 / depth if depth < 8 else 1) * (3 if colour == _PNG_PALETTE else 1)

    def decode(data: bytes) -> np.ndarray:
        import imagecodecs

        try:
            decoded = imagecodecs.png_decode(data)
        except (ValueError, RuntimeError):
            if not _find_png_end(io.BytesIO(data)):
                raise ValueError("the file is truncated") from None
            raise
        # The decoder adds the transparency of palettes and of single colours as an unwanted channel.
        pixels: np.ndarray = np.atleast_3d(decoded)[..., :channels]
        return pixels

    dtype = np.dtype(np.uint16 if depth == 16 else np.uint8)
    return PictureHeader(width, height, channels, dtype, expansion, decode, _find_png_end, "the PNG data")


def _find_png_end(file: BinaryIO) -> bool:
    """Scan all chunks; False if the last one is missing. Raises ValueError if one is truncated."""
    size = file.seek(0, io.SEEK_END)
    at = 8
    while at + 8 <= size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        if kind == b"IEND":
            return True
        if at + 8 + length > size:
            raise ValueError("the file is truncated")
        at += length + 12  # the checksum, too
    return False


_JPEG_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")


def _read_jpeg_header(data: bytes) -> PictureHeader:
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
        raise UnsupportedPicture(f"JPEG with {channels} channels of {bits} bits is not supported")
    # a block of 64 pixels takes at least one bit with Huffman codes, a little less with arithmetic ones
    expansion = 64.0 * 64 * channels
    dtype = np.dtype(np.uint8)
    return PictureHeader(width, height, channels, dtype, expansion, _decode_jpeg, _check_jpeg, "the JPEG data")


def _check_jpeg(file: BinaryIO) -> None:
    if not _is_complete_jpeg(read_all(file)):
        raise ValueError("the file is truncated")


def _decode_jpeg(data: bytes) -> np.ndarray:
    import imagecodecs

    _check_jpeg(io.BytesIO(data))
    return np.atleast_3d(imagecodecs.jpeg8_decode(data))


def _is_complete_jpeg(data: bytes) -> bool:
    """Return True if the end marker follows the last scan; libjpeg itself fills missing parts with grey."""
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


def _read_jpeg2000_header(data: bytes) -> PictureHeader:
    from ..support.jpeg2000 import read_jpeg2000_header  # few runs need it

    return read_jpeg2000_header(data)


_OS2_HEADER_BYTES = 12  # of the oldest kind of BMP, whose fields have 16 bits


def _read_pillow_header(data: bytes) -> PictureHeader:
    """Read the header of a BMP or GIF. Plugins are used directly: ``Image.open`` refuses or warns of large pictures."""
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
    expansion, dtype = 4096.0 * 3, np.dtype(np.uint8)
    check, unchecked = _check_gif(picture) if data[:3] == b"GIF" else _check_bmp(picture, data, table)
    return PictureHeader(picture.width, picture.height, channels, dtype, expansion, decode, check, unchecked)


_Check = Callable[[BinaryIO], object]


def _check_gif(picture: Any) -> tuple[_Check, str]:
    """Return the check of a GIF's first frame, and the part that only decoding checks."""
    start = picture.tile[0][2] if picture.tile else 0

    def check(file: BinaryIO) -> None:
        """Scan the blocks of the first frame up to the empty one."""
        size = file.seek(0, io.SEEK_END)
        at = start
        while 0 < at < size:
            file.seek(at)
            length = file.read(1)[0]
            if not length:
                return
            at += 1 + length
            if at > size:
                raise ValueError("the file is truncated")

    return check, "the GIF data"


def _check_bmp(picture: Any, data: bytes, table: np.ndarray | None) -> tuple[_Check, str]:
    """Return the check of a BMP, and the part that only decoding checks."""
    codec, _, start, arguments = picture.tile[0][:4]
    if codec != "raw":
        return lambda file: None, "the run lengths"
    (bits,) = struct.unpack_from("<H", data, 24 if data[14] == _OS2_HEADER_BYTES else 28)
    rows = (picture.height - 1) * arguments[1] + -(-picture.width * bits // 8)  # the last one needs no padding
    is_short = table is not None and len(table) < 1 << bits
    return check_size(start + rows), "whether the palette holds all pixels" if is_short else ""


def _open_with_pillow(data: bytes) -> Any:
    from PIL import BmpImagePlugin, GifImagePlugin, Image, PngImagePlugin

    plugin: Any = BmpImagePlugin.BmpImageFile
    if data.startswith((_GIF, _PNG_MAGIC)):
        plugin = GifImagePlugin.GifImageFile if data.startswith(_GIF) else PngImagePlugin.PngImageFile
    # a frame that is much larger than the picture
    too_large = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    try:
        return plugin(io.BytesIO(data))
    except (SyntaxError, OSError, EOFError, IndexError, struct.error, *too_large) as error:
        raise ValueError(str(error) or "the header is damaged") from None


def _palette(picture: Any) -> np.ndarray | None:
    """Lookup table of a palette picture as (n, 3) uint8."""
    if picture.mode != "P" or picture.palette is None:
        return None
    order = picture.palette.rawmode or picture.palette.mode
    table = np.frombuffer(bytes(picture.palette.palette), np.uint8)
    table = table[: len(table) // len(order) * len(order)].reshape(-1, len(order))
    return np.stack([table[:, order.index(colour)] for colour in "RGB"], axis=1)


def _read_header(data: bytes) -> PictureHeader:
    """Read the header of a picture, whose kind is recognised by the first bytes, not by the file name."""
    for is_kind, read in _KINDS:
        if is_kind(data):
            return read(data)
    raise UnsupportedPicture("this is not a PNG, JPEG, JPEG 2000, BMP, GIF, PNM, HDR, Sun raster or VIFF picture")


def _read_label_header(data: bytes) -> PictureHeader:
    """Read the header of a picture of labels: indices of a palette, and values below 8 bits, are left as stored."""
    header = _read_header(data)
    if data.startswith(_PNG_MAGIC):
        depth, is_indexed = data[24], data[25] == _PNG_PALETTE
        if not is_indexed:
            scale = np.uint8(255 // ((1 << depth) - 1) if depth < 8 else 1)
            return replace(header, decode=lambda data: header.decode(data) // scale) if scale > 1 else header
    elif not data.startswith((_BMP, _GIF)) or _open_with_pillow(data).mode not in ("1", "L", "P"):
        return header

    def decode(data: bytes) -> np.ndarray:
        return np.atleast_3d(np.asarray(_open_with_pillow(data)).astype(np.uint8))

    return replace(header, channels=1, decode=decode)


def _starts_with(*magic: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(magic)


_KINDS = (
    (_starts_with(_PNG_MAGIC), _read_png_header),
    (_starts_with(_JPEG), _read_jpeg_header),
    (_starts_with(_BMP, _GIF), _read_pillow_header),
    (lambda data: re.match(rb"P[1-6][\s#]", data) is not None, read_pnm_header),
    (_starts_with(*RADIANCE_SIGNATURES), read_radiance_header),
    (_starts_with(*SUN_RASTER_MAGIC), read_sun_raster_header),
    (_starts_with(VIFF_MAGIC), read_viff_header),
    (_starts_with(*_JPEG2000), _read_jpeg2000_header),
)


def open_picture(path: Path, internal_path: str = "") -> ImageReader:
    """Open one picture. Raises InputError, InputNotFound."""
    return PictureReader(path, _read_header)


def open_label_picture(path: Path, internal_path: str = "") -> ImageReader:
    """Open one picture of labels. Raises InputError, InputNotFound."""
    return PictureReader(path, _read_label_header)


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


def _store_gif(path: Path, plane: np.ndarray) -> str | None:
    """Store a plane as GIF; gray levels and up to 256 colours are exact."""
    from PIL import Image

    if plane.shape[2] == 1:
        Image.fromarray(plane[..., 0]).save(path, "GIF")
        return None
    picture = Image.fromarray(plane)
    if picture.getcolors(256) is None:
        picture.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, "GIF")
        return "GIF holds 256 colours, but the picture has more; similar ones became one"
    codes = plane.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    colours, indices = np.unique(codes, return_inverse=True)
    picture = Image.fromarray(indices.reshape(plane.shape[:2]).astype(np.uint8))
    picture.putpalette(colours.astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes())
    picture.save(path, "GIF")
    return None


INPUT = InputFormat(
    "picture",
    ("png", "jpg", "jpeg", "bmp", "gif", "pnm", "pbm", "pgm", "ppm", "hdr", "ras", "xv", "jp2", "j2k"),
    open_picture,
    stack="picture",
    open_labels=open_label_picture,
    is_content=lambda head: any(is_kind(head) for is_kind, _ in _KINDS),
)

_BYTES = frozenset({"uint8"})
_PNG = Limits(frozenset({"uint8", "uint16"}), stretches=True, max_dims=2, channels=frozenset({1, 2, 3, 4}))
_BYTE_PICTURE = Limits(_BYTES, stretches=True, max_dims=2, channels=frozenset({1, 3}))
_JPEG_SIDE, _PNG_SIDE, _GIF_SIDE = 65_500, 1_000_000, 65_535  # limits of libjpeg, libpng, and of the file

OUTPUTS = (
    *picture_formats(
        "bmp",
        _store_bmp,
        _BYTE_PICTURE,
        "8-bit picture, uncompressed, 1 or 3 channels",
        signatures=(_BMP,),
        max_side=1 << 20,
    ),
    *picture_formats(
        "gif",
        _store_gif,
        _BYTE_PICTURE,
        "8-bit picture, 256 gray levels or colours",
        signatures=(_GIF,),
        max_side=_GIF_SIDE,
    ),
    *(
        output
        for name in ("jpeg", "jpg")
        for output in picture_formats(
            name,
            _store_jpeg,
            _BYTE_PICTURE,
            "8-bit picture, lossy, 1 or 3 channels",
            signatures=(_JPEG,),
            max_side=_JPEG_SIDE,
        )
    ),
    *picture_formats(
        "png", _store_png, _PNG, "8 or 16-bit picture, 1 to 4 channels", signatures=(_PNG_MAGIC,), max_side=_PNG_SIDE
    ),
)

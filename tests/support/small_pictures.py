"""Small pictures in every kind of file that is read, as bytes."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import imagecodecs
import numpy as np
from PIL import Image


def _pillow(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def _palette_bmp(pixels: np.ndarray) -> bytes:
    picture = Image.fromarray(pixels // 64)
    picture.putpalette(list(range(12)))
    file = io.BytesIO()
    picture.save(file, "BMP")
    return file.getvalue()


def _ascii_pnm(pixels: np.ndarray) -> bytes:
    height, width = pixels.shape[:2]
    kind = "P2" if pixels.ndim == 2 else "P3"
    return f"{kind}\n{width} {height}\n255\n{' '.join(map(str, pixels.ravel().tolist()))}\n".encode("ascii")


def _bitmap(pixels: np.ndarray, *, is_text: bool) -> bytes:
    height, width = pixels.shape
    bits = (pixels > 127).astype(np.uint8)
    if is_text:
        return f"P1 {width} {height}\n{' '.join(map(str, bits.ravel().tolist()))}\n".encode("ascii")
    return f"P4 {width} {height}\n".encode("ascii") + np.packbits(bits, axis=1).tobytes()


def _binary_pnm(pixels: np.ndarray) -> bytes:
    height, width = pixels.shape[:2]
    kind = "P5" if pixels.ndim == 2 else "P6"
    return f"{kind}\n{width} {height}\n255\n".encode("ascii") + pixels.tobytes()


def _sun_raster(pixels: np.ndarray, *, run_lengths: bool = False) -> bytes:
    height, width = pixels.shape
    rows = np.zeros((height, width + width % 2), np.uint8)
    rows[:, :width] = pixels
    data = rows.tobytes()
    if run_lengths:
        data = b"".join(b"\x80\x00" if value == 0x80 else bytes([value]) for value in data)
    header = struct.pack(">8I", 0x59A66A95, width, height, 8, len(data), 2 if run_lengths else 1, 0, 0)
    return header + data


def _viff(pixels: np.ndarray) -> bytes:
    height, width = pixels.shape
    header = bytearray(1024)
    header[:5] = 0xAB, 1, 1, 3, 8
    struct.pack_into("<2I", header, 520, width, height)
    struct.pack_into("<5I", header, 548, 1, 0, 1, 1, 1)
    return bytes(header) + pixels.tobytes()


def _radiance(pixels: np.ndarray) -> bytes:
    colours = np.repeat(pixels[..., np.newaxis], 3, axis=2).astype(np.float32)
    return bytes(imagecodecs.rgbe_encode(colours, header=True))  # type: ignore[arg-type]


# kind -> (extension, gray uint8 pixels -> file)
PICTURES: dict[str, tuple[str, Callable[[np.ndarray], bytes]]] = {
    "png": ("png", lambda pixels: _pillow(pixels, "PNG")),
    "jpeg": ("jpg", lambda pixels: _pillow(pixels, "JPEG")),
    "progressive jpeg": ("jpg", lambda pixels: _pillow(pixels, "JPEG", progressive=True)),
    "gif": ("gif", lambda pixels: _pillow(pixels, "GIF")),
    "bmp": ("bmp", lambda pixels: _pillow(pixels, "BMP")),
    "colour bmp": ("bmp", lambda pixels: _pillow(np.stack([pixels] * 3, axis=2), "BMP")),
    "palette bmp": ("bmp", _palette_bmp),
    "ascii bitmap": ("pbm", lambda pixels: _bitmap(pixels, is_text=True)),
    "bitmap": ("pbm", lambda pixels: _bitmap(pixels, is_text=False)),
    "ascii pgm": ("pgm", _ascii_pnm),
    "pgm": ("pgm", _binary_pnm),
    "ascii ppm": ("ppm", lambda pixels: _ascii_pnm(np.stack([pixels] * 3, axis=2))),
    "ppm": ("ppm", lambda pixels: _binary_pnm(np.stack([pixels] * 3, axis=2))),
    "hdr": ("hdr", _radiance),
    "sun raster": ("ras", _sun_raster),
    "sun raster of run lengths": ("ras", lambda pixels: _sun_raster(pixels, run_lengths=True)),
    "viff": ("xv", _viff),
    "jpeg 2000": ("jp2", lambda pixels: _pillow(pixels, "JPEG2000")),
    "jpeg 2000 codestream": ("j2k", lambda pixels: _pillow(pixels, "JPEG2000", no_jp2=True)),
}


def noise(height: int, width: int, seed: int = 1) -> np.ndarray:
    """Gray values that do not compress."""
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)

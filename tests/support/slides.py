"""Small whole slides of several vendors, with their pixels: level or name of the series -> (y, x, c)."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

Images = dict[str, np.ndarray]
MPP = 0.25
SIZE = (208, 304)


def draw(height: int, width: int, seed: int) -> np.ndarray:
    """Noise that JPEG keeps recognisable, in RGB."""
    rng = np.random.default_rng([seed, height, width])
    coarse = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))[:height, :width]


def _levels() -> list[np.ndarray]:
    return [draw(SIZE[0] // n, SIZE[1] // n, n) for n in (1, 2, 4)]


def write_svs(path: Path, *, compression: str = "lzw") -> Images:
    levels, thumbnail, label, macro = _levels(), draw(40, 60, 7), draw(30, 20, 8), draw(30, 50, 9)
    text = f"Aperio Image Library v12.0.15\n304x208 [0,0 304x208] (64x64) -> 304x208|AppMag = 40|MPP = {MPP}"
    options = {"photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(path) as writer:
        writer.write(levels[0], tile=(64, 64), compression=compression, description=text, **options)
        writer.write(thumbnail, description="Aperio Image Library v12.0.15\nthumbnail", **options)
        for level in levels[1:]:
            writer.write(level, tile=(64, 64), compression=compression, description="Aperio", **options)
        writer.write(label, subfiletype=1, description="Aperio\nlabel", **options)
        writer.write(macro, subfiletype=9, description="Aperio\nmacro", **options)
    return _named(levels, Thumbnail=thumbnail, Label=label, Macro=macro)


def write_scn(path: Path) -> Images:
    """The overview comes first, as in Leica's files."""
    levels, overview = _levels(), draw(60, 25, 7)
    pages = [overview, *levels]
    of_main = "".join(f'<dimension r="{r}" ifd="{r + 1}"/>' for r in range(len(levels)))
    text = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01"><collection name="a">'
        f'<image name="overview"><pixels><dimension r="0" ifd="0"/></pixels></image>'
        f'<image name="image 1"><pixels>{of_main}</pixels></image></collection></scn>'
    )
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for number, page in enumerate(pages):
            per_cm = 10_000 / (MPP * 2 ** max(0, number - 1))
            writer.write(
                page, tile=(64, 64), compression="lzw", photometric="rgb", metadata=None, resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER", description=text if number == 0 else None,
            )  # fmt: skip
    return _named(levels, overview=overview)


def write_qptiff(path: Path) -> Images:
    """Two channels of fluorescence, a page each; the thumbnail is in colour."""
    levels = [np.stack([level[..., 0], level[..., 1]]) for level in _levels()]
    thumbnail = draw(40, 60, 7)
    per_cm = 10_000 / MPP
    options = {"metadata": None, "software": "PerkinElmer-QPI", "description": "<PerkinElmer-QPI-ImageDescription/>"}
    options |= {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER", "compression": "lzw"}
    with tifffile.TiffWriter(path) as writer:
        for number, level in enumerate(levels):
            for channel in level:
                writer.write(channel, tile=(64, 64), photometric="minisblack", **options)
            if number == 0:
                writer.write(thumbnail, photometric="rgb", **options)
    return _named([np.moveaxis(level, 0, -1) for level in levels], Thumbnail=thumbnail)


def write_philips(path: Path) -> Images:
    """Levels are padded to whole tiles."""
    levels, macro, label = _levels(), draw(30, 50, 8), draw(30, 20, 9)
    spacings = "".join(
        '<DataObject ObjectType="PixelDataRepresentation"><Attribute Name="DICOM_PIXEL_SPACING" Group="0x0028" '
        f'Element="0x0030" PMSVR="IDoubleArray">&quot;{MPP * n / 1000}&quot; &quot;{MPP * n / 1000}&quot;</Attribute>'
        "</DataObject>"
        for n in (1, 2, 4)
    )
    text = (
        '<?xml version="1.0"?><DataObject ObjectType="DPUfsImport"><Attribute Name="PIM_DP_SCANNED_IMAGES"><Array>'
        f"{spacings}</Array></Attribute></DataObject>"
    )
    options = {"photometric": "rgb", "metadata": None, "software": "Philips DP v1.0", "compression": "lzw"}
    with tifffile.TiffWriter(path) as writer:
        for number, level in enumerate(levels):
            height, width = level.shape[:2]
            padded = np.pad(level, ((0, -height % 64 if number else 0), (0, -width % 64 if number else 0), (0, 0)))
            writer.write(padded, tile=(64, 64), description=text if number == 0 else f"level={number}", **options)
        writer.write(macro, description="Macro", **options)
        writer.write(label, description="Label", **options)
    return _named(levels, Macro=macro, Label=label)


def write_ndpi(path: Path) -> Images:
    """A strip of JPEG per level, with restart intervals whose starts are listed, in a TIFF of 64-bit offsets."""
    levels, macro = [draw(SIZE[0] // n, SIZE[1] // n, n) for n in (1, 2)], draw(32, 64, 9)
    decoded, pages = [], []
    for page, magnification in ((levels[0], 40.0), (levels[1], 20.0), (macro, -1.0)):
        file = io.BytesIO()
        blocks = page.shape[1] // 8
        blocks //= 1 + (blocks % 2 == 0)  # an interval must not continue in the next row
        Image.fromarray(page).save(file, "JPEG", quality=95, subsampling=0, restart_marker_blocks=blocks)
        decoded.append(np.asarray(Image.open(io.BytesIO(file.getvalue()))))
        pages.append((file.getvalue(), page.shape[:2], magnification))
    path.write_bytes(_ndpi_file(pages))
    return _named(decoded[:2], Macro=decoded[2])


def _ndpi_file(pages: list[tuple[bytes, tuple[int, int], float]]) -> bytes:
    data = bytearray(b"II*\0" + bytes(8))
    links = [4]
    for jpeg, (height, width), magnification in pages:
        start = len(data)
        data += jpeg
        starts = np.asarray(_restarts(jpeg), "<u4")
        places = {}
        maker = b"Hamamatsu\0"
        per_cm = struct.pack("<2I", round(10_000 / MPP * width / SIZE[1]), 1)
        for name, value in (("starts", starts.tobytes()), ("bits", struct.pack("<3H", 8, 8, 8)), ("maker", maker)):
            places[name] = len(data)
            data += value
        places["resolution"] = len(data)
        data += per_cm
        entries = [
            (254, 4, 1, 0), (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, places["bits"]), (259, 3, 1, 7),
            (262, 3, 1, 6), (271, 2, len(maker), places["maker"]), (273, 4, 1, start), (277, 3, 1, 3),
            (278, 4, 1, height), (279, 4, 1, len(jpeg)), (282, 5, 1, places["resolution"]),
            (283, 5, 1, places["resolution"]), (284, 3, 1, 1), (296, 3, 1, 3), (65420, 4, 1, 1),
            (65421, 11, 1, struct.unpack("<I", struct.pack("<f", magnification))[0]),
            (65426, 4, len(starts), places["starts"] if len(starts) > 1 else int(starts[0])),
        ]  # fmt: skip
        struct.pack_into("<Q", data, links[-1], len(data))
        data += struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
        links.append(len(data))
        data += bytes(8) + bytes(4 * len(entries))  # no next page; high words of all values
    return bytes(data)


def _restarts(jpeg: bytes) -> list[int]:
    """Offsets of the entropy-coded segments."""
    scan = jpeg.index(b"\xff\xda")
    first = scan + 2 + int.from_bytes(jpeg[scan + 2 : scan + 4], "big")
    return [first, *(i + 2 for i in range(first, len(jpeg) - 1) if jpeg[i] == 0xFF and 0xD0 <= jpeg[i + 1] <= 0xD7)]


def _named(levels: list[np.ndarray], **others: np.ndarray) -> Images:
    return {"": levels[0], **{str(number): level for number, level in enumerate(levels)}, **others}


WRITERS: dict[str, Callable[[Path], Images]] = {
    "svs": write_svs,
    "scn": write_scn,
    "qptiff": write_qptiff,
    "ndpi": write_ndpi,
    "tiff": write_philips,
}

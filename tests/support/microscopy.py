"""Small files of microscopes: CZI, LIF and ND2, by their layouts."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

import imagecodecs
import numpy as np

# ----------------------------------------------------------------------------------------------------------------- CZI

_PIXELS = {("uint8", 1): 0, ("uint16", 1): 1, ("float32", 1): 2, ("uint8", 3): 3, ("uint16", 3): 4, ("uint8", 4): 9}
Tile = tuple[Mapping[str, int], np.ndarray]  # start by dimension -> pixels (y, x[, sample]) in RGB


def _segment(name: bytes, content: bytes) -> bytes:
    size = -(-len(content) // 32) * 32
    return struct.pack("<16sqq", name, size, len(content)) + content.ljust(size, b"\0")


def _entry(start: Mapping[str, int], pixels: np.ndarray, compression: int, position: int, reduction: int) -> bytes:
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    sizes = {"X": pixels.shape[1], "Y": pixels.shape[0]}
    dimensions = b"".join(
        struct.pack("<4siifi", a.encode(), start.get(a, 0), sizes.get(a, 1) * reduction if a in "XY" else 1, 0.0,
                    sizes.get(a, 1))
        for a in ("X", "Y", *reversed([a for a in start if a not in "XY"]))
    )  # fmt: skip
    kind = _PIXELS[pixels.dtype.name, samples]
    count = len(dimensions) // 20
    return (
        struct.pack("<2siqiiBB4si", b"DV", kind, position, 0, compression, int(reduction > 1), 0, b"", count)
        + dimensions
    )


def _pack(pixels: np.ndarray, compression: int, *, is_split: bool) -> bytes:
    if compression == 4:
        return bytes(imagecodecs.jpegxr_encode(pixels, level=1.0))
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}
    data = (pixels if pixels.ndim == 2 else pixels[..., order[pixels.shape[2]]]).tobytes()
    if is_split:
        data = np.frombuffer(data, np.uint8).reshape(-1, 2).T.tobytes()
    if compression == 0:
        return data
    header = b"" if compression == 5 else b"\3\1\1" if is_split else b"\1"
    return header + bytes(imagecodecs.zstd_encode(data))


def write_czi(
    path: Path, tiles: Iterable[Tile], *, compression: int = 0, is_split: bool = False, reduction: int = 1,
    reduced: Iterable[Tile] = (), pixel_um: float = 0.5,
) -> None:  # fmt: skip
    """Write subblocks; ``reduced``: those of a lower resolution, ``reduction`` times smaller than they say."""
    blocks = [(start, pixels, 1) for start, pixels in tiles]
    blocks += [(start, pixels, reduction) for start, pixels in reduced]
    data = bytearray(_segment(b"ZISRAWFILE", bytes(512)))
    entries = []
    for start, pixels, reduction_of in blocks:
        entry = _entry(start, pixels, compression, len(data), reduction_of)
        entries.append(entry)
        packed = _pack(pixels, compression, is_split=is_split)
        note = b"<METADATA/>"
        head = struct.pack("<iiq", len(note), 0, len(packed)) + entry
        data += _segment(b"ZISRAWSUBBLOCK", head.ljust(max(256, len(head)), b"\0") + note + packed)
    directory = len(data)
    data += _segment(b"ZISRAWDIRECTORY", struct.pack("<i124x", len(entries)) + b"".join(entries))
    metadata = len(data)
    sizes = "".join(f'<Distance Id="{a}"><Value>{pixel_um * 1e-6}</Value></Distance>' for a in "XY")
    text = f"<ImageDocument><Metadata><Scaling><Items>{sizes}</Items></Scaling></Metadata></ImageDocument>".encode()
    data += _segment(b"ZISRAWMETADATA", struct.pack("<ii248x", len(text), 0) + text)
    header = struct.pack("<iiii16s16siqqiq", 1, 0, 0, 0, b"", b"", 0, directory, metadata, 0, 0)
    data[32 : 32 + len(header)] = header
    path.write_bytes(data)


# ----------------------------------------------------------------------------------------------------------------- LIF

_DIMENSIONS = {"X": 1, "Y": 2, "Z": 3, "T": 4, "λ": 5, "M": 10}


def write_lif(path: Path, images: Mapping[str, tuple[str, np.ndarray]], *, pixel_um: float = 0.5) -> None:
    """Write images by name: (letters of the axes, voxels); channels are stored as a dimension C, before X and Y."""
    elements, blocks = [], []
    for number, (name, (letters, array)) in enumerate(images.items(), 1):
        voxels = np.ascontiguousarray(array)
        strides = dict(zip(letters, voxels.strides, strict=True))
        dimensions = "".join(
            f'<DimensionDescription DimID="{_DIMENSIONS[a]}" NumberOfElements="{n}" Origin="0" '
            f'Length="{(n - 1) * (2 if a == "T" else pixel_um * 1e-6)}" Unit="{"s" if a == "T" else "m"}" BitInc="0" '
            f'BytesInc="{strides[a]}"/>'
            for a, n in sorted(zip(letters, voxels.shape, strict=True), key=lambda each: strides[each[0]])
            if a != "C"
        )
        count = voxels.shape[letters.index("C")] if "C" in letters else 1
        channels = "".join(
            f'<ChannelDescription DataType="0" ChannelTag="0" Resolution="{voxels.itemsize * 8}" '
            f'NameOfMeasuredQuantity="" Min="0" Max="1" Unit="" LUTName="Gray" IsLUTInverted="0" '
            f'BytesInc="{i * strides.get("C", 0)}" BitInc="0"/>'
            for i in range(count)
        )
        elements.append(
            f'<Element Name="{name}" UniqueID="{number}"><Data><Image><ImageDescription><Channels>{channels}</Channels>'
            f"<Dimensions>{dimensions}</Dimensions></ImageDescription></Image></Data>"
            f'<Memory Size="{voxels.nbytes}" MemoryBlockID="MemBlock_{number}"/></Element>'
        )
        title = f"MemBlock_{number}".encode("utf-16-le")
        head = struct.pack("<BQBI", 0x2A, voxels.nbytes, 0x2A, len(title) // 2) + title
        blocks.append(struct.pack("<II", 0x70, len(head)) + head + voxels.tobytes())
    text = (
        '<LMSDataContainerHeader Version="2"><Element Name="root"><Memory Size="0" MemoryBlockID="MemBlock_0"/>'
        f"<Children>{''.join(elements)}</Children></Element></LMSDataContainerHeader>"
    ).encode("utf-16-le")
    header = struct.pack("<BI", 0x2A, len(text) // 2) + text
    path.write_bytes(struct.pack("<II", 0x70, len(header)) + header + b"".join(blocks))

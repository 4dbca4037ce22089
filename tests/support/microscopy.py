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


# ----------------------------------------------------------------------------------------------------------------- ND2

_MAGIC, _NAME_BYTES = 0x0ABECEDA, 4072
_FILE, _MAP, _END = (
    b"ND2 FILE SIGNATURE CHUNK NAME01!",
    b"ND2 FILEMAP SIGNATURE NAME 0001!",
    b"ND2 CHUNK MAP SIGNATURE 0000001!",
)
Value = int | float | str | Mapping[str, "Value"]


def _variant(name: str, value: Value) -> bytes:
    """Encode a value as Nikon's lite variant: its type, its name and itself."""
    kind = 11 if isinstance(value, Mapping) else {int: 3, float: 6, str: 8}[type(value)]
    head = struct.pack("BB", kind, len(name) + 1) + f"{name}\0".encode("utf-16-le")
    if isinstance(value, Mapping):
        content = b"".join(_variant(*each) for each in value.items())
        return head + struct.pack("<IQ", len(value), len(head) + 12 + len(content)) + content + bytes(8 * len(value))
    if isinstance(value, str):
        return head + f"{value}\0".encode("utf-16-le")
    return head + struct.pack("<I" if isinstance(value, int) else "<d", value)


def write_nd2(path: Path, voxels: np.ndarray, loops: str, *, pixel_um: float = 0.5, missing: int | None = None) -> None:
    """Write an image with the axes ``loops``, out of P, T and Z, then (c, y, x), or (y, x, sample) of three colours.

    missing   number of a frame that is not stored
    """
    count = len(loops)
    frame_shape = voxels.shape[count:]
    is_colour = frame_shape[2] == 3 and frame_shape[0] > 3
    height, width = frame_shape[:2] if is_colour else frame_shape[1:]
    components = 3 if is_colour else frame_shape[0]
    frames = voxels.reshape(-1, *frame_shape)
    bits = voxels.itemsize * 8
    attributes: Value = {
        "uiWidth": width, "uiHeight": height, "uiComp": components,
        "uiWidthBytes": width * components * voxels.itemsize,
        "uiBpcInMemory": bits, "uiBpcSignificant": bits, "uiSequenceCount": len(frames), "eCompression": 2,
    }  # fmt: skip
    planes = 1 if is_colour else components
    plane = {
        "uiCompCount": components // planes,
        "uiModalityMask": 1,
        "sDescription": "channel",
        "pFluorescentProbe": {"uiColor": 0},
    }
    metadata: Value = {
        "bCalibrated": int(pixel_um > 0), "dCalibration": pixel_um,
        "sPicturePlanes": {"uiCount": planes, "sPlaneNew": {f"a{i}": plane for i in range(planes)}},
    }  # fmt: skip
    experiment: dict[str, Value] = {}
    for letter, size in reversed(list(zip(loops, voxels.shape, strict=False))):
        inner: Value = {"ppNextLevelEx": {"a": experiment}} if experiment else {}
        settings: dict[str, Value] = {"uiCount": size}
        if letter == "P":
            settings["Points"] = {f"p{i}": {"dPosX": 0.0, "dPosY": 0.0, "dPosZ": 0.0} for i in range(size)}
        settings |= {"dZLow": 0.0, "dZHigh": 2.0 * (size - 1), "dZStep": 2.0} if letter == "Z" else {}
        settings |= {"dStart": 0.0, "dPeriod": 1.0, "dDuration": 1.0} if letter == "T" else {}
        experiment = {"eType": "TPZ".index(letter) + 1 + (letter == "Z"), "uLoopPars": settings, **inner}
    chunks = {
        b"ImageAttributesLV!": _variant("SLxImageAttributes", attributes),
        b"ImageMetadataSeqLV|0!": _variant("SLxPictureMetadata", metadata),
        b"ImageMetadataLV!": _variant("SLxExperiment", experiment),
    }
    for number, frame in enumerate(frames):
        if number != missing:
            stored = frame if is_colour else np.moveaxis(frame, 0, -1)
            chunks[f"ImageDataSeq|{number}!".encode()] = bytes(8) + np.ascontiguousarray(stored).tobytes()
    data = bytearray(struct.pack("<IIQ", _MAGIC, 32, 64) + _FILE + b"Ver3.0".ljust(64, b"\0"))
    index = b""
    for name, content in chunks.items():
        index += name + struct.pack("<QQ", len(data), len(content))
        data += struct.pack("<IIQ", _MAGIC, _NAME_BYTES, len(content)) + name.ljust(_NAME_BYTES, b"\0") + content
    place = len(data)
    index += _END + struct.pack("<Q", place)
    data += struct.pack("<IIQ", _MAGIC, len(_MAP), len(index)) + _MAP + index
    path.write_bytes(bytes(data))

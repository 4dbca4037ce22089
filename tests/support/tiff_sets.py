"""TIFF files whose metadata place planes: OME sets of several files, and Micro-Manager's stacks and data sets."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile

_OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
_IFD_ENTRIES = 13  # Micro-Manager's pixels begin 162 bytes after the start of a directory


def uuid_of(number: int) -> str:
    """The identity of a file of a set."""
    return f"urn:uuid:{number:08x}-0000-0000-0000-000000000000"


def plane_name(z: int) -> str:
    """The name of a file of a set."""
    return f"p{z:02d}.ome.tif"


def ome_xml(shape: Sequence[int], blocks: str, *, uuid: str = "", images: str = "") -> str:
    """The description of one uint8 image (z, y, x).

    blocks  its TiffData elements; uuid: of the file; images: further Image elements
    """
    z, y, x = shape
    head = f' UUID="{uuid}"' if uuid else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{_OME}"{head}>'
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="{x}" SizeY="{y}" '
        f'SizeZ="{z}" SizeC="1" SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{blocks}</Pixels></Image>'
        f"{images}</OME>"
    )


def write_ome_set(folder: Path, volume: np.ndarray, *, with_uuid: bool = True, compression: str | None = None) -> None:
    """One file a plane of a uint8 volume (z, y, x), each with the metadata of all."""
    folder.mkdir(exist_ok=True)
    blocks = "".join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="{plane_name(z)}">{uuid_of(z)}</UUID></TiffData>'
        for z in range(len(volume))
    )
    for z, plane in enumerate(volume):
        text = ome_xml(volume.shape, blocks, uuid=uuid_of(z) if with_uuid else "")
        write_described(folder / plane_name(z), plane, text, compression=compression)


def write_described(path: Path, pages: np.ndarray, description: str, *, compression: str | None = None) -> Path:
    """Pages (y, x) or (n, y, x) behind a description of one's own."""
    with tifffile.TiffWriter(path) as writer:
        for i, page in enumerate(pages.reshape(-1, *pages.shape[-2:])):
            text = description if i == 0 else None
            writer.write(page, description=text, metadata=None, compression=compression, contiguous=False)
    return path


def write_micromanager_stack(
    path: Path, volume: np.ndarray, *, first: int = 0, slices: int, listed: int | None = None
) -> Path:
    """A file of a Micro-Manager stack with some slices of an acquisition.

    volume  (z, y, x) uint8 from slice ``first`` on; slices: of the whole acquisition
    listed  slices in the index; those behind the volume lie beyond the end of the file
    """
    summary = json.dumps({"MicroManagerVersion": "1.4", "Frames": 1, "Slices": slices, "Channels": 1, "Positions": 1})
    listed = len(volume) if listed is None else listed
    count, (height, width) = len(volume), volume.shape[1:]
    index_at = 40 + len(summary)
    start = index_at + 8 + 20 * listed
    start += start % 2
    step = 162 + height * width + (height * width) % 2
    offsets = [start + i * step for i in range(listed)]
    content = b"II" + struct.pack("<HI", 42, start) + struct.pack("<II", 54773648, index_at)
    content += struct.pack("<IIII", 483765892, 0, 99384722, 0) + struct.pack("<II", 2355492, len(summary))
    content += summary.encode() + struct.pack("<II", 3453623, listed)
    content += b"".join(struct.pack("<IIIII", 0, first + i, 0, 0, at) for i, at in enumerate(offsets))
    content = content.ljust(start, b"\0")
    for i, plane in enumerate(volume):
        behind = offsets[i] + step if i + 1 < count else 0
        content += _directory(offsets[i] + 162, (height, width), behind, text=(40, len(summary))) + plane.tobytes()
        content += b"\0" * (len(content) % 2)
    path.write_bytes(content)
    return path


def _directory(data_at: int, shape: Sequence[int], behind: int, *, text: tuple[int, int]) -> bytes:
    """A page; ``text``: where in the file JSON lies, and its length."""
    height, width = shape
    rows = [
        (254, 4, 0), (256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, data_at),
        (277, 3, 1), (278, 4, height), (279, 4, height * width), (284, 3, 1), (296, 3, 1),
    ]  # fmt: skip
    entries = [struct.pack("<HHII", code, kind, 1, value) for code, kind, value in rows]
    entries.append(struct.pack("<HHII", 51123, 2, text[1], text[0]))
    assert len(entries) == _IFD_ENTRIES
    return struct.pack("<H", _IFD_ENTRIES) + b"".join(entries) + struct.pack("<I", behind)


def write_ndtiff(folder: Path, volume: np.ndarray) -> list[Path]:
    """An NDTiff data set of a uint8 volume (z, y, x), one file a plane, and its index."""
    files, index = [], b""
    for z, plane in enumerate(volume):
        name = f"set_NDTiffStack_{z}.tif"
        summary = b'{"a": 1}'
        at = 28 + len(summary)
        content = b"II" + struct.pack("<HI", 42, at) + struct.pack("<II", 483729, 3)
        content += struct.pack("<III", 0, 2355492, len(summary)) + summary
        content += _directory(at + 162, plane.shape, 0, text=(28, len(summary))) + plane.tobytes()
        (folder / name).write_bytes(content)
        files.append(folder / name)
        axes = json.dumps({"z": z}).encode()
        index += struct.pack("<I", len(axes)) + axes + struct.pack("<I", len(name)) + name.encode()
        index += struct.pack("<IiiiiIii", at + 162, plane.shape[1], plane.shape[0], 0, 0, 0, 0, 0)
    (folder / "NDTiff.index").write_bytes(index)
    return files

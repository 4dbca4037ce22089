"""OME-XML metadata of the images of a TIFF: number of their planes, and the files that contain them."""

from __future__ import annotations

from math import prod
from typing import Any

from ....frozen import frozen

__all__ = ["MAX_PLANES", "OmeImage", "OmeMetadata", "read_ome"]

MAX_PLANES = 10_000_000  # limit of planes in a description


@frozen
class OmeImage:
    """One image.

    name         as the metadata have it, or None
    plane_count  the number of pages it should consist of
    blocks       (first plane, number of planes, file name or "" for the file itself), in the order of the metadata
    """

    name: str | None
    plane_count: int
    blocks: tuple[tuple[int, int, str], ...]

    def file_of(self, plane: int, own_name: str) -> str:
        """Name of the file that should contain a plane; ``own_name``: name of the file with these metadata."""
        for first, count, name in reversed(self.blocks):
            if first <= plane < first + count:
                return name or own_name
        return own_name


@frozen
class OmeMetadata:
    """All images that OME-XML describes; ``metadata_file``: the file with the full metadata instead, or ""."""

    images: tuple[OmeImage, ...] = ()
    metadata_file: str = ""


def read_ome(text: str) -> OmeMetadata:
    """Read the images of OME-XML; none if it cannot be parsed."""
    from xml.etree import ElementTree

    try:
        root = ElementTree.fromstring(text)
        companion = next((e.get("MetadataFile", "another file") for e in root if _is(e, "BinaryOnly")), "")
        elements = [(e, pixels) for e in root if _is(e, "Image") for pixels in e if _is(pixels, "Pixels")]
        images = [_read_image(pixels, image.get("Name")) for image, pixels in elements]
    except (ElementTree.ParseError, ValueError, KeyError):
        return OmeMetadata()
    return OmeMetadata(tuple(images), companion)


def _is(element: Any, name: str) -> bool:
    return str(element.tag).rpartition("}")[2] == name


def _read_image(pixels: Any, name: str | None) -> OmeImage:
    """Read one image. Raises ValueError, KeyError for incomplete metadata."""
    axes = pixels.attrib["DimensionOrder"][:1:-1]  # of the planes, the slowest first
    sizes = {axis: int(pixels.attrib[f"Size{axis}"]) for axis in axes}
    channel = next((e for e in pixels if _is(e, "Channel")), None)
    samples = 1 if channel is None else int(channel.get("SamplesPerPixel", 1))
    if "C" in sizes and samples > 1:
        sizes["C"] //= samples
    shape = [sizes[axis] for axis in axes]
    count = prod(shape)
    if min(shape, default=0) < 1 or count > MAX_PLANES:
        raise ValueError("impossible sizes")
    blocks = [_read_block(e, axes, shape) for e in pixels if _is(e, "TiffData")]
    return OmeImage(name, count, tuple(blocks))


def _read_block(data: Any, axes: str, shape: list[int]) -> tuple[int, int, str]:
    planes = int(data.get("PlaneCount", data.get("NumPlanes", 1 if "IFD" in data.attrib else prod(shape))))
    place = 0
    for axis, size in zip(axes, shape, strict=True):
        place = place * size + int(data.get(f"First{axis}", 0))
    uuid = next((e for e in data if _is(e, "UUID")), None)
    return place, planes, "" if uuid is None else uuid.get("FileName", "")

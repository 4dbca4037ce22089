"""Pixel sizes and units of a TIFF, as its OME or ImageJ metadata, or those of a whole slide, state them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tiff_choice import Choice

__all__ = ["read_pixel_size"]

_FIRST_WITH_UNITS = "2015"  # OME schemas before this year have no units: sizes are in µm, times in s


def read_pixel_size(tiff: Any, axes: str, choice: Choice) -> tuple[dict[str, float], dict[str, str]]:
    """Read pixel sizes and units of the chosen level; a unit may be an empty string.

    OME metadata come first, then ImageJ's, then those of a slide.
    """
    sizes, units = _read_largest(tiff, axes, choice)
    return {a: n * choice.factors.get(a, 1.0) if choice.number else n for a, n in sizes.items()}, units


def _read_largest(tiff: Any, axes: str, choice: Choice) -> tuple[dict[str, float], dict[str, str]]:
    if choice.is_slide:
        sizes = _read_slide(tiff, choice.levels[0], is_main=choice.index == 0)
        return {a: n for a, n in sizes.items() if a in axes}, {a: "µm" for a in sizes if a in axes}
    resolution: dict[str, float] = {}
    units: dict[str, str] = {}
    if tiff.is_ome and tiff.ome_metadata:
        pixels, year = _find_ome_pixels(tiff.ome_metadata, choice)
        if pixels is not None:
            names = {"x": "PhysicalSizeX", "y": "PhysicalSizeY", "z": "PhysicalSizeZ", "t": "TimeIncrement"}
            for axis in (a for a in axes if a in names):
                resolution[axis] = _number(pixels.get(names[axis], "0"))
                implied = "" if year >= _FIRST_WITH_UNITS or not resolution[axis] else "s" if axis == "t" else "µm"
                units[axis] = _decode_unit(pixels.get(f"{names[axis]}Unit", implied))
            return {a: n for a, n in resolution.items() if n}, units
    if tiff.is_imagej and tiff.imagej_metadata:
        meta: Mapping[str, Any] = tiff.imagej_metadata
        tags = tiff.pages[0].tags
        for axis, name in (("x", "XResolution"), ("y", "YResolution")):
            resolution[axis] = _inverse(tags.valueof(name, (1, 1)))
        resolution["z"], resolution["t"] = _number(meta.get("spacing", 0)), _number(meta.get("finterval", 0))
        units["x"] = _decode_unit(meta.get("unit", ""))
        for axis in "yz":
            units[axis] = _decode_unit(meta.get(f"{axis}unit", "")) or units["x"]
        units["t"] = _decode_unit(meta.get("tunit", ""))
    return {a: resolution[a] for a in axes if resolution.get(a)}, {a: units[a] for a in axes if a in units}


def _read_slide(tiff: Any, series: Any, *, is_main: bool) -> dict[str, float]:
    """Read the pixel size of a slide in µm: from its description, else from the resolution of its page."""
    page, size = series.keyframe, 0.0
    if series.kind == "svs" and is_main:
        stated = re.search(r"\|\s*MPP\s*=\s*([\d.eE+-]+)", page.description)
        size = _number(stated[1]) if stated else 0.0
    elif series.kind == "philips" and is_main:
        spacing = re.search(r'"DICOM_PIXEL_SPACING"[^>]*>\s*(?:&quot;|")([\d.eE+-]+)', page.description)
        size = _number(spacing[1]) * 1000 if spacing else 0.0  # in mm
    elif series.kind == "lsm":
        metres = tiff.lsm_metadata or {}
        sizes = {a: _number(metres.get(f"VoxelSize{a.upper()}", 0)) * 1e6 for a in "zyx"}
        return {a: n for a, n in sizes.items() if n > 0}
    elif series.kind in ("ndpi", "scn", "qpi"):
        micrometres = {2: 25_400.0, 3: 10_000.0}.get(int(page.tags.valueof("ResolutionUnit", 1)), 0.0)
        sizes = {a: _inverse(page.tags.valueof(f"{a.upper()}Resolution", (0, 0))) * micrometres for a in "yx"}
        return {a: n for a, n in sizes.items() if n > 0}
    return {"y": size, "x": size} if size > 0 else {}


def _find_ome_pixels(text: str, choice: Choice) -> tuple[Any, str]:
    """Find the pixels of the chosen image of OME-XML, or None, and the year of its schema."""
    from xml.etree import ElementTree

    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None, ""
    space = re.match(r"\{.*/(\d{4})-\d{2}\}", str(root.tag))
    found = root.findall("{*}Image/{*}Pixels")
    index = choice.index if len(found) == len(choice.names) else 0
    return found[index] if found else None, space[1] if space else _FIRST_WITH_UNITS


def _number(text: Any) -> float:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return 0.0
    return value if math.isfinite(value) else 0.0


def _inverse(fraction: Any) -> float:
    """Convert pixels per unit, a pair of numerator and denominator, to a pixel size."""
    numerator, denominator = fraction
    if not numerator or not denominator:
        return 0.0
    value = denominator / numerator
    return float(round(value)) if abs(value - round(value)) < 1e-8 and round(value) else value


def _decode_unit(text: Any) -> str:
    """Decode a unit as stored by ImageJ: escape sequences and, in some files, the text of a Python tuple."""
    unit = str(text)
    wrapped = re.fullmatch(r"\('(.*)',\)", unit)
    unit = wrapped[1] if wrapped else unit
    return re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), unit)

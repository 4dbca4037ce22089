"""Pixel sizes and units of a TIFF, as its OME or ImageJ metadata state them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["read_pixel_size"]

_FIRST_WITH_UNITS = "2015"  # OME schemas before this year have no units: sizes are in µm, times in s


def read_pixel_size(tiff: Any, axes: str) -> tuple[dict[str, float], dict[str, str]]:
    """Read pixel sizes and units from OME metadata, else ImageJ's, else none; a unit may be an empty string."""
    resolution: dict[str, float] = {}
    units: dict[str, str] = {}
    if tiff.is_ome and tiff.ome_metadata:
        pixels, year = _find_ome_pixels(tiff.ome_metadata)
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


def _find_ome_pixels(text: str) -> tuple[Any, str]:
    """Find the pixels of the first image of OME-XML, or None, and the year of its schema."""
    from xml.etree import ElementTree

    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None, ""
    space = re.match(r"\{.*/(\d{4})-\d{2}\}", str(root.tag))
    return next(iter(root.findall("{*}Image/{*}Pixels")), None), space[1] if space else _FIRST_WITH_UNITS


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

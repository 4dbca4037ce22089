"""Pixel sizes and units of a TIFF, as its OME or ImageJ metadata state them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["read_pixel_size"]

_OME = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"


def read_pixel_size(tiff: Any, axes: str) -> tuple[dict[str, float], dict[str, str]]:
    """Read pixel sizes and units from OME metadata, else ImageJ's, else none; a unit may be an empty string."""
    resolution: dict[str, float] = {}
    units: dict[str, str] = {}
    if tiff.is_ome and tiff.ome_metadata:
        from xml.etree import ElementTree

        try:
            pixels = ElementTree.fromstring(tiff.ome_metadata).find(f"{_OME}Image/{_OME}Pixels")
        except ElementTree.ParseError:
            pixels = None
        if pixels is not None:
            names = {"x": "PhysicalSizeX", "y": "PhysicalSizeY", "z": "PhysicalSizeZ", "t": "TimeIncrement"}
            for axis in (a for a in axes if a in names):
                resolution[axis] = _number(pixels.get(names[axis], "0"))
                units[axis] = _decode_unit(pixels.get(f"{names[axis]}Unit", ""))
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

"""Files of a page: the page itself and, for very many inputs, its pictures in a folder of their own."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pixelforest.engine.errors import setting
from pixelforest.engine.public_text import public_document
from pixelforest.engine.storage.atomic_write import check_file_place, write_bytes_file, write_text_file
from pixelforest.engine.storage.thumbnails import shrink_image

from .page import list_pictures, render_page

BEGINNING = b"<!DOCTYPE html>"
MAX_INLINE = 1000  # inputs whose pictures are in the page
MAX_PICTURE_BYTES = 10 << 20  # of all inputs of a page, in base64; above, pictures are halved


def check_page_place(path: Path, *, option: str = "report_html") -> None:
    """Raise the ExportError that ``write_page`` would, as far as it is known without writing."""
    check_file_place(path, setting(option), begins=BEGINNING)


def write_page(report: Mapping[str, Any], path: Path, *, option: str = "report_html") -> None:
    """Write the page of a report, whose name an option has given. Raises ExportError."""
    report = public_document(limit_pictures(report))  # type: ignore[assignment]
    folder = f"{path.stem}_files" if len(report["lanes"]) > MAX_INLINE else ""
    if folder:
        for name, data in list_pictures(report):
            write_bytes_file(path.parent / folder / name, data, setting(option))
    write_text_file(path, render_page(report, pictures_folder=folder), setting(option), begins=BEGINNING)


def limit_pictures(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the report with pictures of half the size, if together they would make the page slow."""
    lanes = report["lanes"]
    total = sum(len(each) for lane in lanes for each in ((lane.get("sample") or {}).get("pictures") or {}).values())
    if total <= MAX_PICTURE_BYTES or len(lanes) > MAX_INLINE:
        return report
    return {**report, "lanes": [_shrink(lane) for lane in lanes]}


def _shrink(lane: Mapping[str, Any]) -> Mapping[str, Any]:
    sample = lane.get("sample")
    if not sample:
        return lane
    small = {
        name: base64.b64encode(shrink_image(base64.b64decode(encoded))).decode()
        for name, encoded in sample["pictures"].items()
    }
    return {**lane, "sample": {**sample, "pictures": small}}

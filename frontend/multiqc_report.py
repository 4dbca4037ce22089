"""Files that MultiQC takes as custom content: a table of the inputs, shares of the classes, and pictures.

Their form: https://docs.seqera.io/multiqc/custom_content.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pixelforest.engine.errors import setting
from pixelforest.engine.public_text import public_document
from pixelforest.engine.storage.atomic_write import check_file_place, write_bytes_file, write_text_file
from pixelforest.engine.storage.thumbnails import lay_over

from .html_report.unusual import find_unusual

OPTION = setting("report_multiqc")
TABLE, CLASSES = "pixelforest_inputs_mqc.json", "pixelforest_classes_mqc.json"
MAX_PICTURES = 50  # of further inputs, those that are marked as unusual have pictures
_BEGINNING = b"{"
# Columns, and how MultiQC shows their numbers: with one decimal place unless it is told.
_COLUMNS = {
    "state": None,
    "unusual": None,
    "warnings": "{:,.0f}",
    "uncertainty": "{:.3f}",
    "objects": "{:,.0f}",
    "seconds": "{:,.2f}",
}


def check_multiqc_place(folder: Path) -> None:
    """Raise the ExportError that ``write_multiqc`` would, as far as it is known without writing."""
    for name in (TABLE, CLASSES):
        check_file_place(folder / name, OPTION, begins=_BEGINNING)


def write_multiqc(report: Mapping[str, Any], folder: Path) -> None:
    """Write the files of a report into a folder. Raises ExportError."""
    report = public_document(report)  # type: ignore[assignment]
    marks = find_unusual([lane.get("sample") for lane in report["lanes"]])
    names = _sample_names(report)
    rows: dict[str, dict[str, Any]] = {}
    classes: dict[str, dict[str, int]] = {}
    colours: dict[str, dict[str, str]] = {}
    for name, lane, found in zip(names, report["lanes"], marks, strict=True):
        sample = lane.get("sample") or {"classes": (), "uncertainty": None, "objects": None}
        rows[name] = {
            "state": lane["state"],
            "unusual": "; ".join(mark.short for mark in found),
            "warnings": len(lane["warnings"]),
            "uncertainty": (sample["uncertainty"] or {}).get("mean"),
            "objects": (sample["objects"] or {}).get("count"),
            "seconds": lane["seconds"],
        }
        classes[name] = {each["name"]: each.get("voxels", each.get("objects", 0)) for each in sample["classes"]}
        colours |= {each["name"]: {"name": each["name"], "color": each["colour"]} for each in sample["classes"]}
    section = {"section_name": "pixelforest", "parent_id": "pixelforest", "parent_name": "pixelforest"}
    table = {
        "id": "pixelforest_inputs",
        **section,
        "description": "Inputs to which the project was applied, and what is unusual about them.",
        "plot_type": "table",
        "pconfig": {"id": "pixelforest_inputs_table", "title": "pixelforest: inputs", "col1_header": "Input"},
        "headers": {
            key: {"title": key.capitalize(), **({} if form is None else {"format": form})}
            for key, form in _COLUMNS.items()
        },
        "data": {name: {key: value for key, value in row.items() if value is not None} for name, row in rows.items()},
    }
    bars = {
        "id": "pixelforest_classes",
        **section,
        "section_name": "Classes",
        "description": "Numbers of pixels, or of objects, in every class.",
        "plot_type": "bargraph",
        "pconfig": {"id": "pixelforest_classes_plot", "title": "pixelforest: classes", "ylab": "Number"},
        "categories": colours,
        "data": {name: counts for name, counts in classes.items() if counts},
    }
    for file, document in ((TABLE, table), (CLASSES, bars)):
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
        write_text_file(folder / file, text + "\n", OPTION, begins=_BEGINNING)
    is_many = len(names) > MAX_PICTURES
    for number, (name, lane, found) in enumerate(zip(names, report["lanes"], marks, strict=True), 1):
        pictures = (lane.get("sample") or {}).get("pictures", {})
        if "image" in pictures and (found or not is_many):
            layers = [base64.b64decode(pictures[key]) for key in ("image", "outlines") if key in pictures]
            file = f"pixelforest_{number}_{re.sub(r'[^A-Za-z0-9_.-]', '_', name)[:100]}_mqc.jpg"
            write_bytes_file(folder / file, lay_over(*layers), OPTION)


def _sample_names(report: Mapping[str, Any]) -> list[str]:
    """Short names of the inputs, unlike each other."""
    paths = [str(next(iter(lane["inputs"].values()), f"input {lane['lane']}")) for lane in report["lanes"]]
    short = [Path(path).name for path in paths]
    return [
        name if short.count(name) == 1 else f"{name} ({lane['lane']})"
        for name, lane in zip(short, report["lanes"], strict=True)
    ]

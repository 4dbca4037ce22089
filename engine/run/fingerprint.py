"""Fingerprint of a lane: everything that its results depend on, as texts that can be compared and named.

Threads, memory and device are not a part of it: results do not depend on them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ... import __version__
from ..export.images import ExportPlan
from ..export.tables import TablePlan
from ..inputs.images import InputImage
from ..jobs import Job
from ..pixels.results import LABELS
from .check import LaneCheck

Fingerprint = Mapping[str, str]
"""Name of a part, as an error names it -> its value, or a digest of it."""

_MAX_SHOWN = 40  # characters of values that an error quotes
# Fields of the settings of a table that do not change its contents, or that are files' names.
_NOT_OF_TABLES = {"template", "format", "is_numbered", "stored_place"}


def fingerprint(job: Job, found: LaneCheck) -> Fingerprint:
    """Make the fingerprint of a lane that was checked up to its plans."""
    parts = {
        "version of pixelforest": __version__,
        "project": f"digest {job.project.content_of_results}",
        "forest": "nvforest" if job.forest == "nvforest" else "native",
    }
    if LABELS in found.exports:  # they are read from the project's file
        parts["labels of the project"] = f"digest {_hash(*_states_of(job.project.path))}"
    for role, image in found.images.items():
        parts |= {f"{role}: {name}": text for name, text in _input(image, job)}
    for name, plan in found.exports.items():
        parts |= {f"{name}: {part}": text for part, text in _result(plan)}
    if found.block is not None and found.has_several_blocks:
        parts["shape of the blocks"] = "x".join(map(str, found.block))
    if found.table is not None:
        parts |= {f"table: {part}": text for part, text in _table(found.table)}
    return parts


def digest(parts: Fingerprint) -> str:
    """Return 12 hexadecimal digits that identify a fingerprint."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def describe_differences(old: Fingerprint, new: Fingerprint) -> str:
    """List the parts that differ, with their values where these are short."""
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return ", ".join(f"{name}{_values(old.get(name, 'none'), new.get(name, 'none'))}" for name in names)


def _values(old: str, new: str) -> str:
    if max(len(old), len(new)) > _MAX_SHOWN:
        return ""
    return f" ({old}, now {new})"


def _input(image: InputImage, job: Job) -> Iterator[tuple[str, str]]:
    yield "path", image.path_text
    yield "axes", image.axes
    yield "shape", "x".join(map(str, image.shape))
    yield "type", str(image.dtype)
    missing = "zeros for missing planes " if job.input_options.allow_missing_planes else ""
    stated = (image.source_names, image.drange, image.chunks, image.scales)
    yield "contents", f"{missing}digest {_hash(repr(stated), *_states(image))}"


def _states(image: InputImage) -> Iterator[str]:
    """Yield the states of all files; of a folder, those of the files directly in it."""
    for path in dict.fromkeys((*image.files, *map(Path, image.source_names))):
        yield from _states_of(path)


def _states_of(path: Path) -> Iterator[str]:
    """Yield name, size and time of change of a file, or of the files directly in a folder."""
    found = [path] if not path.is_dir() else sorted(each for each in path.iterdir() if not each.is_dir())
    for file in filter(Path.exists, found):
        status = os.stat(file)
        yield f"{file} {status.st_size} {status.st_mtime_ns}"


def _result(plan: ExportPlan) -> Iterator[tuple[str, str]]:
    yield "format", f"{plan.format.name} {plan.spec.version}".rstrip()
    yield "dataset", plan.internal_path
    yield "region", f"{plan.region.start} to {plan.region.stop}"
    yield "type", str(plan.spec.dtype)
    yield "axes", plan.spec.axes
    yield "range", f"digest {_hash(repr(plan.conversion))}"
    yield "metadata", f"digest {_hash(repr(replace(plan.spec, may_replace=False)))}"


def _table(plan: TablePlan) -> Iterator[tuple[str, str]]:
    settings = plan.settings
    yield "format", settings.format.name
    for name in (each.name for each in fields(settings) if each.name not in _NOT_OF_TABLES):
        yield name, _text(getattr(settings, name))


def _text(value: Any) -> str:
    return str(sorted(value) if isinstance(value, frozenset) else value)


def _hash(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode(errors="surrogateescape")).hexdigest()

"""Text of ``pixelforest explain``, made from the document that ``--json`` prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pixelforest.engine.machine import format_size
from pixelforest.engine.progress import format_duration
from pixelforest.engine.terminal_text import printable

_LABEL_WIDTH = 16
_PROGRAM = "in addition to about 200 MiB for the program itself"

Document = Mapping[str, Any]
Row = tuple[str, str]


def format_explanation(document: Document) -> str:
    """Format one line per fact; errors have lines of their own, with advice."""
    blocks = [list(_job(document)), *(list(_lane(lane)) for lane in document["lanes"]), list(_end(document))]
    return "\n\n".join("\n".join(_line(label, text) for label, text in block) for block in blocks if block)


def _line(label: str, text: str) -> str:
    return printable(f"{label + ':' if label else '':<{_LABEL_WIDTH}} {text}".rstrip())


def _job(document: Document) -> Iterable[Row]:
    project, machine = document["project"], document["machine"]
    saved = f", saved by ilastik {project['saved_by']}" if project["saved_by"] else ""
    yield "project", f"{project['path']} ({project['workflow']}{saved})"
    if project["objects"] is not None:
        yield from _objects(project["objects"])
    threads = f"{machine['threads']} thread{'' if machine['threads'] == 1 else 's'}"
    yield "machine", f"{machine['device']}, {threads}, {format_size(machine['memory_bytes'])} of memory to plan with"
    for text in document["warnings"]:
        yield "warning", text
    if not document["lanes"]:
        yield "nothing to do", "there are no input images; name them after the options"


def _objects(objects: Document) -> Iterable[Row]:
    yield "objects from", objects["made_from"]
    settings = objects["thresholds"]
    if settings is not None:
        level = f"{settings['low']:g} in channel {settings['channel']}"
        if settings["high"] is not None:
            level = f"cores {settings['high']:g} in channel {settings['core_channel']}, extent {level}"
        sigma = ", ".join(f"{axis} {value:g}" for axis, value in settings["sigma"].items())
        yield (
            "thresholds",
            f"{settings['method']}: {level}; smoothed with sigma {sigma}; objects of {settings['min_size']} to "
            f"{settings['max_size']} pixels are kept"
            + ("; grown through the whole image by one process" if settings["needs_whole_image"] else ""),
        )
    yield "object classes", f"{', '.join(objects['classes'])}, told by {_count(objects['features'], 'feature')}"


def _lane(lane: Document) -> Iterable[Row]:
    yield f"lane {lane['lane']}", lane["name"]
    if lane["state"] == "not begun":
        yield "not begun", "a lane before it fails, and --fail_fast was given"
        return
    if lane["state"] == "done":
        yield "  done", "an earlier run has written its results, so it is skipped"
    for image in lane["inputs"]:
        yield from _input(image)
    for result in lane["results"]:
        yield from _result(result)
    if lane["table"] is not None:
        table = lane["table"]
        yield "  table", f"{_count(table['columns'], 'column')} as {table['format']} to {table['path']}"
        if table["also"] is not None:
            yield "", f"and as ilastik names it, to {table['also']}"
        if table["exists"]:
            yield "  replaces", table["path"]
    if lane["work"] is not None:
        yield from _work(lane["work"])
    for text in lane["unchecked"]:
        yield "  not checked", f"{text}, which only the run decodes"
    for text in lane["notes"]:
        yield "  note", text
    for text in lane["warnings"]:
        yield "  warning", text
    if lane["error"] is not None:
        yield "  FAILS", lane["error"]


def _input(image: Document) -> Iterable[Row]:
    if image["shape"] is None:
        yield f"  {image['role']}", f"{image['argument']} (was not read)"
        return
    files = image["files"]
    shown = files[0] if len(files) == 1 else f"{len(files)} files from {files[0]} to {files[-1]}"
    yield f"  {image['role']}", shown
    sizes = " x ".join(f"{axis}={size}" for axis, size in image["shape"].items())
    yield "", f"{sizes}, {image['dtype']}"
    yield "", f"read as {image['axes']}; {_axes(image)}"
    if image["pixel_size"] or image["units"]:
        yield "", f"pixel size {_pixel_size(image)}"
    if image["scale"] is not None:
        yield "", f"scale {image['scale']} of {', '.join(image['scales'])}"
    if image["images"]:
        yield "", f"images of the file: {', '.join(image['images'])}"


def _axes(image: Document) -> str:
    own = f"the file says {image['axes_of_file']}" if image["axes_of_file"] else "the file does not say"
    if image["axes_wanted"] is None:
        return own if image["axes_of_file"] else f"{own}, so they are guessed from its shape"
    return f"{image['axes_wanted_by']} says {image['axes_wanted']}, {own}"


def _pixel_size(image: Document) -> str:
    sizes, units = image["pixel_size"], image["units"]
    axes = [axis for axis in image["axes"] if axis in sizes or axis in units]
    return ", ".join(f"{axis} {sizes.get(axis, 1):g} {units.get(axis, '')}".rstrip() for axis in axes)


def _result(result: Document) -> Iterable[Row]:
    sizes = " x ".join(f"{axis}={size}" for axis, size in zip(result["axes"], result["shape"], strict=True))
    yield "  result", f"{result['name']}: {sizes}, {result['dtype']}, {format_size(result['bytes'])} before compression"
    files = result["files"]
    count = f" ({len(files)} files, {files[0]} to {files[-1]})" if len(files) > 1 else ""
    yield "", f"as {result['format']} to {result['path']}{count}"
    exists = result["exists"]
    if exists and result["is_added"]:
        yield "", f"{exists[0]} exists: only this dataset in it is added or replaced"
    elif exists:
        yield "  replaces", exists[0] if len(exists) == 1 else f"{len(exists)} files, {exists[0]} to {exists[-1]}"


def _work(work: Document) -> Iterable[Row]:
    tile = " x ".join(f"{axis}={size}" for axis, size in work["tile"].items())
    halo = ", ".join(f"{axis} {size}" for axis, size in work["halo"].items() if size)
    around = f", each read with a halo of {halo}" if halo else ""
    yield "  tiles", f"{work['tiles']} of at most {tile}{around}"
    scratch = f", {format_size(work['scratch_bytes'])} for intermediate volumes" if work["scratch_bytes"] else ""
    yield "  memory", f"at most {format_size(work['memory_bytes'])}{scratch}, {_PROGRAM}"
    objects = ", more with many objects" if work["scratch_bytes"] and work["seconds"] is not None else ""
    yield "  time", f"{_time(work['seconds'])}{objects}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "not known for this device"
    if seconds < 1:
        return "less than a second"
    return f"about {format_duration(seconds)}"


def _end(document: Document) -> Iterable[Row]:
    lanes: Sequence[Document] = document["lanes"]
    good = sum(lane["state"] == "ok" for lane in lanes)
    if document["error"] is not None:
        yield "FAILS", document["error"]
    if good and document["status"] in (0, 3):
        rate = "an estimate from rates measured on another machine, start included"
        known = document["seconds"] is not None
        yield "time in all", f"{_time(document['seconds'])}{f' ({rate})' if known else ''}"
    ends = {0: "all would be done", 1: "the run would fail", 2: "the run would be refused", 3: "some lanes would fail"}
    yield "exit status", f"{document['status']}: {ends[document['status']]}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"

"""The page of a run, from the documents of ``--report_json``: a table of its inputs, their pictures, its provenance.

Everything in the page is made here; a browser requests nothing else, unless the pictures are in files of their own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import PurePath
from typing import Any

from pixelforest.engine.progress import format_duration
from pixelforest.engine.storage.thumbnails import picture_type

from .svg import draw_bar, draw_histogram, draw_patterns, draw_swatch, text
from .unusual import Mark, find_unusual

MAX_OPEN = 12  # inputs that are shown in full from the start
CITATION = (
    "Berg et al., ilastik: interactive machine learning for (bio)image analysis, Nature Methods 16, 1226-1232 (2019), "
    "doi:10.1038/s41592-019-0582-9"
)
_STATES = ("done", "failed", "skipped", "not done")
Lane = Mapping[str, Any]


def render_page(report: Mapping[str, Any], *, pictures_folder: str = "") -> str:
    """Return the page of a report, or of a joined one.

    pictures_folder  where the page finds the pictures of ``list_pictures``, relative to itself; empty: in the page
    """
    lanes = report["lanes"]
    marks = find_unusual([lane.get("sample") for lane in lanes])
    style, script = (files(__package__).joinpath(name).read_text("utf-8") for name in ("report.css", "report.js"))
    title = f"{PurePath(report['project'] or 'run').name}: {_count(len(lanes), 'input')}"
    body = "\n".join(
        [
            draw_patterns(_fills(lanes)),
            f"<main><h1>{text(title)}</h1>",
            _summarize(report, marks),
            _tools(lanes),
            _table(lanes, marks),
            "<h2>Inputs</h2>",
            *(
                _describe_lane(lane, found, pictures_folder, is_open=len(lanes) <= MAX_OPEN)
                for lane, found in zip(lanes, marks, strict=True)
            ),
            _provenance(report),
            "</main>",
        ]
    )
    sources = "data: file: 'self'" if pictures_folder else "data:"
    policy = (
        f"default-src 'none'; img-src {sources}; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{text(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n"
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def list_pictures(report: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the contents of every picture, for pages with pictures in files of their own."""
    for lane in report["lanes"]:
        for name, encoded in _pictures(lane).items():
            yield _file_name(lane, name), base64.b64decode(encoded)


def _digest(source: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


def _pictures(lane: Lane) -> Mapping[str, str]:
    pictures: Mapping[str, str] = (lane.get("sample") or {}).get("pictures", {})
    return pictures


def _file_name(lane: Lane, name: str) -> str:
    encoded = _pictures(lane)[name]
    ending = picture_type(base64.b64decode(encoded[:16])).rpartition("/")[2]
    return f"{lane['lane']}_{name.replace(' ', '_')}.{ending}"


def _source(lane: Lane, name: str, folder: str) -> str:
    """Value of ``src`` for a picture."""
    if folder:
        return text(f"{folder}/{_file_name(lane, name)}")
    encoded = _pictures(lane)[name]
    return f"data:{picture_type(base64.b64decode(encoded[:16]))};base64,{encoded}"


def _fills(lanes: Sequence[Lane]) -> list[tuple[int, str]]:
    """List the fills of all classes, each once."""
    found = [
        (index, each["colour"])
        for lane in lanes
        for index, each in enumerate((lane.get("sample") or _EMPTY)["classes"])
    ]
    return sorted(set(found))


_EMPTY: Mapping[str, Any] = {"classes": ()}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


# ---------------------------------------------------------------------------------------------------------------- top


def _summarize(report: Mapping[str, Any], marks: Sequence[Sequence[Mark]]) -> str:
    lanes = report["lanes"]
    states = [lane["state"] for lane in lanes]
    parts = [f"{states.count(state)} {state}" for state in _STATES if state in states]
    warned = sum(bool(lane["warnings"]) for lane in lanes)
    unusual = sum(map(bool, marks))
    parts += [f"{_count(warned, 'input')} with warnings"] if warned else []
    parts += [f"{_count(unusual, 'input')} marked as unusual"] if unusual else []
    lines = [f"<p>{text(', '.join(parts) or 'no inputs')}; {text(format_duration(report['seconds']))} in total.</p>"]
    if report["error"]:
        lines.append(f'<p class="failed">{text(report["error"])}</p>')
    return "".join(lines)


def _tools(lanes: Sequence[Lane]) -> str:
    """Controls of the classes over the pictures; without a script the opacity stays at a half."""
    if not any("classes" in _pictures(lane) for lane in lanes):
        return ""
    choices = "".join(
        f'<label><input type="radio" name="classes" id="{name}"{" checked" if name == "filled" else ""}> {name}</label>'
        for name in ("filled", "outlines", "hidden")
    )
    return (
        '<div class="tools" role="group" aria-label="Classes over the images">'
        '<label class="needs-js">Opacity <input type="range" id="opacity" min="0" max="100" value="50"></label>'
        f"<fieldset><legend>Classes</legend>{choices}</fieldset>"
        '<span class="needs-js quiet">Hold <kbd>H</kbd> to hide the classes.</span></div>'
    )


def _table(lanes: Sequence[Lane], marks: Sequence[Sequence[Mark]]) -> str:
    has_objects = any((lane.get("sample") or {}).get("objects") for lane in lanes)
    heads = [("Input", "text"), ("State", "text"), ("Classes", "number"), ("Uncertainty", "number")]
    heads += [("Objects", "number")] if has_objects else []
    heads += [("Seconds", "number"), ("Device", "text")]
    head = "".join(
        f'<th scope="col" data-kind="{kind}"><button type="button">{name}</button></th>' for name, kind in heads
    )
    rows = "".join(_row(lane, found, has_objects) for lane, found in zip(lanes, marks, strict=True))
    return (
        f'<h2 id="table">Overview</h2><p class="quiet">{_LEGEND_NOTE}</p>'
        '<div class="scroll" tabindex="0" role="region" aria-labelledby="table"><table aria-labelledby="table">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        f"{''.join(map(_legend, _legends(lanes)))}"
    )


_LEGEND_NOTE = (
    "Shares of the classes, mean uncertainty from 0 to 1. Unusual: outside of the other inputs' range by 1.5 times the "
    "distance of their quartiles, and by an amount that matters."
)


def _row(lane: Lane, marks: Sequence[Mark], has_objects: bool) -> str:
    sample = lane.get("sample")
    state, shares = lane["state"], _shares(lane)
    words = f'<span class="{state}">{state}</span>'
    if lane["warnings"]:
        words += f", {_count(len(lane['warnings']), 'warning')}"
    if marks:
        words += f'<br><span class="unusual">unusual: {text("; ".join(mark.short for mark in marks))}</span>'
    order = f"{_STATES.index(state)}{0 if marks else 1}"
    uncertainty = sample and sample["uncertainty"]
    objects = sample and sample["objects"]
    cells = [
        f'<td class="input" data-value="{text(_name(lane))}"><a href="#input-{lane["lane"]}">{text(_name(lane))}</a>'
        f'<br><span class="quiet">{text(_size(lane))}</span></td>',
        f'<td class="state" data-value="{order}">{words}</td>',
        f'<td data-value="{shares[0][2] if shares else ""}">{draw_bar(shares) if shares else ""}</td>',
        _number_cell(None if not uncertainty else uncertainty["mean"], ".3f"),
        *([_number_cell(objects["count"] if objects else None, "d")] if has_objects else []),
        _number_cell(lane["seconds"], ".2f"),
        f'<td data-value="{text(lane["device"] or "")}">{text(lane["device"] or "")}</td>',
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _number_cell(value: float | None, spec: str) -> str:
    order, shown = ("", "") if value is None else (value, format(value, spec))
    return f'<td class="number" data-value="{order}">{shown}</td>'


def _name(lane: Lane) -> str:
    return str(next(iter(lane["inputs"].values()), f"input {lane['lane']}"))


def _size(lane: Lane) -> str:
    sample = lane.get("sample")
    if not sample:
        return ""
    sizes = dict(zip("tzyxc", sample["shape"], strict=True))
    shown = [f"{axis} {n}" for axis, n in sizes.items() if n > 1 or axis in "yx"]
    return f"{', '.join(shown)}; {sample['dtype']}"


def _shares(lane: Lane) -> list[tuple[str, str, float]]:
    """Name, colour and share of each class; empty if nothing was counted."""
    classes = (lane.get("sample") or _EMPTY)["classes"]
    counts = [each.get("voxels", each.get("objects", 0)) for each in classes]
    total = sum(counts)
    if not total:
        return []
    return [(each["name"], each["colour"], count / total) for each, count in zip(classes, counts, strict=True)]


def _legends(lanes: Sequence[Lane]) -> list[tuple[tuple[str, str], ...]]:
    """Names and colours of classes: usually the same for all inputs."""
    found = [
        tuple((each["name"], each["colour"]) for each in (lane.get("sample") or _EMPTY)["classes"]) for lane in lanes
    ]
    return [legend for legend in dict.fromkeys(found) if legend]


def _legend(classes: Sequence[tuple[str, str]]) -> str:
    items = "".join(f"<li>{draw_swatch(i, colour)} {text(name)}</li>" for i, (name, colour) in enumerate(classes))
    return f'<ul class="legend" aria-label="Classes">{items}</ul>'


# --------------------------------------------------------------------------------------------------------- one input


def _describe_lane(lane: Lane, marks: Sequence[Mark], folder: str, *, is_open: bool) -> str:
    sample = lane.get("sample")
    is_shown = is_open or bool(marks) or lane["state"] == "failed"
    parts = [
        f'<details class="input-details" id="input-{lane["lane"]}"{" open" if is_shown else ""}>',
        f'<summary><h3>{text(_name(lane))}</h3> <span class="quiet">{text(lane["state"])}</span></summary>',
    ]
    if lane["error"]:
        parts.append(f'<p class="failed">{text(lane["error"])}</p>')
    parts += [f'<p class="unusual">Unusual: {text(mark.sentence)}.</p>' for mark in marks]
    parts += [f"<p>Warning: {text(warning)}</p>" for warning in lane["warnings"]]
    if sample:
        parts += [*_show_pictures(lane, folder), *_show_numbers(lane), *_show_crops(lane, folder)]
    elif lane["state"] == "skipped":
        parts.append("<p>An earlier run has computed it; its pictures are in the report of that run.</p>")
    if len(lane["inputs"]) > 1:
        pairs = "".join(f"<dt>{text(role)}</dt><dd>{text(path)}</dd>" for role, path in lane["inputs"].items())
        parts.append(f"<dl>{pairs}</dl>")
    if lane["outputs"]:
        rows = "".join(
            f'<li><code>{text(path)}</code><button type="button" class="copy needs-js" '
            f'aria-label="Copy the path {text(path)}">Copy</button></li>'
            for path in lane["outputs"]
        )
        parts.append(f'<ul class="outputs" aria-label="Files">{rows}</ul>')
    parts.append("</details>")
    return "".join(parts)


def _show_pictures(lane: Lane, folder: str) -> Iterator[str]:
    sample, pictures = lane["sample"], _pictures(lane)
    if "image" not in pictures:
        yield "<p>There is no picture: the image was not read.</p>"
        return
    name, plane = _name(lane), sample["plane"]
    height, width = plane["shape"]
    size = f'width="{width}" height="{height}"' + (' loading="lazy"' if folder else "")
    layers = "".join(
        f'<img class="layer {kind}" {size} src="{_source(lane, picture, folder)}" alt="{text(words)}">'
        for kind, picture, words in (
            ("filled", "classes", f"classes of {name}"),
            ("outlines", "outlines", f"outlines of the classes of {name}"),
        )
        if picture in pictures
    )
    yield (
        '<div class="pictures"><figure><div class="stack">'
        f'<img {size} src="{_source(lane, "image", folder)}" alt="{text(f"image {name}")}">{layers}</div>'
        f"<figcaption>{text(_describe_plane(sample))}</figcaption></figure>"
    )
    if "uncertainty" in pictures:
        yield (
            f'<figure class="single"><img src="{_source(lane, "uncertainty", folder)}" '
            f'alt="{text(f"uncertainty of {name}")}"{" loading=lazy" if folder else ""}>'
            "<figcaption>Uncertainty, bright where the classifier is uncertain</figcaption></figure>"
        )
    yield "</div>"
    yield _legend([(each["name"], each["colour"]) for each in sample["classes"]]) if sample["classes"] else ""


def _describe_plane(sample: Mapping[str, Any]) -> str:
    plane, (t, z, *_) = sample["plane"], sample["shape"]
    words = [f"time point {plane['t']}"] if t > 1 else []
    words += [f"plane z = {plane['z']} of {z}"] if z > 1 else []
    words += [f"every {plane['step']}th pixel"] if plane["step"] > 1 else []
    channels = sample["shape"][4]
    words += [f"the first three of {channels} channels"] if channels > 3 else []
    return (", ".join(words) or "all pixels").capitalize()


def _show_numbers(lane: Lane) -> Iterator[str]:
    sample, shares = lane["sample"], _shares(lane)
    counted = sum(each.get("voxels", 0) for each in sample["classes"])
    if shares:
        words = ", ".join(
            f"{name} {share:.2%} ({each.get('voxels', each.get('objects'))})"
            for (name, _, share), each in zip(shares, sample["classes"], strict=True)
        )
        unit = "objects" if sample["objects"] else "pixels"
        yield f"<p>{draw_bar(shares)}{text(unit.capitalize())}: {text(words)}</p>"
    if 0 < counted < sample["voxels"]:
        yield f"<p>{counted / sample['voxels']:.0%} of the pixels were computed by this run, the others by others.</p>"
    charts = []
    if sample["uncertainty"]:
        charts.append(draw_histogram(sample["uncertainty"]["histogram"], "Uncertainty", "0", "1"))
    for number, channel in enumerate(sample["channels"], 1):
        if channel.get("histogram"):
            title = "Intensity" if len(sample["channels"]) == 1 else f"Intensity of channel {number}"
            low, high = f"{channel['minimum']:g}", f"{channel['maximum']:g}"
            charts.append(draw_histogram(channel["histogram"], title, low, high))
    objects = sample["objects"] or {}
    for key, title in (("sizes", "Size"), ("intensities", "Mean intensity")):
        found = objects.get(key)
        if found is None:
            continue
        for each, counts in zip(sample["classes"], found["counts"], strict=True):
            low, high = (2 ** found[end] if key == "sizes" else found[end] for end in ("minimum", "maximum"))
            shown = f"{title} of {each['name']}" + (" (logarithmic)" if key == "sizes" else "")
            charts.append(draw_histogram(counts, shown, f"{low:.4g}", f"{high:.4g}"))
    if charts:
        yield f'<div class="charts">{"".join(charts)}</div>'


def _show_crops(lane: Lane, folder: str) -> Iterator[str]:
    sample = lane["sample"]
    crops = (sample["objects"] or {}).get("samples", ())
    figures = []
    for number, crop in enumerate(crops, 1):
        picture = f"object {number}"
        if picture in _pictures(lane):
            name = sample["classes"][crop["class"] - 1]["name"]
            words = f"object {crop['id']}, {name}"
            figures.append(
                f'<figure><img src="{_source(lane, picture, folder)}" alt="{text(words)}">'
                f"<figcaption>{text(words)}</figcaption></figure>"
            )
    if figures:
        yield f'<div class="crops">{"".join(figures)}</div>'


# --------------------------------------------------------------------------------------------------------- provenance


def _provenance(report: Mapping[str, Any]) -> str:
    parts = report.get("parts") or [report]
    entries = [f"<h2>Provenance</h2>{''.join(map(_describe_run, parts))}"]
    entries.append(
        "<dl><dt>To cite</dt><dd>"
        f"{text(CITATION)}; and pixelforest {text(report['version'])}, which computed the results</dd>"
        "<dt>Licence</dt><dd>pixelforest is distributed under the BSD-3-Clause licence; images and project have their "
        "own.</dd></dl>"
    )
    return "".join(entries)


def _describe_run(report: Mapping[str, Any]) -> str:
    known = report.get("provenance") or {}
    devices = sorted({lane["device"] for lane in report["lanes"] if lane["device"]})
    rows = {
        "Date": known.get("date"),
        "Command": known.get("command"),
        "Project": report["project"],
        "SHA-256 of the project": known.get("project_sha256"),
        "Workflow": known.get("workflow"),
        "Shard": "/".join(map(str, report["shard"])) if report["shard"] else None,
        "Versions": ", ".join(f"{name} {version}" for name, version in known.get("versions", {}).items()),
        "Machine": known.get("machine"),
        "Device, threads": ", ".join(filter(None, [*devices, str(report["threads"] or "")])),
    }
    shown = "".join(f"<dt>{name}</dt><dd>{text(value)}</dd>" for name, value in rows.items() if value)
    return f"<dl>{shown}</dl>"

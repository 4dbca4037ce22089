"""Texts of ``pixelforest info``, ``pixelforest formats`` and ``pixelforest doctor``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pixelforest.engine.errors import as_flag, render_settings
from pixelforest.engine.messages import describe_error
from pixelforest.engine.terminal_text import printable

if TYPE_CHECKING:
    from pixelforest.engine.formats.spec import ImageInfo, OutputFormat
    from pixelforest.engine.inputs.images import FileContents
    from pixelforest.engine.project import (
        FeatureSelection,
        ForestSummary,
        ObjectSummary,
        ProjectSummary,
        StoredExportSettings,
        ThresholdSettings,
    )
    from pixelforest.engine.run.doctor import Health

_LABEL_WIDTH = 16


def describe(summary: ProjectSummary) -> str:
    """Describe a project and its requirements, one line per fact."""
    workflow = summary.workflow or "not stored"
    if not summary.is_supported:
        workflow += " (not supported)"
    inputs = ", ".join(f"{role} (--{role.lower().replace(' ', '_')})" for role in summary.roles)
    facts = [
        ("project", str(summary.path)),
        ("workflow", workflow),
        ("saved by", f"ilastik {summary.version or 'of an unknown version'}"),
        ("inputs", inputs),
        ("trained on", _training(summary)),
        *_features(summary.features, summary.dimensions),
        *_pixels(summary),
        *_objects(summary.objects),
        *summary.details,
        ("export defaults", _export(summary.export)),
        *(("problem", problem) for problem in summary.problems),
    ]
    lines = (f"{label + ':' if label else '':<{_LABEL_WIDTH}} {text}".rstrip() for label, text in facts if text)
    return "\n".join(map(printable, lines))


def describe_contents(path: str, contents: FileContents) -> str:
    """Describe the images of a file, one line each; an image of several resolutions with its levels."""
    facts = [("file", path), ("format", contents.format)]
    for name, found in contents.images.items():
        label = "image" if len(facts) == 2 else ""
        title = f"{name}: " if name else ""
        if found is None:
            facts.append((label, name))
        elif isinstance(found, Exception):
            facts.append((label, f"{title}{describe_error(found, as_flag)}"))
        else:
            facts.append((label, f"{title}{_image(found)}"))
    lines = (f"{label + ':' if label else '':<{_LABEL_WIDTH}} {text}".rstrip() for label, text in facts)
    return "\n".join(map(printable, lines))


def _image(info: ImageInfo) -> str:
    sizes = " x ".join(f"{axis}={size}" for axis, size in zip(info.axes, info.shape, strict=True))
    text = f"{sizes}, {info.dtype}"
    pixel = [
        f"{a} {info.resolution[a]:g} {info.axis_units.get(a, '')}".rstrip() for a in info.axes if a in info.resolution
    ]
    if pixel:
        text += f", pixel size {', '.join(pixel)}"
    if info.scales is not None:
        text += f", scale {info.scales.active} of {', '.join(info.scales.shapes)}"
    return f"{text}; {info.axes_problem}: say what they are with --input_axes" if info.axes_problem else text


def _training(summary: ProjectSummary) -> str:
    parts = [f"{summary.lane_count} image{'' if summary.lane_count == 1 else 's'}"]
    if summary.axes:
        parts.append(f"axes {summary.axes}")
    if summary.shape:
        parts.append("the first of size " + " x ".join(str(n) for n in summary.shape))
    if summary.channels is not None:
        parts.append(f"{summary.channels} channel{'' if summary.channels == 1 else 's'}")
    return ", ".join(parts)


def _features(features: FeatureSelection | None, dimensions: str | None) -> Iterable[tuple[str, str]]:
    """List each feature with its scales; (2-D) marks scales filtered slice by slice in a mixed project."""
    if features is None:
        return
    label = "features"
    for name, row in zip(features.ids, features.matrix, strict=True):
        marks = [
            f"{scale:g}" + (" (2-D)" if flat and dimensions == "mixed" else "")
            for scale, flat, chosen in zip(features.scales, features.compute_in_2d, row, strict=True)
            if chosen
        ]
        if marks:
            yield label, f"{name} at {', '.join(marks)}"
            label = ""
    if dimensions:
        yield "filtered in", dimensions


def _pixels(summary: ProjectSummary) -> Iterable[tuple[str, str]]:
    """Describe the pixel stage; nothing for a project that classifies objects only."""
    if summary.objects is not None and summary.features is None and summary.forest is None:
        return
    yield "classes", _classes(summary.class_names, summary.label_counts)
    yield "classifier", _forest(summary.forest)


def _objects(objects: ObjectSummary | None) -> Iterable[tuple[str, str]]:
    """Describe how objects are made, measured and classified."""
    if objects is None:
        return
    yield "thresholds", _thresholds(objects.thresholds)
    if objects.features is not None:
        label = "object features"
        for plugin, names in objects.features.computed.items():
            chosen = objects.features.selected.get(plugin, {})
            margins = {f"margin {' x '.join(map(str, m))}" for m in names.values() if m is not None and any(m)}
            parts = [f"{name}{'' if name in chosen else ' (not classified)'}" for name in names]
            yield label, f"{plugin}: {', '.join(parts)}" + (f" ({', '.join(sorted(margins))})" if margins else "")
            label = ""
        for plugin, names in objects.features.left_out.items():
            yield label, f"{plugin}: {', '.join(names)} (not known here, left out of tables)"
            label = ""
    yield "object classes", _classes(objects.class_names, objects.label_counts)
    yield "object forest", _forest(objects.forest)
    if objects.blocks is not None:
        sizes = " x ".join(map(str, reversed(objects.blocks.shape)))
        halo = " x ".join(map(str, reversed(objects.blocks.halo)))
        yield "blocks", f"{sizes} with a halo of {halo} (x, y, z)"
    if objects.table is not None:
        yield "table", f"{objects.table.file_path} ({objects.table.file_type}, {len(objects.table.features)} features)"


def _thresholds(settings: ThresholdSettings | None) -> str:
    if settings is None:
        return ""
    sigmas = " x ".join(f"{sigma:g}" for sigma in reversed(settings.sigma))
    levels = f"{settings.low:g} in channel {settings.channel}"
    if settings.method in ("hysteresis", "ipht"):
        levels = f"cores {settings.high:g} in channel {settings.core_channel}, extent {levels}"
    return f"{settings.method}, {levels}, sizes {settings.min_size} to {settings.max_size}, sigma {sigmas} (x, y, z)"


def _classes(names: Sequence[str], label_counts: Sequence[int]) -> str:
    counts = label_counts or (0,) * len(names)
    named = zip(names, counts, strict=False)
    return ", ".join(f"{number} {name} ({count} labelled)" for number, (name, count) in enumerate(named, start=1))


def _forest(forest: ForestSummary | None) -> str:
    if forest is None:
        return "none that can be used"
    weights = ", weighted" if forest.is_weighted else ""
    return (
        f"{forest.kind}: {forest.trees} trees in {forest.forests} forest{'' if forest.forests == 1 else 's'}, "
        f"{forest.nodes} nodes, {forest.leaves} leaves{weights}, {forest.columns} feature columns"
    )


def _export(export: StoredExportSettings) -> str:
    stored = {
        "--output_filename_format": export.filename_format,
        "--output_format": export.format,
        "--output_internal_path": export.internal_path,
        "--output_axis_order": export.axis_order,
        "--export_dtype": export.dtype,
        "--pipeline_result_drange": export.input_range,
        "--export_drange": export.export_range,
    }
    parts = [f"{name}={value}" for name, value in stored.items() if value is not None]
    if export.region_start is not None and export.region_stop is not None:
        parts.append(f"--cutout_subregion={[export.region_start, export.region_stop]}")
    return "  ".join(parts) or "none stored"


def list_formats(formats: Iterable[OutputFormat]) -> str:
    """List the output formats, one line each."""
    rows = [(f.name, f.extension and f".{f.extension}", render_settings(f.summary, as_flag)) for f in formats]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"{name:<{widths[0]}}  {suffix:<{widths[1]}}  {text}".rstrip() for name, suffix, text in rows)


def describe_health(health: Health) -> str:
    """List the findings of ``pixelforest doctor``, one line each; faults are marked."""
    lines = []
    for part, findings in health.parts.items():
        lines.append(part)
        width = max(len(finding.name) for finding in findings) + 1
        for finding in findings:
            mark = "!!" if finding.is_fault else "  "
            lines.append(printable(f"{mark}{finding.name + ':':<{width}} {render_settings(finding.text, as_flag)}"))
    return "\n".join(lines)

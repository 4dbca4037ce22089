"""Output paths: the template, its placeholders, its extension.

A result is never written outside of the place that the template names: values that could lead elsewhere are sanitized.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from string import Formatter

from ...box import Box
from ...frozen import frozen
from ..axes import CANONICAL
from ..errors import OUTPUT_FILES, ExportError, Setting, setting
from ..formats import is_image_extension
from ..storage.object_storage import is_url

__all__ = [
    "LANE_PLACEHOLDERS",
    "PLACEHOLDERS",
    "LaneNames",
    "Protected",
    "adapt_template",
    "advise_on_collision",
    "check_collisions",
    "check_protected",
    "describe_unknown_fields",
    "file_key",
    "fill_template",
    "force_extension",
    "lane_values",
    "placeholder_values",
    "protect",
    "template_fields",
]

log = logging.getLogger("pixelforest.export")

Protected = Mapping[str, tuple[Path, str]]
"""Files that must not be written to: key -> path and description."""

RESULT_MARK = "_{result_type}"
LANE_PLACEHOLDERS = frozenset(("dataset_dir", "nickname"))
PLACEHOLDERS = LANE_PLACEHOLDERS | {"result_type", "roi", "slice_index"}
PLACEHOLDERS |= {f"{axis}_{end}" for axis in CANONICAL for end in ("start", "stop")}

# File systems allow names of 255 bytes and paths of 4096.
MAX_FIELD_WIDTH = 255
MAX_TEMPLATE_LENGTH = 4096


def _split_extension(text: str) -> tuple[str, str]:
    """Split a path or template from its last suffix, if that belongs to an image format; else the suffix is empty."""
    stem, suffix = os.path.splitext(text)
    return (stem, suffix) if suffix and is_image_extension(suffix[1:].lower()) else (text, "")


def adapt_template(
    template: str, *, is_sequence: bool, has_several_results: bool, default: str, mark: str = RESULT_MARK
) -> str:
    """Add the placeholders that a sequence or several results need to a template.

    mark   distinguishes one of several results from the others
    ``_{slice_index}`` is added to the default template; another one that lacks it is an ExportError with a valid
    example. ``_{result_type}`` is added, with a log line, where results would get the same name.
    """
    fields = template_fields(template)
    stem, suffix = _split_extension(template)
    if has_several_results and "result_type" not in fields:
        stem += mark
        log.info("several results are exported: their names are put before the extension, %s%s", stem, suffix)
    if is_sequence and "slice_index" not in fields:
        if _split_extension(template)[0] != _split_extension(default)[0]:
            raise ExportError(
                f"the name of an image sequence needs {{slice_index}}, but it is {template!r}; "
                f"use {OUTPUT_FILES}={stem}_{{slice_index}}{suffix}"
            )
        stem += "_{slice_index}"
    if not is_sequence and "slice_index" in fields:
        right = re.sub(r"[_-]\{slice_index[^{}]*\}|\{slice_index[^{}]*\}[_-]?", "", template)
        if not os.path.basename(right).partition(".")[0]:
            right = re.sub(r"\{slice_index[^{}]*\}", "{nickname}_{result_type}", template)
        raise ExportError(
            f"{{slice_index}} is for image sequences only, but the output path is {template!r}; "
            f"use {OUTPUT_FILES}={right} or an {setting('output_format')} that ends in 'sequence'"
        )
    return stem + suffix


def template_fields(template: str) -> set[str]:
    """List the names of the placeholders in a template. Raises ExportError."""
    return {name for _, name, _, _ in _parse(template) if name is not None}


def _parse(template: str) -> list[tuple[str, str | None, str | None, str | None]]:
    if len(template) > MAX_TEMPLATE_LENGTH:
        raise ExportError(
            f"the output path {template[:40]!r}… has {len(template)} characters, more than {MAX_TEMPLATE_LENGTH}; "
            "use a shorter one"
        )
    try:
        return list(Formatter().parse(template))
    except ValueError as error:
        raise ExportError(f"the output path {template!r} cannot be understood: {error}") from None


def describe_unknown_fields(template: str, option: Setting, known: Collection[str] = PLACEHOLDERS) -> str:
    """Describe placeholders that are never filled in, with a marked option; empty without any. Raises ExportError."""
    unknown = sorted(template_fields(template) - set(known))
    if not unknown:
        return ""
    from difflib import get_close_matches

    likely = (get_close_matches(name, known, n=1) for name in unknown)
    hints = [f"; did you mean {{{names[0]}}}?" for names in likely if names]
    shown = ", ".join(f"{{{name}}}" for name in unknown)
    return f"{option}: {shown} is not a placeholder and is kept in the name{hints[0] if hints else ''}"


def placeholder_values(
    *, dataset_dir: Path, nickname: str, result_type: str, region: Box, pipeline_axes: str, output_axes: str
) -> dict[str, object]:
    """Values of the placeholders. ``region`` is canonical and already clipped to the image."""
    values = lane_values(dataset_dir=dataset_dir, nickname=nickname)
    values["result_type"] = _harmless(result_type)
    index = [CANONICAL.index(a) for a in pipeline_axes]
    values["roi"] = str([tuple(region.start[i] for i in index), tuple(region.stop[i] for i in index)])
    for axis in output_axes:
        values[f"{axis}_start"], values[f"{axis}_stop"] = 0, 1
    for axis, i in zip(pipeline_axes, index, strict=True):
        values[f"{axis}_start"], values[f"{axis}_stop"] = region.start[i], region.stop[i]
    return values


def lane_values(*, dataset_dir: Path, nickname: str) -> dict[str, object]:
    """Values of the placeholders that depend only on the lane's main image."""
    return {"dataset_dir": str(dataset_dir), "nickname": _harmless(nickname.replace("*", ""))}


def _harmless(name: str) -> str:
    """Remove from a name everything that would make it a path."""
    name = re.sub(r"[/\\\x00]", "_", name)
    return name.replace(".", "_") if name in (".", "..") else name


def fill_template(template: str, values: Mapping[str, object]) -> str:
    """Fill in the placeholders of a template; format specs apply, unknown placeholders stay unchanged."""
    parts = []
    for text, name, spec, _ in _parse(template):
        parts.append(text)
        if name is None:
            continue
        if name not in values:
            parts.append(f"{{{name}:{spec}}}" if spec else f"{{{name}}}")
            continue
        _check_width(template, name, spec or "")
        try:
            parts.append(format(values[name], spec or ""))
        except ValueError as error:
            raise ExportError(f"the placeholder {{{name}:{spec}}} in {template!r} does not work: {error}") from None
    return "".join(parts)


def _check_width(template: str, name: str, spec: str) -> None:
    """Refuse a width or precision beyond the length of file names, which would be padded in memory first."""
    for digits in re.findall(r"\d+", spec):
        if len(digits) > 9 or int(digits) > MAX_FIELD_WIDTH:
            raise ExportError(
                f"the placeholder {{{name}:{spec[:40]}}} in {template[:200]!r} is wider than the {MAX_FIELD_WIDTH} "
                "characters of a file name; use a smaller width or precision"
            )


def force_extension(text: str, extension: str) -> str:
    """Replace the extension of another image format in a path or URL by this one; unchanged if that is "".

    Anything else after a dot belongs to the name and is kept; ilastik would remove it, so a line is logged.
    """
    if not extension:
        return text
    name = text.rpartition("/")[2] if is_url(text) else os.path.basename(text)
    if not name:
        raise ExportError(f"the output path {text!r} has no file name")
    stem, suffix = _split_extension(name)
    if not suffix and os.path.splitext(name)[1]:
        log.info("%s: what follows the dot is kept as a part of the name (ilastik would cut it off)", name)
    return f"{text.removesuffix(name)}{stem}.{extension}"


def protect(files: Mapping[Path, str]) -> Protected:
    """Make the keys of files that must not be written to: path -> description ("an input", "the project")."""
    return {file_key(path): (path, what) for path, what in files.items()}


def check_protected(paths: Iterable[Path | str], protected: Protected, *, option: Setting = OUTPUT_FILES) -> None:
    """Refuse to overwrite an input or the project.

    option  option that chose the paths
    """
    for path in paths:
        key = file_key(path)
        if key in protected:
            original, what = protected[key]
            raise ExportError(f"the output {path} is {what} ({original}); choose another {option}")
        inside = next((k for k in protected if k.startswith(f"{key}{os.sep}")), None)
        if inside is not None:
            original, what = protected[inside]
            raise ExportError(f"the output {path} holds {what} ({original}); choose another {option}")


@frozen
class LaneNames:
    """Names that distinguish the main inputs of lanes.

    sources   its files, datasets in files, or its URL
    """

    nickname: str
    dataset_dir: Path
    sources: tuple[str, ...]

    @property
    def key(self) -> tuple[str, ...]:
        """The sources with links resolved."""
        return tuple(s if is_url(s) else os.path.realpath(s) for s in self.sources)


def advise_on_collision(first: LaneNames | None, second: LaneNames | None, option: Setting) -> str:
    """Advice for two lanes whose results go to the same place; ``option`` says where. None: names are not known."""
    if first is None or second is None:
        return f"use {{nickname}} and {{dataset_dir}} in {option} to tell them apart"
    if first.key == second.key:
        return f"both are {first.key[0]}; leave one of them out"
    values = [lane_values(dataset_dir=n.dataset_dir, nickname=n.nickname) for n in (first, second)]
    differing = [f"{{{field}}}" for field in ("nickname", "dataset_dir") if values[0][field] != values[1][field]]
    if differing:
        return f"use {' and '.join(differing)} in {option} to tell them apart"
    return f"they have the same name in the same folder: run pixelforest once for each, with another {option}"


def check_collisions(
    planned: Sequence[tuple[int, Path | str, str]], names: Mapping[int, LaneNames] | None = None
) -> None:
    """Refuse outputs that would be written twice: (lane number from 0, path or URL, dataset in it or "")."""
    names = names or {}
    taken: dict[tuple[str, str], int] = {}
    for lane, path, internal_path in planned:
        key = (file_key(path), internal_path)
        if key in taken:
            first = taken[key]
            if first == lane:
                who, advice = f"two results of lane {lane + 1}", f"use {{result_type}} in {OUTPUT_FILES}"
                advice += " to tell them apart"
            else:
                who = f"lanes {first + 1} and {lane + 1}"
                advice = advise_on_collision(names.get(first), names.get(lane), OUTPUT_FILES)
            raise ExportError(f"{who} would both be written to {path}; {advice}")
        taken[key] = lane


def file_key(path: Path | str) -> str:
    """Identity of a file by its path: links resolved, letter case normalized where ignored. A URL is unchanged."""
    return path if isinstance(path, str) else os.path.normcase(os.path.realpath(path))

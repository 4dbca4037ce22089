"""Selection of object features for a new project, from the text of ``--features``."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import UsageError, setting
from ..objects.feature_catalogue import INTENSITY, SHAPE, FeatureEntry, available_features, check_features
from ..project import open_project
from ..project.object_features import Features, Margins, read_object_features

MAX_EXTENT = 1000
MARGIN = (30, 30, 1)  # along x, y, z: of ilastik's dialog
# Of an object without defects ilastik reads memory that is not its own: a classifier could not be used there.
_UNSTABLE = "DefectCenter"


def parse_object_features(text: str, *, dimensions: int, channels: int) -> Features:
    """Parse ``usual``, ``all``, ``like:Other.ilp`` or ``Size in pixels;Mean Intensity in neighborhood:10``.

    ``usual`` are the features of shape and intensity, which do not depend on where an object is. The number after a
    feature is the extent of its neighbourhood in pixels. Raises UsageError, and ProjectError or InputMismatch for
    another project whose features cannot be used.
    """
    if text.startswith("like:"):
        with open_project(Path(text.removeprefix("like:")).expanduser()) as file:
            features = read_object_features(file).measured(everything=False)
        check_features(features, dimensions=dimensions, channels=channels)
        return features
    known = [entry for entry in available_features(dimensions=dimensions, channels=channels) if entry.name != _UNSTABLE]
    margin = MARGIN[:dimensions]
    chosen: dict[tuple[str, str], Margins | None] = {}
    if text in ("all", "usual"):
        for entry in known:
            if text == "all" or entry.group in (SHAPE, INTENSITY):
                chosen[entry.plugin, entry.name] = margin if entry.is_local else None
    else:
        for part in text.split(";"):
            name, _, extent = part.partition(":")
            for entry in _find(name, known):
                own = _extent(extent, entry, dimensions) if extent else margin
                chosen[entry.plugin, entry.name] = own if entry.is_local else None
    return {
        plugin: {name: chosen[key] for key in sorted(chosen) for name in key[1:] if key[0] == plugin}
        for plugin in sorted({plugin for plugin, _ in chosen})
    }


def _find(name: str, known: list[FeatureEntry]) -> list[FeatureEntry]:
    """Find a feature by its name in the dialog or its id in a project, or all of a plugin; case does not matter."""
    key = _key(name)
    found = [entry for entry in known if key in (_key(entry.name), _key(entry.display_name))]
    found = found[:1] or [entry for entry in known if key == _key(entry.plugin)]
    if not found:
        plugins = dict.fromkeys(entry.plugin for entry in known)
        shown = dict.fromkeys(entry.display_name for entry in known)
        raise UsageError(
            f"{setting('features')}: images like these have no object feature {name.strip()!r}; choose of: "
            f"{', '.join((*plugins, *shown))}"
        )
    return found


def _key(name: str) -> str:
    return "".join(name.lower().split())


def _extent(text: str, entry: FeatureEntry, dimensions: int) -> Margins:
    if not entry.is_local or not re.fullmatch("[0-9]{1,4}", text.strip()) or not 1 <= int(text) <= MAX_EXTENT:
        raise UsageError(
            f"{setting('features')}: {entry.display_name}:{text.strip()}: only features in the neighbourhood of an "
            f"object have an extent, of 1 to {MAX_EXTENT} pixels"
        )
    return (int(text),) * dimensions

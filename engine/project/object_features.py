"""Object features of a project: those computed, those its classifier reads, and the extent of neighbourhoods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from ...frozen import frozen
from .hdf5 import ProjectFile

COMPUTED = "ObjectExtraction/Features"
SELECTED = "ObjectClassification/SelectedFeatures"
BLOCKWISE = "Blockwise Object Classification"
STANDARD = "Standard Object Features"
HULL_2D, HULL_3D, SKELETON = "2D Convex Hull Features", "3D Convex Hull Features", "2D Skeleton Features"
PLUGINS = (STANDARD, HULL_2D, HULL_3D, SKELETON)
# Copies for display and tables that early projects list among the features; the classifier never reads them.
DEFAULT_FEATURES = "Default features"
MAX_MARGIN = 1 << 20
MAX_BLOCK = 1 << 40

Margins = tuple[int, ...]
Features = Mapping[str, Mapping[str, Margins | None]]


@frozen
class ObjectFeatures:
    """Plugin -> feature -> margin, both in code-point order, which is the order of the classifier's columns.

    computed   all features that the project measures, for tables
    selected   features that the classifier reads
    left_out   computed features of unknown plugins, none of which the classifier reads
    A margin is the extent of a neighbourhood along x, y and maybe z, or one number for all axes; None: not one.
    """

    computed: Features
    selected: Features
    left_out: Features = field(default_factory=dict)

    def measured(self, *, everything: bool) -> Features:
        """Features to measure: all, or only those that the classifier reads.

        Neighbourhoods of all features have the same extent, the largest margin of the computed ones, so a feature keeps
        its values when others are left out.
        """
        known = merge_features(self.computed, self.selected)
        if everything and not self.left_out:
            return known
        reach = largest_margin(merge_features(known, self.left_out))
        return {
            plugin: {name: None if margin is None else reach for name, margin in features.items()}
            for plugin, features in (known if everything else self.selected).items()
        }


@frozen
class Blocks:
    """Blocks of blockwise results: sizes of a block and of the halo around it, along z, y, x."""

    shape: tuple[int, int, int] = (512, 512, 512)
    halo: tuple[int, int, int] = (64, 64, 64)


def merge_features(first: Features, second: Features) -> Features:
    """Merge features, sorted; the second one's margins take precedence."""
    return {
        plugin: dict(sorted({**first.get(plugin, {}), **second.get(plugin, {})}.items()))
        for plugin in sorted({*first, *second})
    }


def largest_margin(features: Features) -> Margins:
    """Component-wise maximum of all margins; a margin of one number counts for every axis."""
    margins = [margin for of_plugin in features.values() for margin in of_plugin.values() if margin is not None]
    axes = max((len(margin) for margin in margins), default=1)
    wide = [margin * axes if len(margin) == 1 else margin for margin in margins]
    return tuple(max(margin[i] for margin in wide if i < len(margin)) for i in range(axes)) if wide else (0,)


def read_object_features(file: ProjectFile) -> ObjectFeatures:
    """Read the features of a project. Raises ProjectError if the classifier reads none, or some of unknown plugins."""
    computed = _read_features(file, COMPUTED)
    has_selection = file.has_group(SELECTED)
    selected = _read_features(file, SELECTED) if has_selection else computed
    unknown = [plugin for plugin in selected if plugin not in PLUGINS]
    if unknown:
        raise file.error(
            SELECTED if has_selection else COMPUTED,
            f"uses the object features of '{unknown[0]}', which are not supported; supported: {', '.join(PLUGINS)}. "
            "Deselect them in ilastik, train and save",
        )
    if not any(selected.values()):
        raise file.error(SELECTED, "selects no object features; select some in ilastik, train and save")
    left_out = {plugin: names for plugin, names in computed.items() if plugin not in PLUGINS}
    return ObjectFeatures({p: names for p, names in computed.items() if p in PLUGINS}, selected, left_out)


def read_blocks(file: ProjectFile) -> Blocks:
    """Read the block settings, with ilastik's defaults for settings not stored."""
    usual = Blocks()
    return Blocks(
        _read_sizes(file, f"{BLOCKWISE}/BlockShape3dDict", usual.shape, least=1),
        _read_sizes(file, f"{BLOCKWISE}/HaloPadding3dDict", usual.halo, least=0),
    )


def _read_features(file: ProjectFile, path: str) -> Features:
    plugins = file.groups(path)
    if plugins == ("0",):  # early projects have this additional level
        path, plugins = f"{path}/0", file.groups(f"{path}/0")
    plugins = tuple(plugin for plugin in plugins if plugin != DEFAULT_FEATURES)
    return {
        plugin: {name: _read_margin(file, f"{path}/{plugin}/{name}") for name in file.groups(f"{path}/{plugin}")}
        for plugin in plugins
        if file.groups(f"{path}/{plugin}")
    }


def _read_margin(file: ProjectFile, place: str) -> Margins | None:
    path = f"{place}/margin"
    stored = file.array(path, "numbers", max_bytes=1 << 10)
    if stored is None or stored.size == 0:
        return None
    values = stored.reshape(-1).tolist()
    if len(values) > 3 or not all(0 <= value <= MAX_MARGIN and value == int(value) for value in values):
        raise file.error(path, f"is {values}, where one to three whole numbers of pixels belong")
    return tuple(int(value) for value in values)


def _read_sizes(file: ProjectFile, path: str, usual: tuple[int, int, int], *, least: int) -> tuple[int, int, int]:
    """Read sizes along z, y, x."""
    sizes = [file.integer(f"{path}/{axis}") for axis in "zyx"]
    z, y, x = (use if size is None else size for size, use in zip(sizes, usual, strict=True))
    if not all(least <= size <= MAX_BLOCK for size in (z, y, x)):
        raise file.error(path, f"is {(z, y, x)} along z, y, x, where sizes from {least} belong")
    return z, y, x

"""Columns of an object table, and a frame's objects as its rows. File formats are in ``formats/tables``.

The order is: ids, label and classes, then plugins and their features in code-point order, the default features last.
A feature of several values has a column for each, numbered from 0.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache

import numpy as np

from ...frozen import frozen
from ..formats.table_spec import TableColumn
from ..project.object_features import DEFAULT_FEATURES, Features
from .classify import ObjectClasses
from .feature_catalogue import count_values, display_name

# Computed for every object, regardless of the selection; one value per axis of the image, or one.
DEFAULTS = ("Coord<Maximum>", "Coord<Minimum>", "Count", "RegionCenter")
ATLAS, ORIGINAL_ID = "AtlasMapping", "original_oid"
UNLABELLED = "0"


@frozen
class _Part:
    """A feature of the table, with its number of values."""

    plugin: str
    name: str
    values: int


@frozen
class TableLayout:
    """Columns of a table, and the sources of their values.

    columns   in their order
    parts     the features among them, in the order of their columns
    """

    columns: tuple[TableColumn, ...]
    parts: tuple[_Part, ...]

    def rows(
        self,
        time: int,
        first_object: int,
        objects: ObjectClasses,
        measured: Mapping[str, Mapping[str, np.ndarray]],
        extras: Mapping[str, np.ndarray],
    ) -> list[np.ndarray]:
        """Make the values of all columns for the objects of one frame.

        first_object   number of rows before
        measured       plugin -> feature -> (objects, values)
        extras         other default features, by name: (objects,) or (objects, values)
        A feature that could not be measured in this frame is NaN.
        """
        count = objects.count
        ids = np.arange(1, count + 1, dtype=np.int64)
        found = [
            first_object + ids - 1,
            np.full(count, time, np.int64),
            ids,
            np.zeros(count, np.int64),
            objects.class_index.astype(np.int64),
            *objects.probabilities.T,
        ]
        for part in self.parts:
            values = extras.get(part.name) if part.plugin == DEFAULT_FEATURES else None
            if values is None:
                values = measured.get(part.plugin, {}).get(part.name)
            if values is None or values.size != count * part.values:
                values = np.full((count, part.values), np.nan, np.float32)
            found += list(values.reshape(count, part.values).T)
        return found


def plan_columns(
    features: Features,
    class_names: tuple[str, ...],
    *,
    dimensions: int,
    channels: int,
    wanted: Collection[str] | None = None,
    atlas: tuple[int, np.dtype] | None = None,
    original_id: np.dtype | None = None,
) -> TableLayout:
    """Plan the columns of a project's table.

    features      computed features; those whose id or display name is in ``wanted`` become columns, None: all
    class_names   of all classes
    dimensions    2 or 3; channels: of the image
    atlas         number of channels and type of the atlas; None: no atlas
    original_id   type of the ids of a label image; None: objects are connected components
    """
    listed = tuple((plugin, tuple(sorted(features[plugin]))) for plugin in sorted(features))
    chosen = None if wanted is None else frozenset(wanted)
    return _plan_columns(listed, class_names, dimensions, channels, chosen, atlas, original_id)


@lru_cache(16)  # lanes of a job have the same columns
def _plan_columns(
    features: tuple[tuple[str, tuple[str, ...]], ...],
    class_names: tuple[str, ...],
    dimensions: int,
    channels: int,
    wanted: frozenset[str] | None,
    atlas: tuple[int, np.dtype] | None,
    original_id: np.dtype | None,
) -> TableLayout:
    """Plan columns of listed features; arguments as for ``plan_columns``."""
    parts = list(_find_parts(dict(features), wanted, dimensions=dimensions, channels=channels))
    columns = [
        TableColumn("object_id", np.dtype(np.int64)),
        TableColumn("timestep", np.dtype(np.int64)),
        TableColumn("labelimage_oid", np.dtype(np.int64)),
        TableColumn("User Label", np.dtype(np.int64), (UNLABELLED,)),
        TableColumn("Predicted Class", np.dtype(np.int64), class_names),
        *(TableColumn(f"Probability of {name}", np.dtype(np.float32)) for name in class_names),
    ]
    if atlas is not None:
        parts.append(_Part(DEFAULT_FEATURES, ATLAS, atlas[0]))
    if original_id is not None:
        parts.append(_Part(DEFAULT_FEATURES, ORIGINAL_ID, 1))
    own = [part for part in parts if part.plugin != DEFAULT_FEATURES]
    default = sorted((part for part in parts if part.plugin == DEFAULT_FEATURES), key=lambda part: part.name)
    types = {ATLAS: atlas[1] if atlas is not None else None, ORIGINAL_ID: original_id}
    for part in (*own, *default):
        dtype = types.get(part.name) or np.dtype(np.float64 if part.plugin == DEFAULT_FEATURES else np.float32)
        name = display_name(part.name)
        columns += [TableColumn(name if part.values == 1 else f"{name}_{i}", dtype) for i in range(part.values)]
    return TableLayout(tuple(_with_unique_names(columns)), (*own, *default))


def _find_parts(
    features: Mapping[str, Collection[str]], wanted: Collection[str] | None, *, dimensions: int, channels: int
) -> Iterator[_Part]:
    """Yield each display name once: from the first plugin that has it, or from the default features."""
    taken: set[str] = set()
    for plugin in sorted(features):
        for name in sorted(features[plugin]):
            shown = display_name(name)
            if (wanted is None or name in wanted or shown in wanted) and shown not in taken:
                taken.add(shown)
                yield _Part(plugin, name, count_values(plugin, name, dimensions=dimensions, channels=channels))
    for name in DEFAULTS:
        if display_name(name) not in taken:
            yield _Part(DEFAULT_FEATURES, name, 1 if name == "Count" else dimensions)


def _with_unique_names(columns: list[TableColumn]) -> Iterator[TableColumn]:
    """Make names of columns unique by numbering repeated ones, since classes may share a name."""
    taken: dict[str, int] = {}
    for column in columns:
        count = taken[column.name] = taken.get(column.name, 0) + 1
        if count > 1:
            yield TableColumn(f"{column.name} ({count})", column.dtype, column.texts)
        else:
            yield column

"""Layers of napari as images of a project, and its results as layers. Neither napari nor Qt is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...engine.arrays.results import ResultPlan
from ...engine.errors import UsageError
from ...engine.export.images import ResultInfo
from ...engine.project import Project
from ...engine.project.colours import DEFAULT_COLOURS
from ...engine.workflows import load_workflow
from ...frozen import frozen

LayerData = tuple[Any, dict[str, Any], str]
"""Data, attributes and kind of a layer, as plugins of napari return them."""

# Results that are no pictures of an image: stacks of numbers for the classifier, and what the project contains.
_NOT_SHOWN = ("Features", "Input", "Labels", "Probabilities All Stages")
IDENTITIES = "Object Identities"
_PIXEL = "pixel"


def shown_results(results: Sequence[str]) -> tuple[str, ...]:
    """Return those of a model's results that become layers."""
    return tuple(name for name in results if not name.startswith(_NOT_SHOWN))


def default_results(results: Sequence[str]) -> tuple[str, ...]:
    """Return the results to begin with: objects of a project that has some, else its default result."""
    objects = (IDENTITIES, "Object Predictions")
    return objects if set(objects) <= set(results) else tuple(results[:1])


def voxels_of(layer: Any) -> Any:
    """Return the data of a layer, in full resolution if it has several."""
    return layer.data[0] if layer.multiscale else layer.data


def stated_axes(layer: Any) -> str | None:
    """Return the letters of a layer's axes if its labels are such letters; None: they have to be found out."""
    labels = "".join(map(str, getattr(layer, "axis_labels", ()))).lower()
    axes = f"{labels}c" if getattr(layer, "rgb", False) else labels
    is_order = len(labels) == layer.ndim and set(axes) <= set("tzyxc") and len(set(axes)) == len(axes)
    return axes if is_order and {"y", "x"} <= set(axes) else None


def channels_last(data: Any, size: Sequence[int]) -> Any:
    """Move the channels of an array, such as a stack of layers, to its end if the other axes have this size there."""
    is_first = data.ndim == len(size) + 1 and tuple(data.shape[1:]) == tuple(size) != tuple(data.shape[:-1])
    return np.moveaxis(data, 0, -1) if is_first else data


@frozen(eq=False)
class View:
    """Part of a viewer that is shown.

    displayed  dimensions that are shown, the others have sliders; counted from the last one, -1
    point      position of the sliders, in the world
    """

    displayed: tuple[int, ...]
    point: tuple[float, ...]

    @classmethod
    def of(cls, viewer: Any) -> View:
        """Return the current view of a viewer."""
        dims = viewer.dims
        return cls(tuple(d - dims.ndim for d in dims.displayed), tuple(dims.point))

    def region(self, layer: Any) -> list[slice]:
        """Return the part of a layer that is visible, as a slice in full resolution for each of its dimensions.

        Raises UsageError if nothing of the layer is visible.
        """
        corners = np.asarray(layer.corner_pixels)
        factors = np.ones(layer.ndim)
        if layer.multiscale:
            factors = np.asarray(layer.downsample_factors)[layer.data_level]
        region, is_visible = [], False
        for d, (size, place) in enumerate(zip(voxels_of(layer).shape, self._place(layer), strict=False)):
            start, stop = place, place + 1
            if d - layer.ndim in self.displayed:
                start, stop = int(corners[0, d] * factors[d]), int(np.ceil((corners[1, d] + 1) * factors[d]))
                is_visible |= size == 1 or corners[0, d] < corners[1, d]  # beside the view they are both on an edge
            region.append(slice(max(0, start), min(size, stop)))
        if not is_visible:
            raise UsageError(f"nothing of the layer {layer.name} is visible; move it into the view")
        return region

    def time_point(self, layer: Any, axes: str) -> int | None:
        """Return the index of the time point that is shown; None for layers without time."""
        return self._place(layer)[axes.index("t")] if "t" in axes[: layer.ndim] else None

    def _place(self, layer: Any) -> list[int]:
        """Position of the sliders in a layer, in voxels."""
        point = (0.0,) * max(0, layer.ndim - len(self.point)) + self.point
        place = np.round(layer.world_to_data(point[-layer.ndim :])).astype(int)
        return [int(np.clip(n, 0, size - 1)) for n, size in zip(place, voxels_of(layer).shape, strict=False)]


class Part:
    """Array that is a part of another one along its first axes, read when it is sliced.

    It also hides what kind of array the other one is, so that results are computed at once.
    """

    def __init__(self, data: Any, region: Sequence[slice]) -> None:
        self._data = data
        self._starts = [each.start for each in region] + [0] * (len(data.shape) - len(region))
        stops = [each.stop for each in region] + list(data.shape[len(region) :])
        self.shape = tuple(stop - start for start, stop in zip(self._starts, stops, strict=True))
        self.dtype, self.ndim = data.dtype, len(self.shape)

    def __getitem__(self, place: tuple[slice, ...]) -> np.ndarray:
        moved = tuple(
            slice(each.start + start, each.stop + start) for each, start in zip(place, self._starts, strict=True)
        )
        return np.asarray(self._data[moved])


@frozen(eq=False)
class Place:
    """Place of results in the world: that of the layer that they belong to.

    layer  the layer
    axes   letters of its data, channels of colour pictures last
    start  first voxel of the results, by letter, where it is not 0
    """

    layer: Any
    axes: str
    start: Mapping[str, int]

    @property
    def letters(self) -> str:
        """Letters of the layer's dimensions, and of those of its results."""
        return self.axes[: self.layer.ndim]

    def attributes(self) -> dict[str, Any]:
        """Return scale, units and the rest of the transformation of a layer of results."""
        layer = self.layer
        first = np.array([self.start.get(letter, 0) for letter in self.letters])
        world = layer.data_to_world(first)
        found = {
            "scale": layer.scale,
            "translate": layer.affine.inverse(world),
            "rotate": layer.rotate,
            "shear": layer.shear,
            "affine": layer.affine.affine_matrix,
        }
        names = ("units", "axis_labels")
        return found | {name: getattr(layer, name) for name in names if hasattr(layer, name)}

    def resolution(self) -> tuple[dict[str, float], dict[str, str], dict[str, float]]:
        """Return size of a voxel, name of its unit and position of the first voxel, by letter."""
        layer, letters = self.layer, self.letters
        units = [str(each) for each in getattr(layer, "units", ())]
        moved = {letter: float(n) for letter, n in zip(letters, layer.translate, strict=True) if n}
        sizes = {letter: float(n) for letter, n in zip(letters, layer.scale, strict=True) if letter != "c"}
        named = {a: unit for a, unit in zip(letters, units, strict=False) if unit != _PIXEL and a != "c"}
        return sizes, named, moved

    def fit(self, data: Any) -> Any:
        """Return values without channels with the dimensions of the layer: equal for all channels that it has."""
        if "c" not in self.letters:
            return data
        at = self.letters.index("c")
        shape = (*data.shape[:at], voxels_of(self.layer).shape[at], *data.shape[at:])
        expanded = data[(slice(None),) * at + (np.newaxis,)]
        if isinstance(data, np.ndarray):
            return np.broadcast_to(expanded, shape)
        from dask.array import broadcast_to

        return broadcast_to(expanded, shape)


def make_layers(
    project: Project, plan: ResultPlan, levels: Sequence[Any], place: Place, *, table: Mapping[str, np.ndarray] | None
) -> list[LayerData]:
    """Make the layers of a result.

    Parameters
    ----------
    project
        The project, which has names and colours of the classes.
    plan
        Plan of the result.
    levels
        The values, with the plan's axes; several levels of resolution become multiscale layers.
    place
        Place of the results.
    table
        Columns that describe the objects; None: there are no objects, or they are not described.
    """
    info = plan.info
    names, colours = _classes(project, info)
    common = place.attributes() | {"metadata": {"pixelforest": info.name}}
    title = f"{place.layer.name} {info.name}"

    def make(values: list[Any], name: str, kind: str, **more: Any) -> LayerData:
        fitted = [place.fit(each) for each in values]
        return (fitted if len(fitted) > 1 else fitted[0], {**common, "name": name, **more}, kind)

    if info.is_labels:
        more: dict[str, Any] = {}
        if info.name == IDENTITIES:
            if table is not None:
                offsets = _offsets(table, plan.axes, levels[0].shape)
                levels = [_renumber(each, offsets, plan.axes) for each in levels]
                more["features"] = _features(table, offsets, place.start.get("t", 0))
        else:
            more = {"features": {"index": list(range(len(names) + 1)), "class": ["", *names]}}
            more["colormap"] = {None: "transparent", 0: "transparent"} | dict(enumerate(colours, 1))
        return [make(list(levels), title, "labels", **more)]
    look = {"contrast_limits": (0.0, 1.0), "blending": "additive"}
    if info.is_scalar:
        return [make(list(levels), title, "image", colormap="gray", **look)]
    at = (slice(None),) * plan.axes.index("c")
    return [
        make([each[(*at, i)] for each in levels], f"{title}: {name}", "image", colormap=colour, **look)
        for i, (name, colour) in enumerate(zip(names, colours, strict=True))
    ]


def _classes(project: Project, info: ResultInfo) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and colours, #rrggbb, of the classes that a result shows, as many as it has channels if it has several."""
    view_classes = getattr(load_workflow(project.workflow), "view_classes", None)
    view = None
    if view_classes is not None:  # blockwise results of objects are not listed; a table shows the same classes
        view = view_classes(project, (info.name,), has_table=False) or view_classes(project, (), has_table=True)
    names, colours = info.channel_names, DEFAULT_COLOURS
    if view is not None and (info.is_scalar or len(view.names) == info.channels):
        names, colours = view.names, view.colours
    names = names or tuple(str(number) for number in range(1, info.channels + 1))
    return names, tuple("#{:02x}{:02x}{:02x}".format(*colours[i % len(colours)]) for i in range(len(names)))


def _offsets(table: Mapping[str, np.ndarray], axes: str, shape: Sequence[int]) -> np.ndarray:
    """Numbers to add to the ids of each time point, so that no two objects have the same."""
    highest = np.zeros(shape[axes.index("t")] if "t" in axes else 1, np.int64)
    np.maximum.at(highest, np.asarray(table["timestep"], int), np.asarray(table["labelimage_oid"], np.int64))
    return np.concatenate([[0], np.cumsum(highest)[:-1]])


def _renumber(ids: Any, offsets: np.ndarray, axes: str) -> Any:
    """Add offsets to the ids of the objects; 0 remains."""
    if not offsets.any():
        return ids
    added = offsets.reshape([-1 if letter == "t" else 1 for letter in axes]).astype(ids.dtype)
    return ids + added * (ids > 0)


def _features(table: Mapping[str, np.ndarray], offsets: np.ndarray, first: int) -> dict[str, Any]:
    """Columns of a table, and as ``index`` the number that each object has in the layer."""
    times = np.asarray(table["timestep"], int)
    index = np.asarray(table["labelimage_oid"], np.int64) + offsets[times]
    return {"index": index, **{name: table[name] for name in table}, "timestep": times + first}

"""One run of a project on a layer, for a thread of its own. Neither napari nor Qt is imported."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...engine.arrays.arguments import as_argument
from ...engine.arrays.model import Model
from ...engine.arrays.results import ResultPlan
from ...engine.axes import from_canonical
from ...engine.errors import UsageError
from ...engine.messages import describe_record
from ...frozen import frozen
from .layers import LayerData, Part, Place, View, channels_last, make_layers, stated_axes, voxels_of

# Scopes, as the widget shows them.
VIEW, TIME_POINT, LAZY, SAVED = (
    "current view",
    "current time point, or the whole image",
    "whole layer, computed where it is shown",
    "whole layer, saved as OME-Zarr",
)
SCOPES = (VIEW, TIME_POINT, LAZY, SAVED)
_OBJECTS = ("Object Identities", "Object Predictions", "Object Probabilities")  # as predict_objects returns them
# Sides of what is computed at once for a lazy layer: a part of a plane, or of a few planes of a volume.
_PLANE: Mapping[str, int] = {"y": 512, "x": 512}
_SLAB: Mapping[str, int] = {"z": 16, "y": 256, "x": 256}


class Cancelled(Exception):  # not an error
    """The run was cancelled."""


@frozen(eq=False)
class Order:
    """Choices of a run.

    Parameters
    ----------
    model
        The project.
    layer
        Layer of the image.
    results
        Names of the results.
    scope
        One of ``SCOPES``.
    view
        What the viewer shows.
    axes
        Letters of the layer's axes; empty: those of its labels, else those of the training image.
    inputs
        Layers of further inputs, by the arguments of ``predict``.
    folder
        Folder of saved results.
    may_replace
        True if saved results replace existing ones.
    """

    model: Model
    layer: Any
    results: tuple[str, ...]
    scope: str
    view: View
    axes: str = ""
    inputs: Mapping[str, Any] | None = None
    folder: Path | None = None
    may_replace: bool = False

    def in_folder(self, folder: Path, *, may_replace: bool = False) -> Order:
        """Return the same, with results saved in a folder."""
        return replace(self, folder=folder, may_replace=may_replace)


class Task:
    """A run. ``run`` may take long and belongs into a thread; the rest is for the thread of the viewer.

    share     share that is done, from 0 to 1
    seconds   duration of the run
    warnings  lines that were logged meanwhile
    is_left   returns True if nobody waits for the run any more, which ends it like ``cancel``
    """

    def __init__(self, order: Order) -> None:
        """Check the order and find out what is visible. Raises PixelforestError."""
        if not order.results:
            raise UsageError("choose at least one result")
        self.order, self.share, self.seconds = order, 0.0, 0.0
        self.warnings: tuple[str, ...] = ()
        self.is_left: Callable[[], bool] = lambda: False
        self._cancelled = threading.Event()
        layer, model = order.layer, order.model
        self._data = voxels_of(layer)
        axes = order.axes or stated_axes(layer)
        size = self._data.shape[: layer.ndim]
        self._inputs = {name: channels_last(voxels_of(each), size) for name, each in (order.inputs or {}).items()}
        image, self._plans = model.prepare(self._data, axes=axes, results=order.results, **self._inputs)
        self._axes = image.axes
        self._whole = tuple(slice(0, size) for size in self._data.shape)
        self._frame = self._region_of_frame()
        if order.scope == LAZY and layer.multiscale:
            raise UsageError(
                f"the layer {layer.name} has several resolutions, which are not computed one by one; choose the "
                f"{VIEW}, or save the {SAVED}"
            )
        if order.scope == SAVED and order.folder is None:
            raise UsageError("choose a folder for the results")
        self._files = {name: self._name_file(name) for name in self._plans} if order.scope == SAVED else {}
        self._view = self._region_of_view() if order.scope == VIEW else self._frame
        self._calls, self._done_calls = 1, 0

    def existing_files(self) -> list[Path]:
        """Return files that would be replaced."""
        return [file for file in self._files.values() if file.exists()]

    def cancel(self) -> None:
        """End the run at its next tile."""
        self._cancelled.set()

    def run(self) -> list[LayerData]:
        """Compute the results and return their layers. Raises Cancelled, PixelforestError."""
        started_s = time.monotonic()
        with _warnings() as lines:
            layers = self._compute()
        self.seconds = time.monotonic() - started_s
        self.warnings = tuple(dict.fromkeys(lines))
        return layers

    def _compute(self) -> list[LayerData]:
        scope, plans = self.order.scope, self._plans
        objects = [name for name in plans if name in _OBJECTS]
        local = [name for name in plans if plans[name].info.is_local]
        others = [name for name in plans if name not in (*objects, *local)]
        if scope == SAVED:
            return self._save(local + others, objects)
        self._calls = bool(objects) + bool(others) + bool(local and scope != LAZY)
        frame = self._whole if scope == LAZY else self._frame
        found: dict[str, tuple[Any, tuple[slice, ...]]] = {}
        table = None
        if local:
            region = self._whole if scope == LAZY else self._view
            values = self._predict_lazily(local) if scope == LAZY else self._predict(local, region)
            found |= {name: (each, region) for name, each in zip(local, values, strict=True)}
        if others:
            found |= {name: (each, frame) for name, each in zip(others, self._predict(others, frame), strict=True)}
        if objects:
            images, table = self._predict_objects(frame)
            found |= {name: (images[name], frame) for name in objects}
        layers = []
        for name, plan in plans.items():
            values, region = found[name]
            layers += self._show(plan, [values], region, table)
        return layers

    def _predict(self, names: Sequence[str], region: tuple[slice, ...]) -> list[Any]:
        model, inputs = self.order.model, {name: Part(each, ()) for name, each in self._inputs.items()}
        values: list[Any] = list(
            model.predict(
                Part(self._data, ()),
                axes=self._axes,
                results=names,
                region=region,
                on_progress=self._watch,
                **inputs,
            )
        )
        self._done_calls += 1
        return values

    def _predict_lazily(self, names: Sequence[str]) -> list[Any]:
        from dask.array import Array, from_array

        sides = _SLAB if "z" in self._axes else _PLANE
        chunks = tuple(
            size if letter == "c" else min(size, sides.get(letter, 1))
            for letter, size in zip(self._axes, self._data.shape, strict=True)
        )
        data = self._data
        # Without a name the array would be hashed to find one.
        lazy = data.rechunk(chunks) if isinstance(data, Array) else from_array(data, chunks, name=False)
        return list(self.order.model.predict(lazy, axes=self._axes, results=names, **self._inputs))

    def _predict_objects(self, region: tuple[slice, ...], out: Any = None) -> tuple[dict[str, Any], Any]:
        """Find the objects of a time point, or of all: their images by name, and their table."""
        inputs = {name: Part(each, self._like(each, region)) for name, each in self._inputs.items()}
        data = Part(self._data, region)
        objects = self.order.model.predict_objects(data, axes=self._axes, out=out, on_progress=self._watch, **inputs)
        self._done_calls += 1
        images = (objects.labels, objects.predictions, objects.probabilities)
        return dict(zip(_OBJECTS, images, strict=True)), objects.table

    def _save(self, names: Sequence[str], objects: Sequence[str]) -> list[LayerData]:
        from ...engine.arrays.stores import OmeZarrTarget

        place = self._place(self._whole)
        resolution, units, translation = place.resolution()
        self._calls = bool(names) + bool(objects)
        targets: dict[str, OmeZarrTarget] = {}
        table = None
        try:
            for name, file in self._files.items():
                targets[name] = OmeZarrTarget(
                    file,
                    self._plans[name],
                    resolution=resolution,
                    units=units,
                    translation=translation,
                    may_replace=self.order.may_replace,
                )
            if names:
                model, inputs = self.order.model, self._inputs
                out = tuple(targets[name] for name in names)
                model.predict(self._data, axes=self._axes, results=names, out=out, on_progress=self._watch, **inputs)
                self._done_calls += 1
            if objects:
                _, table = self._predict_objects(self._whole, tuple(targets.get(name, _Nowhere()) for name in _OBJECTS))
            for target in targets.values():
                target.finish()
        finally:
            for target in targets.values():  # nothing is left to remove of those that are finished
                target.abort()
        layers = []
        for name, file in self._files.items():
            layers += self._show(self._plans[name], _open(file, self._plans[name].axes), self._whole, table)
        return layers

    def _show(self, plan: ResultPlan, levels: Sequence[Any], region: tuple[slice, ...], table: Any) -> list[LayerData]:
        return make_layers(self.order.model.project, plan, levels, self._place(region), table=table)

    def _place(self, region: tuple[slice, ...]) -> Place:
        start = {letter: each.start for letter, each in zip(self._axes, region, strict=True)}
        return Place(self.order.layer, self._axes, start)

    def _region_of_view(self) -> tuple[slice, ...]:
        """Find the part that is visible, with all channels."""
        visible = self.order.view.region(self.order.layer)
        region = [*visible, *self._whole[len(visible) :]]
        return tuple(
            whole if letter == "c" else each
            for letter, each, whole in zip(self._axes, region, self._whole, strict=True)
        )

    def _region_of_frame(self) -> tuple[slice, ...]:
        time = self.order.view.time_point(self.order.layer, self._axes)
        return tuple(
            slice(time, time + 1) if letter == "t" and time is not None else whole
            for letter, whole in zip(self._axes, self._whole, strict=True)
        )

    def _like(self, data: Any, region: tuple[slice, ...]) -> tuple[slice, ...]:
        """Region of a further input: it has the axes of the image, with or without channels."""
        along = dict(zip(self._axes, region, strict=True))
        letters = self._axes
        if len(data.shape) != len(letters):
            letters = letters.replace("c", "") if "c" in letters else f"{letters}c"
        return tuple(along.get(letter, slice(0, size)) for letter, size in zip(letters, data.shape, strict=True))

    def _name_file(self, result: str) -> Path:
        assert self.order.folder is not None
        return self.order.folder / re.sub(r'[\\/:*?"<>|\s]+', "_", f"{self.order.layer.name}_{result}.zarr")

    def _watch(self, share: float) -> None:
        if self._cancelled.is_set() or self.is_left():
            raise Cancelled
        self.share = (self._done_calls + share) / self._calls


class _Nowhere:
    """Array that keeps nothing, for a result that was not asked for."""

    def __setitem__(self, place: object, values: object) -> None:
        pass


def _open(file: Path, axes: str) -> list[Any]:
    """Open the levels of a saved result as lazy arrays with these axes."""
    from dask.array import from_array

    from ...engine.arrays.stores import open_levels

    return [from_canonical(from_array(level, level.chunks, name=False), axes) for level in open_levels(file)]


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect the warnings of pixelforest."""
    lines: list[str] = []
    logger, handler = logging.getLogger("pixelforest"), _Collector(lines.append)
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


class _Collector(logging.Handler):
    def __init__(self, take: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        self._take(describe_record(record, as_argument))

"""Writing of a lane's objects into its table: rows frame by frame, and pictures if requested."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Protocol

import numpy as np

from ...box import Box
from ..export.tables import TableExport
from ..inputs.images import InputImage
from ..project import ObjectProject
from ..project.object_features import DEFAULT_FEATURES
from .atlas import map_to_atlas
from .classify import ObjectClasses
from .crops import CROP_AXES, cut_objects, squeeze, squeezed_shape
from .label import LabelFrame
from .measure import ObjectFeatures
from .table import ATLAS, ORIGINAL_ID, TableLayout, plan_columns

RAW_AXES = f"t{CROP_AXES}"


def plan_layout(
    project: ObjectProject,
    raw: InputImage,
    wanted: Collection[str] | None,
    *,
    atlas: InputImage | None,
    label_dtype: np.dtype | None,
) -> TableLayout:
    """Plan the columns of a lane's table; arguments as for ``TableRows``, ``wanted`` as for ``plan_columns``."""
    return plan_columns(
        project.features.measured(everything=True),
        project.classifier.label_names,
        dimensions=3 if raw.shape[1] > 1 else 2,
        channels=raw.shape[4],
        wanted=wanted,
        atlas=None if atlas is None else (atlas.shape[4], atlas.dtype),
        original_id=None if label_dtype is None else _id_dtype(label_dtype),
    )


class ObjectSink(Protocol):
    """Receiver of the objects of frames."""

    def add(self, time: int, labels: LabelFrame, measured: ObjectFeatures, objects: ObjectClasses) -> None:
        """Take the objects of a frame; ``labels`` are valid only during the call."""


class TableRows:
    """Writer of a lane's table: starts it and appends the frames.

    raw, atlas   images of the lane; atlas is None without one
    label_dtype  of the label image; None: objects are connected components
    """

    def __init__(
        self,
        table: TableExport,
        project: ObjectProject,
        raw: InputImage,
        *,
        atlas: InputImage | None,
        label_dtype: np.dtype | None,
    ) -> None:
        self._table, self._raw, self._atlas = table, raw, atlas
        self._settings = table.settings
        self._layout = plan_layout(project, raw, self._settings.features, atlas=atlas, label_dtype=label_dtype)
        table.start(self._layout.columns)
        if self._settings.has_images and self._settings.includes_raw:
            self._store_raw()

    def add(self, time: int, labels: LabelFrame, measured: ObjectFeatures, objects: ObjectClasses) -> None:
        """Append the objects of a frame."""
        first = self._table.row_count
        if objects.count:
            extras = self._extras(time, labels, measured)
            self._table.write(self._layout.rows(time, first, objects, measured.values, extras))
            if self._settings.has_images:
                self._store_crops(time, labels, measured, first)

    def _extras(self, time: int, labels: LabelFrame, measured: ObjectFeatures) -> Mapping[str, np.ndarray]:
        extras = {}
        if self._atlas is not None:
            centres = measured.values[DEFAULT_FEATURES]["RegionCenter"]
            read = partial(self._atlas.read_frame, time)
            extras[ATLAS] = map_to_atlas(read, labels.labels.shape, self._atlas.shape[4], self._atlas.dtype, centres)
        if labels.original_ids is not None:
            extras[ORIGINAL_ID] = labels.original_ids
        return extras

    def _store_crops(self, time: int, labels: LabelFrame, measured: ObjectFeatures, first: int) -> None:
        read = None if self._settings.includes_raw else partial(self._raw.read_frame, time)
        crops = cut_objects(labels.labels, read, object_boxes(measured), self._settings.margin)
        for number, crop in enumerate(crops, first):
            self._table.add_image(f"{number}/labeling", crop.mask, axes=crop.axes, kind="labeling")
            if crop.raw is not None:
                self._table.add_image(f"{number}/raw", crop.raw, axes=crop.raw_axes, kind="image")

    def _store_raw(self) -> None:
        """Store the whole image once, plane by plane."""
        frames, depth, height, width, channels = self._raw.shape
        shape, axes = squeezed_shape(self._raw.shape)
        self._table.add_large_image("raw", shape, self._raw.dtype, axes=axes, kind="image")
        kept = [i for i, axis in enumerate(RAW_AXES) if axis in axes]
        for time in range(frames):
            for z in range(depth):
                plane, _ = squeeze(self._raw.read_frame(time, Box((z, 0, 0), (z + 1, height, width))))
                start, stop = (time, 0, 0, z, 0), (time + 1, width, height, z + 1, channels)
                target = Box(tuple(start[i] for i in kept), tuple(stop[i] for i in kept))
                self._table.write_image("raw", target, plane.reshape(target.shape))


def object_boxes(measured: ObjectFeatures) -> np.ndarray:
    """Bounding boxes of objects, (objects, 2, 3): first and last + 1 voxel along z, y, x."""
    default = measured.values[DEFAULT_FEATURES]
    boxes = np.zeros((measured.count, 2, 3), np.intp)
    boxes[:, 1, 0] = 1  # the one plane of a flat frame
    for corner, name in enumerate(("Coord<Minimum>", "Coord<Maximum>")):
        values = default[name][:, ::-1]
        boxes[:, corner, 3 - values.shape[1] :] = values
    return boxes


def _id_dtype(dtype: np.dtype) -> np.dtype:
    return dtype if dtype == np.uint64 else np.dtype(np.int64)

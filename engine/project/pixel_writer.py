"""New projects that classify pixels, in one stage or, as Autocontext, in two; and more labels for existing ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...box import Box
from ...frozen import frozen
from ..axes import axistags_json, box_from_canonical, from_canonical, pipeline_axes
from .annotations import LabelBlock
from .autocontext_project import KIND as AUTOCONTEXT
from .forest import GROUP
from .hdf5_writer import (
    NewLane,
    changing_copy,
    put_class_names,
    put_header,
    put_lane,
    put_names,
    put_text,
    put_texts,
    writing,
)
from .lanes import TrainingImage
from .pixel_features import GROUP as FEATURES_GROUP
from .pixel_features import FeatureSelection
from .pixel_project import NAME, RAW, ROLES, stage_suffix

_NAMES = {1: NAME, 2: AUTOCONTEXT.class_name}  # by the number of stages, as ilastik saves them
_NO_BOOKMARKS = b"(lp0\n."  # an empty list, in Python's serialization, which nothing here ever reads
_EXPORT_SETTINGS = (
    ("StorageVersion", "0.1"),
    ("OutputFilenameFormat", "{dataset_dir}/{nickname}_{result_type}"),
    ("OutputFormat", "compressed hdf5"),
    ("OutputInternalPath", "exported_data"),
)  # ilastik's defaults, of both kinds


@frozen(eq=False)
class NewStage:
    """A classifier that is not yet trained.

    names   of the classes
    blocks  labelled pixels of each image
    """

    names: tuple[str, ...]
    features: FeatureSelection
    blocks: tuple[tuple[LabelBlock, ...], ...]


@frozen(eq=False)
class NewPixelProject:
    """A project that classifies pixels in one or two stages, not yet trained."""

    lanes: tuple[NewLane, ...]
    stages: tuple[NewStage, ...]


def write_new_pixel_project(place: Path, path: Path, project: NewPixelProject) -> None:
    """Write a project without a classifier into the file ``place``, which gets the name ``path`` later.

    Raises ExportError.
    """
    with writing(place, path, "w") as file:
        inputs = put_header(file, _NAMES[len(project.stages)], ROLES)
        for number, lane in enumerate(project.lanes):
            put_lane(inputs, number, ROLES, {RAW: lane})
        for number, stage in enumerate(project.stages, 1):
            suffix = stage_suffix(number)
            _put_features(file.create_group(f"{FEATURES_GROUP}{suffix}"), stage.features)
            _put_labels(file.create_group(f"{GROUP}{suffix}"), stage, project.lanes)
        for name, text in _EXPORT_SETTINGS:
            put_text(file, f"{AUTOCONTEXT.export_group}/{name}", text)


def write_labels(
    path: Path, names: Sequence[str], labels: Mapping[int, tuple[TrainingImage, Sequence[LabelBlock]]]
) -> None:
    """Add labels to a project, by lane, in one step. Its classifier no longer fits them, and is removed.

    names  of the classes, also of new ones
    Raises ExportError, ProjectError.
    """
    with changing_copy(path, path) as file:
        group = file[GROUP]
        if "ClassifierForests" in group:
            del group["ClassifierForests"]
        if "LabelNames" in group:
            del group["LabelNames"]
        put_names(group, names)
        for lane, (image, blocks) in labels.items():
            _put_blocks(group.require_group(f"LabelSets/labels{lane:03d}"), image.sizes(), blocks)


def _put_features(group: Any, features: FeatureSelection) -> None:
    put_text(group, "StorageVersion", "0.1")
    put_texts(group, "FeatureIds", features.ids)
    group["Scales"] = np.array(features.scales)
    group["SelectionMatrix"] = np.array(features.matrix)
    group["ComputeIn2d"] = np.array(features.compute_in_2d)


def _put_labels(group: Any, stage: NewStage, lanes: tuple[NewLane, ...]) -> None:
    put_text(group, "StorageVersion", "0.1")
    put_class_names(group, stage.names)
    group["Bookmarks/0000"] = np.void(_NO_BOOKMARKS)
    group["Bookmarks/0000"].attrs["version"] = 1
    for number, (lane, blocks) in enumerate(zip(lanes, stage.blocks, strict=True)):
        sizes = dict(zip(lane.axes, lane.shape, strict=True))
        _put_blocks(group.create_group(f"LabelSets/labels{number:03d}"), sizes, blocks)


def _put_blocks(group: Any, sizes: Mapping[str, int], blocks: Sequence[LabelBlock]) -> None:
    """Add blocks of labels behind those that are there: later ones replace earlier ones."""
    axes = pipeline_axes(sizes)
    for number, block in enumerate(blocks, len(group)):
        stop = tuple(a + n for a, n in zip(block.start, block.values.shape, strict=True))
        box = box_from_canonical(Box(block.start, stop), axes)
        data = group.create_dataset(f"block{number:04d}", data=from_canonical(block.values, axes))
        slices = ",".join(f"{a}:{b}" for a, b in zip(box.start, box.stop, strict=True))
        data.attrs["blockSlice"] = f"[{slices}]"
        data.attrs["axistags"] = axistags_json(axes)

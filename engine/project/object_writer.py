"""New projects that classify objects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...frozen import frozen
from .hdf5_writer import NewLane, put_class_names, put_header, put_lane, put_text, writing
from .object_annotations import GROUP
from .object_features import COMPUTED, SELECTED, Features
from .thresholding import GROUP as THRESHOLDS
from .thresholding import METHODS, ThresholdSettings
from .workflow_kinds import WorkflowKind


@frozen(eq=False)
class NewObjectLane:
    """A row of inputs of a new project.

    images  by role
    labels  of each time point: class of each object's id from 0, float64; 0 is none
    """

    images: Mapping[str, NewLane]
    labels: tuple[np.ndarray, ...]


@frozen(eq=False)
class NewObjectProject:
    """A project that classifies objects, not yet trained.

    groups  feature -> its group in ilastik's dialog, and its name there
    names   of the classes
    """

    kind: WorkflowKind
    lanes: tuple[NewObjectLane, ...]
    names: tuple[str, ...]
    features: Features
    shown: Mapping[tuple[str, str], tuple[str, str]]
    thresholds: ThresholdSettings | None


def write_new_object_project(place: Path, path: Path, project: NewObjectProject) -> None:
    """Write a project without a classifier; see ``pixel_writer.write_new_pixel_project``. Raises ExportError."""
    with writing(place, path, "w") as file:
        inputs = put_header(file, project.kind.name, project.kind.roles)
        for group in (COMPUTED, SELECTED):
            put_text(file, f"{group.partition('/')[0]}/StorageVersion", "0.1")
            _put_features(file.create_group(group), project)
        objects = file[GROUP]
        put_class_names(objects, project.names)
        objects["MaxNumObj"] = len(project.names) - 1
        for number, lane in enumerate(project.lanes):
            put_lane(inputs, number, project.kind.roles, lane.images)
            for time, labels in enumerate(lane.labels):
                objects[f"LabelInputs/{number:04d}/{time}"] = labels
        if project.thresholds is not None:
            _put_thresholds(file.create_group(THRESHOLDS), project.thresholds)


def _put_features(group: Any, project: NewObjectProject) -> None:
    for plugin, names in project.features.items():
        for name, margin in names.items():
            feature = group.create_group(f"{plugin}/{name}")
            shown, of_group = project.shown[plugin, name]
            for key, text in (("displaytext", shown), ("detailtext", shown), ("tooltip", name)):
                put_text(feature, key, text)
            feature["advanced"] = not of_group
            if of_group:
                put_text(feature, "group", of_group)
            if margin is not None:
                feature["margin"] = np.array(margin)


def _put_thresholds(group: Any, settings: ThresholdSettings) -> None:
    put_text(group, "StorageVersion", "0.1")
    for name, value in (
        ("CurOperator", METHODS.index(settings.method)),
        ("MinSize", settings.min_size),
        ("MaxSize", settings.max_size),
        ("HighThreshold", settings.high),
        ("LowThreshold", settings.low),
        ("Channel", settings.channel),
        ("CoreChannel", settings.core_channel),
    ):
        group[name] = value
    for axis, sigma in zip("zyx", settings.sigma, strict=True):
        group[f"SmootherSigma/{axis}"] = sigma

"""Summary of a project for ``pixelforest info``, also of one that cannot be run or is partly damaged."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

import numpy as np

from ...frozen import frozen
from ..errors import ProjectError
from . import object_annotations as object_labels
from . import pixel_features
from .annotations import LaneLabels, count_labels, read_label_names
from .export_settings import StoredExportSettings, read_export_settings
from .forest import Classifier, read_classifier
from .hdf5 import ProjectFile, open_project
from .lanes import TrainingImage, first_image, read_lanes, read_roles
from .object_annotations import count_object_labels, read_object_class_names
from .object_features import Blocks, ObjectFeatures, read_blocks, read_object_features
from .pixel_features import FeatureSelection, read_feature_selection
from .table_settings import StoredTableSettings, read_table_settings
from .thresholding import ThresholdSettings, read_thresholding
from .workflow_kinds import WorkflowKind, find_kind, read_version, read_workflow

T = TypeVar("T")
# The group of the export settings in projects of most kinds, tried where the kind is unknown.
PIXEL_EXPORTS = "Prediction Export"


@frozen
class ForestSummary:
    """Size of a classifier. ``has_pure_leaves``: every leaf has a single class with probability 1."""

    kind: str
    forests: int
    trees: int
    nodes: int
    leaves: int
    has_pure_leaves: bool
    is_weighted: bool
    columns: int
    known_labels: tuple[int, ...]


@frozen
class ObjectSummary:
    """Object stage of a project. A field is None, or empty, if the file does not state it.

    class_names    of all object classes, in order of their label values
    label_counts   labelled objects of each of these, in all lanes
    thresholds     None also where the objects are an input
    blocks         blocks of blockwise results
    table          None also if the project is not set up to write one
    """

    features: ObjectFeatures | None
    class_names: tuple[str, ...]
    forest: ForestSummary | None
    label_counts: tuple[int, ...]
    thresholds: ThresholdSettings | None
    blocks: Blocks | None
    table: StoredTableSettings | None


@frozen
class ProjectSummary:
    """Facts that ``pixelforest info`` prints. A field is None, or empty, if the file does not state it.

    workflow       as stored, so possibly a class name, possibly unknown
    is_supported   True if pixelforest can run this workflow
    axes, shape    of the first training image's file
    channels       input channels the classifier was trained on
    dimensions     "2-D", "3-D" or "mixed": filtering of the selected scales
    class_names    of all classes, in order of their label values
    label_counts   labelled pixels of each of these, in all lanes
    objects        None: it classifies no objects
    details        further facts of its kind, as (label, text)
    problems       one line each: part that could not be read, and the reason; empty if the project can be run
    """

    path: Path
    version: str | None
    workflow: str | None
    is_supported: bool
    roles: tuple[str, ...]
    lane_count: int
    axes: str | None
    shape: tuple[int, ...] | None
    channels: int | None
    dimensions: str | None
    features: FeatureSelection | None
    class_names: tuple[str, ...]
    forest: ForestSummary | None
    label_counts: tuple[int, ...]
    objects: ObjectSummary | None
    details: tuple[tuple[str, str], ...]
    export: StoredExportSettings
    problems: tuple[str, ...]


class _Attempts:
    """Reads that may fail; their errors are collected."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def one(self, read: Callable[[], T | None]) -> T | None:
        try:
            return read()
        except ProjectError as error:
            self.problems.append(str(error))
            return None

    def several(self, read: Callable[[], tuple[T, ...]]) -> tuple[T, ...]:
        return self.one(read) or ()


def summarize_project(
    path: Path | str,
    kinds: Collection[WorkflowKind],
    describe: Callable[[ProjectFile, WorkflowKind], tuple[tuple[str, str], ...]],
) -> ProjectSummary:
    """Describe a project, also one that cannot be run.

    kinds     kinds that can be run
    describe  returns facts of a kind that the fields of the summary do not cover, as (label, text)
    Raises ProjectNotFound or ProjectError only if the file cannot be opened.
    """
    attempts = _Attempts()
    with open_project(path) as file:
        version = attempts.one(lambda: read_version(file))
        supported = attempts.one(lambda: read_workflow(file, kinds))
        workflow = attempts.one(lambda: file.text("workflowName"))
        kind = find_kind(workflow or "", kinds)
        lanes = attempts.several(lambda: read_lanes(file))
        stored_roles = attempts.several(lambda: read_roles(file))
        has_pixels = file.has_applet(pixel_features.GROUP) or (
            kind is not None and supported is kind and kind.has_pixels
        )
        has_objects = kind is not None and kind.has_objects
        classifier = attempts.one(lambda: read_classifier(file)) if has_pixels else None
        columns = classifier.column_count if classifier else None
        features = (
            attempts.one(lambda: read_feature_selection(file, lanes, column_count=columns)) if has_pixels else None
        )
        names = attempts.several(lambda: read_label_names(file))
        labels = attempts.several(lambda: count_labels(file, lanes, version=version or "", workflow=workflow or ""))
        objects = _describe_objects(file, attempts, kind) if has_objects and kind is not None else None
        details = () if kind is None else attempts.several(lambda: describe(file, kind))
        export_group = kind.export_group if kind else PIXEL_EXPORTS
        export = attempts.one(lambda: read_export_settings(file, export_group)) or StoredExportSettings()
    image = first_image(lanes)
    return ProjectSummary(
        path=Path(path).absolute(),
        version=version,
        workflow=workflow,
        is_supported=supported is not None,
        roles=tuple(dict.fromkeys((*(kind.roles if kind else ()), *stored_roles))),
        lane_count=len(lanes),
        axes=(image.axes or None) if image else None,
        shape=image.shape if image else None,
        channels=_count_channels(image, columns, features),
        dimensions=_name_dimensions(features, image),
        features=features,
        class_names=names,
        forest=_summarise(classifier) if classifier else None,
        label_counts=_count_per_class(labels, len(names)),
        objects=objects,
        details=details,
        export=export,
        problems=tuple(attempts.problems),
    )


def _describe_objects(file: ProjectFile, attempts: _Attempts, kind: WorkflowKind) -> ObjectSummary:
    names = attempts.several(lambda: read_object_class_names(file))
    classifier = attempts.one(lambda: read_classifier(file, object_labels.GROUP, label_names=names))
    counts = attempts.several(lambda: count_object_labels(file))
    return ObjectSummary(
        features=attempts.one(lambda: read_object_features(file)),
        class_names=names,
        forest=_summarise(classifier) if classifier else None,
        label_counts=(*counts, *(0,) * (len(names) - len(counts))),
        thresholds=attempts.one(lambda: read_thresholding(file)) if kind.has_thresholds else None,
        blocks=attempts.one(lambda: read_blocks(file)),
        table=attempts.one(lambda: read_table_settings(file)),
    )


def _count_channels(image: TrainingImage | None, columns: int | None, features: FeatureSelection | None) -> int | None:
    """Number of channels, from the training image if stored, else from the classifier's columns."""
    if image is not None and image.axes and (image.shape is not None or "c" not in image.axes):
        return image.sizes().get("c", 1)
    if columns is None or features is None:
        return None
    channels, rest = divmod(columns, features.columns_per_channel())
    return channels if channels and not rest else None


def _name_dimensions(features: FeatureSelection | None, image: TrainingImage | None) -> str | None:
    if features is None:
        return None
    if image is not None and image.shape is not None and image.sizes().get("z", 1) == 1:
        return "2-D"
    used = {flat for j, flat in enumerate(features.compute_in_2d) if any(row[j] for row in features.matrix)}
    return "mixed" if len(used) == 2 else "2-D" if used == {True} else "3-D"


def _summarise(classifier: Classifier) -> ForestSummary:
    trees = [tree for forest in classifier.forests for tree in forest.trees]
    pure = all(np.isin(tree.probabilities, (0.0, 1.0)).all() for tree in trees)
    return ForestSummary(
        kind=classifier.kind,
        forests=len(classifier.forests),
        trees=len(trees),
        nodes=sum(tree.node_count for tree in trees),
        leaves=sum(tree.leaf_count for tree in trees),
        has_pure_leaves=bool(pure),
        is_weighted=any(forest.is_weighted for forest in classifier.forests),
        columns=classifier.column_count,
        known_labels=classifier.known_labels,
    )


def _count_per_class(labels: tuple[LaneLabels, ...], class_count: int) -> tuple[int, ...]:
    totals = [lane.totals() for lane in labels]
    return tuple(sum(total.get(label, 0) for total in totals) for label in range(1, class_count + 1))

"""Trained projects: what a .ilp file holds, as plain records. The only code that knows where things lie in one.

``read_project`` gives all that a run needs, ``describe_project`` what can be told about any project, however broken.
Nothing here opens an image, and nothing ever loads a pickle.
"""

from __future__ import annotations

from pathlib import Path

from ...records import dataclass, replace
from .annotations import LabelBlock, LaneLabels, count_labels, read_blocks_of_lane, read_label_names
from .export_settings import StoredExportSettings, read_export_settings
from .forest import Classifier, StoredForest, read_classifier
from .hdf5 import ProjectFile, open_project
from .lanes import TrainingImage, TrainingLane, first_image, read_lanes, read_roles
from .object_annotations import GROUP as OBJECT_GROUP
from .object_annotations import read_object_class_names
from .object_features import Blocks, ObjectFeatures, read_blocks, read_object_features
from .pixel_features import FeatureSelection, read_feature_selection
from .summary import ForestSummary, ObjectSummary, ProjectSummary, describe_project
from .table_settings import TableSettings, read_table_settings
from .thresholding import ThresholdSettings, read_thresholding
from .tree_arrays import StoredTree
from .workflow_names import PIXEL_CLASSIFICATION, SUPPORTED_WORKFLOWS, WorkflowKind, read_version, read_workflow

__all__ = [
    "SUPPORTED_WORKFLOWS",
    "Blocks",
    "Classifier",
    "FeatureSelection",
    "ForestSummary",
    "LabelBlock",
    "LaneLabels",
    "ObjectFeatures",
    "ObjectProject",
    "ObjectSummary",
    "PixelProject",
    "Project",
    "ProjectFile",
    "ProjectSummary",
    "StoredExportSettings",
    "StoredForest",
    "StoredTree",
    "TableSettings",
    "ThresholdSettings",
    "TrainingImage",
    "TrainingLane",
    "count_labels",
    "count_project_labels",
    "describe_project",
    "first_image",
    "open_project",
    "read_classifier",
    "read_export_settings",
    "read_feature_selection",
    "read_label_blocks",
    "read_label_names",
    "read_lanes",
    "read_project",
    "read_roles",
]


@dataclass(frozen=True, eq=False)
class Project:
    """A project that can be run: what all workflows share. Compared by identity, so that it can be a cache's key.

    path      absolute
    version   of the ilastik that saved it
    workflow  the name, never the class name an unsaved project stores
    roles     of its inputs, main role first: those of the workflow, then any others the file names
    """

    path: Path
    version: str
    workflow: str
    roles: tuple[str, ...]
    lanes: tuple[TrainingLane, ...]
    export: StoredExportSettings


@dataclass(frozen=True, eq=False)
class PixelProject(Project):
    """A project that classifies pixels."""

    features: FeatureSelection
    classifier: Classifier


@dataclass(frozen=True, eq=False)
class ObjectProject(Project):
    """A project that classifies objects.

    thresholds   how prediction maps become objects; None where the objects are an input
    pixels       the stage that makes the prediction maps, as a project of its own with this one's atlas as its mask;
                 None where they are an input
    table        None: the project was not set up to write a table
    """

    features: ObjectFeatures
    classifier: Classifier
    blocks: Blocks
    table: TableSettings | None
    thresholds: ThresholdSettings | None
    pixels: PixelProject | None


def read_project(path: Path | str) -> Project:
    """Read a trained project. The file is closed again, and never locked or written.

    Raises ProjectNotFound; ClassifierMissing if it is not trained; ProjectError if it is no project, of a workflow or
    version that is not supported, or damaged.
    """
    with open_project(path) as file:
        version = read_version(file)
        kind = read_workflow(file)
        project = Project(
            path=Path(path).absolute(),
            version=version,
            workflow=kind.name,
            roles=tuple(dict.fromkeys((*kind.roles, *read_roles(file)))),
            lanes=read_lanes(file),
            export=read_export_settings(file, kind.export_group),
        )
        return _read_objects(file, project, kind) if kind.has_objects else _read_pixels(file, project)


def _read_pixels(file: ProjectFile, project: Project) -> PixelProject:
    classifier = read_classifier(file)
    features = read_feature_selection(file, project.lanes, column_count=classifier.column_count)
    return PixelProject(**vars(project), features=features, classifier=classifier)


def _read_objects(file: ProjectFile, project: Project, kind: WorkflowKind) -> ObjectProject:
    features = read_object_features(file)
    return ObjectProject(
        **vars(project),
        features=features,
        classifier=read_classifier(file, OBJECT_GROUP, label_names=read_object_class_names(file)),
        blocks=read_blocks(file),
        table=read_table_settings(file),
        thresholds=read_thresholding(file) if kind.has_thresholds else None,
        pixels=_read_pixels(file, _pixel_stage(project)) if kind.has_pixels else None,
    )


def _pixel_stage(project: Project) -> Project:
    """The same project as its pixel stage sees it: the atlas is the prediction mask."""
    main, mask = PIXEL_CLASSIFICATION.roles
    atlas = project.roles[1]
    lanes = [
        TrainingLane(
            {{main: main, atlas: mask}[role]: image for role, image in lane.images.items() if role in (main, atlas)}
        )
        for lane in project.lanes
    ]
    return replace(project, workflow=PIXEL_CLASSIFICATION.name, roles=(main, mask), lanes=tuple(lanes))


def count_project_labels(path: Path | str) -> tuple[LaneLabels, ...]:
    """Count the labelled pixels of every training lane; the project need not be trained.

    A project whose pixels cannot be labelled has none. Errors as read_project.
    """
    with open_project(path) as file:
        version = read_version(file)
        workflow = read_workflow(file)
        return count_labels(file, read_lanes(file), version=version, workflow=workflow.name)


def read_label_blocks(project: Project, lane: int) -> tuple[LabelBlock, ...]:
    """What the user drew on the image of a training lane. Errors as read_project."""
    with open_project(project.path) as file:
        return read_blocks_of_lane(file, project.lanes, lane, version=project.version, workflow=project.workflow)

"""Trained projects: what a .ilp file holds, as plain records. The only code that knows where things lie in one.

``read_project`` gives all that a run needs, ``describe_project`` what can be told about any project, however broken.
Nothing here opens an image, and nothing ever loads a pickle.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .export_settings import StoredExportSettings, read_export_settings
from .forest import Classifier, StoredForest, read_classifier
from .hdf5 import ProjectFile, open_project
from .labels import LaneLabels, count_labels, read_label_names
from .lanes import TrainingImage, TrainingLane, first_image, read_lanes, read_roles
from .pixel_features import FeatureSelection, read_feature_selection
from .summary import ForestSummary, ProjectSummary, describe_project
from .tree_arrays import StoredTree
from .workflow_names import SUPPORTED_WORKFLOWS, read_version, read_workflow

__all__ = [
    "SUPPORTED_WORKFLOWS",
    "Classifier",
    "FeatureSelection",
    "ForestSummary",
    "LaneLabels",
    "Project",
    "ProjectFile",
    "ProjectSummary",
    "StoredExportSettings",
    "StoredForest",
    "StoredTree",
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
    "read_label_names",
    "read_lanes",
    "read_project",
    "read_roles",
]


@dataclass(frozen=True, eq=False)
class Project:
    """A project that can be run.

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
    features: FeatureSelection
    classifier: Classifier
    export: StoredExportSettings


def read_project(path: Path | str) -> Project:
    """Read a trained project. The file is closed again, and never locked or written.

    Raises ProjectNotFound; ClassifierMissing if it is not trained; ProjectError if it is no project, of a workflow or
    version that is not supported, or damaged.
    """
    with open_project(path) as file:
        version = read_version(file)
        workflow = read_workflow(file)
        lanes = read_lanes(file)
        roles = dict.fromkeys((*workflow.roles, *read_roles(file)))
        classifier = read_classifier(file)
        features = read_feature_selection(file, lanes, column_count=classifier.column_count)
        export = read_export_settings(file, workflow.export_group)
    return Project(
        path=Path(path).absolute(),
        version=version,
        workflow=workflow.name,
        roles=tuple(roles),
        lanes=lanes,
        features=features,
        classifier=classifier,
        export=export,
    )


def count_project_labels(path: Path | str) -> tuple[LaneLabels, ...]:
    """Count the labelled pixels of every training lane; the project need not be trained. Errors as read_project."""
    with open_project(path) as file:
        version = read_version(file)
        workflow = read_workflow(file)
        return count_labels(file, read_lanes(file), version=version, workflow=workflow.name)

"""Trained projects: the content of a .ilp file as plain records. Only this package knows the layout of the file.

``read_common`` reads the part of a project that all kinds share, a kind reads the rest (``engine/workflows``);
``summary`` describes any project, also a damaged one. No image is opened here, and no pickle is ever loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .annotations import LabelBlock, LaneLabels, count_labels, read_label_names
from .export_settings import StoredExportSettings, read_export_settings
from .forest import Classifier, StoredForest, read_classifier
from .hdf5 import ProjectFile, open_project
from .lanes import TrainingImage, TrainingLane, first_image, read_lanes, read_roles
from .pixel_features import FeatureSelection, read_feature_selection
from .pixel_project import PixelProject, read_pixel_project
from .project import Project, count_project_labels, read_common, read_label_blocks
from .tree_arrays import StoredTree
from .workflow_kinds import WorkflowKind, read_workflow

if TYPE_CHECKING:
    from .object_features import ObjectFeatures
    from .object_project import ObjectProject, read_object_project
    from .summary import ForestSummary, ObjectSummary, ProjectSummary, summarize_project
    from .table_settings import StoredTableSettings
    from .thresholding import ThresholdSettings

__all__ = [
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
    "StoredTableSettings",
    "StoredTree",
    "ThresholdSettings",
    "TrainingImage",
    "TrainingLane",
    "WorkflowKind",
    "count_labels",
    "count_project_labels",
    "first_image",
    "open_project",
    "read_classifier",
    "read_common",
    "read_export_settings",
    "read_feature_selection",
    "read_label_blocks",
    "read_label_names",
    "read_lanes",
    "read_object_project",
    "read_pixel_project",
    "read_roles",
    "read_workflow",
    "summarize_project",
]

# Modules that a run of a pixel project does not need: their names are imported when they are asked for.
_LATER = {
    "ObjectFeatures": "object_features",
    "ObjectProject": "object_project",
    "read_object_project": "object_project",
    "ForestSummary": "summary",
    "ObjectSummary": "summary",
    "ProjectSummary": "summary",
    "summarize_project": "summary",
    "StoredTableSettings": "table_settings",
    "ThresholdSettings": "thresholding",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)

"""Projects that classify pixels."""

from __future__ import annotations

from ...frozen import frozen
from .annotations import GROUP as LABELS_GROUP
from .forest import Classifier, read_classifier
from .hdf5 import ProjectFile
from .pixel_features import GROUP as FEATURES_GROUP
from .pixel_features import FeatureSelection, read_feature_selection
from .project import Project
from .workflow_kinds import WorkflowKind

NAME = "Pixel Classification"
ROLES = RAW, MASK = ("Raw Data", "Prediction Mask")
KIND = WorkflowKind(NAME, "PixelClassificationWorkflow", ROLES, "Prediction Export", has_pixels=True)


@frozen(eq=False)
class PixelProject(Project):
    """A project that classifies pixels, or one stage of a project that does so repeatedly.

    labels_group  group of the file with the labels drawn by the user
    """

    features: FeatureSelection
    classifier: Classifier
    labels_group: str


def stage_suffix(stage: int) -> str:
    """Return what follows the names of the groups of a stage, from 1."""
    return f"{stage - 1:02d}" if stage > 1 else ""


def read_pixel_project(file: ProjectFile, project: Project, *, stage: int = 1, added_channels: int = 0) -> PixelProject:
    """Read the features and the classifier of a project, or of one of its stages.

    stage           from 1; the groups of the first have the names of a project with one stage
    added_channels  channels that the classifier of this stage gets beside those of the image
    Raises ClassifierMissing, ProjectError.
    """
    suffix = stage_suffix(stage)
    labels_group = f"{LABELS_GROUP}{suffix}"
    classifier = read_classifier(file, labels_group)
    features = read_feature_selection(
        file,
        project.lanes,
        group=f"{FEATURES_GROUP}{suffix}",
        column_count=classifier.column_count,
        added_channels=added_channels,
    )
    return PixelProject(**project.shared(), features=features, classifier=classifier, labels_group=labels_group)

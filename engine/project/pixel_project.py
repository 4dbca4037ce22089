"""Projects that classify pixels."""

from __future__ import annotations

from ...frozen import frozen
from .forest import Classifier, read_classifier
from .hdf5 import ProjectFile
from .pixel_features import FeatureSelection, read_feature_selection
from .project import Project

NAME = "Pixel Classification"
ROLES = RAW, MASK = ("Raw Data", "Prediction Mask")


@frozen(eq=False)
class PixelProject(Project):
    """A project that classifies pixels."""

    features: FeatureSelection
    classifier: Classifier


def read_pixel_project(file: ProjectFile, project: Project) -> PixelProject:
    """Read the features and the classifier of a project. Raises ClassifierMissing, ProjectError."""
    classifier = read_classifier(file)
    features = read_feature_selection(file, project.lanes, column_count=classifier.column_count)
    return PixelProject(**project.shared(), features=features, classifier=classifier)

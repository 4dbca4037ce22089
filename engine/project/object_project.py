"""Projects that classify objects."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from ...frozen import frozen
from . import pixel_project
from .forest import PARALLEL_FORESTS, Classifier, read_classifier
from .hdf5 import ProjectFile
from .lanes import TrainingLane
from .object_annotations import GROUP, read_object_class_names
from .object_features import Blocks, ObjectFeatures, read_blocks, read_object_features
from .pixel_project import PixelProject, read_pixel_project
from .project import Project
from .table_settings import StoredTableSettings, read_table_settings
from .thresholding import ThresholdSettings, read_thresholding

UNTRAINED = Classifier((), (), (), None, PARALLEL_FORESTS, averages=True)
"""Classifier of a project before it is trained."""


@frozen(eq=False)
class ObjectProject(Project):
    """A project that classifies objects.

    thresholds   settings that turn prediction maps into objects; None where the objects are an input
    pixels       stage that computes the prediction maps, as a project of its own with this one's atlas as its mask;
                 None where they are an input
    table        None: the project is not set up to write a table
    """

    BESIDES: ClassVar[frozenset[str]] = Project.BESIDES | {"table"}

    features: ObjectFeatures
    classifier: Classifier
    blocks: Blocks
    table: StoredTableSettings | None
    thresholds: ThresholdSettings | None
    pixels: PixelProject | None


def read_object_project(
    file: ProjectFile,
    project: Project,
    *,
    has_thresholds: bool,
    has_pixels: bool,
    classifier: Classifier | None = None,
) -> ObjectProject:
    """Read features, classifier, blocks and table of a project, and the stages that make its objects.

    has_thresholds  True if its objects are made from prediction maps
    has_pixels      True if a pixel stage of its own computes the prediction maps
    classifier      to be used instead of the stored one
    Raises ClassifierMissing, ProjectError.
    """
    features = read_object_features(file)
    return ObjectProject(
        **project.shared(),
        features=features,
        classifier=classifier or read_classifier(file, GROUP, label_names=read_object_class_names(file)),
        blocks=read_blocks(file),
        table=read_table_settings(file),
        thresholds=read_thresholding(file) if has_thresholds else None,
        pixels=read_pixel_project(file, _pixel_stage(project)) if has_pixels else None,
    )


def _pixel_stage(project: Project) -> Project:
    """Convert a project to that of its pixel stage: the atlas is the prediction mask."""
    main, mask = pixel_project.ROLES
    atlas = project.roles[1]
    lanes = [
        TrainingLane(
            {{main: main, atlas: mask}[role]: image for role, image in lane.images.items() if role in (main, atlas)}
        )
        for lane in project.lanes
    ]
    return replace(project, workflow=pixel_project.NAME, roles=(main, mask), lanes=tuple(lanes))

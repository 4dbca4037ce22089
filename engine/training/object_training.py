"""Training of a project that classifies objects: its labels and images → objects and their features → a forest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..backends import open_backend
from ..errors import ProjectError
from ..project import Classifier, ObjectProject, open_project, read_common, read_object_project
from ..project.object_annotations import GROUP, read_object_class_names, read_object_labels
from ..project.object_project import UNTRAINED
from ..project.workflow_kinds import read_workflow
from ..resources import Resources
from ..workflows.objects import KINDS
from ..workflows.objects.inputs import RAW
from .cross_validation import check_images, cross_validate
from .equal_images import find_folds
from .forest import TrainedForest, check_seed
from .object_samples import collect_objects, column_names, open_object_images
from .samples import Samples
from .stage import (
    DEFAULT_TREES,
    TrainedStage,
    TrainingSettings,
    as_classifier,
    check_samples,
    check_trees,
    grow_forests,
    select_samples,
)

TrainedObjects = TrainedStage[ObjectProject]


def train_object_project(
    path: Path, settings: TrainingSettings, *, threads: int, memory_bytes: int, shown_as: Path | None = None
) -> TrainedObjects:
    """Train the object classifier of a project anew from its labels and images. Nothing is written.

    All trees are in one forest, as in ilastik. It knows all classes of the project, also those without an object. The
    pixel classifier of a project that has one stays as it is: labels are those of the objects that it finds. See
    ``pixel_training.train_pixel_project``.
    """
    check_seed(settings.seed)
    trees = check_trees(DEFAULT_TREES if settings.trees is None else settings.trees)
    with open_project(path) as file:
        kind = read_workflow(file, KINDS)
        project = read_object_project(
            file,
            read_common(file, path, kind),
            has_thresholds=kind.has_thresholds,
            has_pixels=kind.has_pixels,
            classifier=UNTRAINED,
        )
        names, labels = read_object_class_names(file), read_object_labels(file)
    lost = [lane for lane in labels if lane >= len(project.lanes)]
    if lost:
        raise ProjectError(f"{path} has labels for image {lost[0] + 1}, which it does not have")
    resources = Resources(open_backend("cpu"), threads, memory_bytes)
    with open_object_images(project, labels, {RAW: settings.raw_data, **settings.other_inputs}) as images:
        folds: dict[int, int] = {}
        if settings.cross_validates:
            folds = find_folds({lane: own[RAW] for lane, own in images.items()})
            check_images(len(set(folds.values())))
        samples = collect_objects(project, images, labels, resources)
        paths = {lane: own[RAW].path_text for lane, own in images.items()}
        columns = column_names(project, images[min(images)]) if images else ()
    samples = select_samples(samples, settings, "object")
    check_samples(str(shown_as or path), samples, names, "object")

    def grow(own: Samples, own_settings: TrainingSettings) -> tuple[TrainedForest, ...]:
        return grow_forests(own, (trees,), own_settings, "object", threads, known=range(1, len(names) + 1))

    forests = grow(samples, settings)
    classifier, validation = as_classifier(forests, names, columns), None
    if settings.cross_validates:
        without = replace(settings, permutes=False)

        def train(others: Samples) -> Classifier:
            return as_classifier(grow(others, without), names, columns)

        validation = cross_validate(samples, paths, folds, names, train, resources)
    trained = replace(project, classifier=replace(classifier, feature_names=None))
    return TrainedStage(trained, classifier, GROUP, "object", forests, samples, settings, validation)

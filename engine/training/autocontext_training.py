"""Training of Autocontext: the first stage, then the second one on images to which the first has added channels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ...frozen import frozen
from ..backends import open_backend
from ..pixels.autocontext import ContextImage, warn_of_type
from ..project import open_project, read_common
from ..project.autocontext_project import KIND, STAGES, AutocontextProject
from ..project.pixel_project import RAW, PixelProject
from ..resources import Resources
from .equal_images import find_folds
from .forest import check_seed, seed_after
from .pixel_training import TrainedPixels, collect_stage, grow_stage, read_draft, train_stage
from .samples import SampleImage, Samples, open_training_images
from .stage import TrainingSettings, as_classifier, save_stages


@frozen(eq=False)
class TrainedAutocontext:
    """A trained project with two stages. See ``TrainedStage``."""

    stages: tuple[TrainedPixels, TrainedPixels]

    @property
    def project(self) -> AutocontextProject:
        """Return the project with the new classifiers; its file still holds the old ones."""
        first, second = (stage.project for stage in self.stages)
        return AutocontextProject(**first.shared(), stages=(first, second))

    def save(self, path: Path) -> None:
        """Write the project with the new classifiers, in one step. Raises ExportError, ProjectError."""
        save_stages(self.stages, path)


def train_autocontext_project(
    path: Path, settings: TrainingSettings, *, threads: int, memory_bytes: int, shown_as: Path | None = None
) -> TrainedAutocontext:
    """Train both classifiers of a project anew from their labels and the images. Nothing is written.

    The seeds of the second stage's forests follow those of the first. A cross-validation of the second stage trains the
    first one anew for every image that is left out. See ``pixel_training.train_pixel_project``.
    """
    check_seed(settings.seed)
    with open_project(path) as file:
        project = read_common(file, path, KIND)
        first = read_draft(file, project, settings)
        second = read_draft(file, project, settings, stage=2, added_channels=max(1, len(first.names)))
    resources = Resources(open_backend("cpu"), threads, memory_bytes)
    first_name, second_name = (f"stage {stage} of {shown_as or path}" for stage in STAGES)
    lanes = sorted({*first.lanes, *second.lanes})
    with open_training_images(project, RAW, lanes, settings.raw_data) as images:
        for lane in second.lanes:
            warn_of_type(images[lane])
        folds = find_folds(images) if settings.cross_validates else {}
        trained = train_stage(project, first, images, folds, settings, resources, name=first_name)
        following = replace(settings, seed=seed_after(settings.seed, len(trained.forests)))

        def see(stage: PixelProject) -> dict[int, SampleImage]:
            """Return the images as the second stage sees them."""
            return {lane: ContextImage(images[lane], stage, resources.backend) for lane in second.lanes}

        def samples_without(fold: int) -> Samples:
            """Compute the samples of the second stage from a first one that has not learnt from a fold."""
            is_other = np.array([folds[lane] != fold for lane in trained.samples.lanes.tolist()])
            others = trained.samples.select(is_other)
            forests = grow_stage(first, others, replace(settings, permutes=False), resources)
            columns = trained.classifier.feature_names
            assert columns is not None, "they were named in training"
            stage = replace(trained.project, classifier=as_classifier(forests, first.names, columns))
            return collect_stage(second, see(stage), folds, following, resources, name=second_name)

        last = train_stage(
            project, second, see(trained.project), folds, following, resources, name=second_name,
            samples_without=samples_without,
        )  # fmt: skip
        return TrainedAutocontext((trained, last))

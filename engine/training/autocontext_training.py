"""Training of Autocontext: the first stage, then the second one on images to which the first has added channels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...frozen import frozen
from ..backends import open_backend
from ..errors import UsageError, setting
from ..pixels.autocontext import ContextImage, warn_of_type
from ..project import open_project, read_common
from ..project.autocontext_project import KIND, STAGES, AutocontextProject
from ..project.pixel_project import RAW
from ..resources import Resources
from .forest import check_seed, seed_after
from .pixel_training import TrainedPixels, read_draft, train_stage
from .samples import open_training_images
from .stage import TrainingSettings, save_stages


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

    The seeds of the second stage's forests follow those of the first. See ``pixel_training.train_pixel_project``.
    """
    check_seed(settings.seed)
    if settings.cross_validates:
        raise UsageError(
            f"{setting('cross_validate')} works for Pixel Classification; the second stage of Autocontext learns from "
            "what the first has learnt from all images"
        )
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
        trained = train_stage(project, first, images, settings, resources, name=first_name)
        context = {lane: ContextImage(images[lane], trained.project, resources.backend) for lane in second.lanes}
        following = replace(settings, seed=seed_after(settings.seed, len(trained.forests)))
        return TrainedAutocontext(
            (trained, train_stage(project, second, context, following, resources, name=second_name))
        )

"""Kinds of projects that can be trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..errors import UsageError
from ..project import ProjectFile, open_project
from ..project.autocontext_project import KIND as AUTOCONTEXT
from ..project.autocontext_project import STAGES
from ..project.forest import GROUP
from ..project.object_annotations import GROUP as OBJECTS_GROUP
from ..project.pixel_project import KIND as PIXELS
from ..project.pixel_project import stage_suffix
from ..project.workflow_kinds import find_kind
from ..workflows.objects import KINDS as OBJECTS
from .autocontext_training import TrainedAutocontext, train_autocontext_project
from .object_training import TrainedObjects, train_object_project
from .pixel_training import TrainedPixels, train_pixel_project
from .samples import option_of
from .stage import TrainingSettings

# Kind -> groups that hold its classifiers.
CLASSIFIERS = {
    PIXELS: (GROUP,),
    AUTOCONTEXT: tuple(f"{GROUP}{stage_suffix(stage)}" for stage in STAGES),
    **dict.fromkeys(OBJECTS, (OBJECTS_GROUP,)),
}

Trained = TrainedPixels | TrainedAutocontext | TrainedObjects


def train_project_file(
    path: Path, settings: TrainingSettings, *, threads: int, memory_bytes: int, shown_as: Path | None = None
) -> Trained:
    """Train the classifiers of a project anew from its labels and images. Nothing is written.

    shown_as  name of the project in messages, if not ``path``
    Raises ProjectError, InputError, UsageError and MemoryTooSmall.
    """
    with open_project(path) as file:
        stored = file.text("workflowName")
        kind = find_kind(stored or "", CLASSIFIERS)
        if kind is None:
            raise file.error(
                "workflowName",
                f"projects of {stored or 'an unknown kind'} are trained in ilastik; "
                f"{', '.join(each.name for each in CLASSIFIERS)} here",
            )
    for role in settings.other_inputs:
        if role not in kind.roles:
            raise UsageError(f"{option_of(role)}: projects of {kind.name} have no {role}")
    train: Callable[..., Trained] = (
        train_object_project
        if kind.has_objects
        else train_autocontext_project
        if kind is AUTOCONTEXT
        else train_pixel_project
    )
    return train(path, settings, threads=threads, memory_bytes=memory_bytes, shown_as=shown_as)


def is_untrained(file: ProjectFile) -> bool:
    """Return True if a project could be trained, and a classifier of it has never been."""
    kind = find_kind(file.text("workflowName") or "", CLASSIFIERS)
    return kind is not None and not all(file.has(f"{group}/ClassifierForests") for group in CLASSIFIERS[kind])

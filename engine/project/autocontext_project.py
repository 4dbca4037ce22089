"""Projects of Autocontext: pixels are classified in two stages, the second of which sees the results of the first."""

from __future__ import annotations

from ...frozen import frozen
from .hdf5 import ProjectFile
from .pixel_project import ROLES, PixelProject, read_pixel_project
from .project import Project
from .workflow_kinds import WorkflowKind

KIND = WorkflowKind("Autocontext (2-stage)", "AutocontextTwoStage", ROLES, "Prediction Export", has_pixels=True)
STAGES = (1, 2)


@frozen(eq=False)
class AutocontextProject(Project):
    """A project of Autocontext.

    stages   classifiers of the raw image, and of the raw image with the first stage's probabilities as further channels
    """

    stages: tuple[PixelProject, PixelProject]


def read_autocontext_project(file: ProjectFile, project: Project) -> AutocontextProject:
    """Read features and classifiers of both stages. Raises ClassifierMissing, ProjectError."""
    first = read_pixel_project(file, project)
    added = max(1, len(first.classifier.label_names))
    second = read_pixel_project(file, project, stage=2, added_channels=added)
    return AutocontextProject(**project.shared(), stages=(first, second))

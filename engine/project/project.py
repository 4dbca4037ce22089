"""The part of a project that all kinds share."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

from ...frozen import frozen
from .annotations import LabelBlock, LaneLabels, count_labels, read_blocks_of_lane
from .content import ByContent
from .export_settings import StoredExportSettings, read_export_settings
from .hdf5 import ProjectFile, open_project
from .lanes import TrainingLane, read_lanes, read_roles
from .workflow_kinds import WorkflowKind, read_version


@frozen(eq=False)
class Project(ByContent):
    """A project that can be run: the part that all workflows share. A value, equal after pickling.

    path      absolute
    version   version of the ilastik that saved it
    workflow  name, never the class name that an unsaved project stores
    roles     roles of its inputs, main role first: those of the workflow, then any others that the file names
    """

    BESIDES: ClassVar[frozenset[str]] = frozenset({"path", "version", "export"})

    path: Path
    version: str
    workflow: str
    roles: tuple[str, ...]
    lanes: tuple[TrainingLane, ...]
    export: StoredExportSettings

    def shared(self) -> dict[str, Any]:
        """Fields of this class by name, to construct a project of a subclass."""
        return {each.name: getattr(self, each.name) for each in fields(Project)}


def read_common(file: ProjectFile, path: Path, kind: WorkflowKind) -> Project:
    """Read the part of a project that all kinds share. Raises ProjectError."""
    return Project(
        path=path.absolute(),
        version=read_version(file),
        workflow=kind.name,
        roles=tuple(dict.fromkeys((*kind.roles, *read_roles(file)))),
        lanes=read_lanes(file),
        export=read_export_settings(file, kind.export_group),
    )


def count_project_labels(file: ProjectFile, kind: WorkflowKind) -> tuple[LaneLabels, ...]:
    """Count the labelled pixels of every training lane; the project need not be trained.

    A project whose pixels cannot be labelled has none. Raises ProjectError.
    """
    return count_labels(file, read_lanes(file), version=read_version(file), workflow=kind.name)


def read_label_blocks(project: Project, lane: int, group: str) -> tuple[LabelBlock, ...]:
    """Read the labels in ``group`` that the user drew on the image of a training lane. Raises ProjectError."""
    with open_project(project.path) as file:
        return read_blocks_of_lane(
            file, project.lanes, lane, version=project.version, workflow=project.workflow, group=group
        )

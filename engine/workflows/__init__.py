"""Kinds of projects, one folder each: the registry lists its own folders, then installed plug-ins.

A plug-in is a package named by an entry point of the group ``pixelforest.workflows``. Like a folder here it provides
``KINDS`` in the package itself and a module ``workflow`` that implements ``protocol.Workflow``. Plug-ins are consulted
only if no folder here matches.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..plug_ins import load_plug_ins
from ..project import Project, ProjectFile, WorkflowKind, open_project, read_common, read_workflow
from ..project.workflow_kinds import find_kind, read_version

if TYPE_CHECKING:
    from ..project import ProjectSummary
    from .protocol import Workflow


@cache
def _own_kinds() -> Mapping[WorkflowKind, str]:
    """Map each kind to the package that runs it, for the folders here."""
    names = sorted(folder.parent.name for folder in Path(__file__).parent.glob("*/workflow.py"))
    packages = [f"{__name__}.{name}" for name in names]
    return {kind: package for package in packages for kind in import_module(package).KINDS}


def _plugged_kinds() -> Mapping[WorkflowKind, str]:
    return {kind: package.__name__ for package in load_plug_ins("pixelforest.workflows") for kind in package.KINDS}


def kinds() -> tuple[WorkflowKind, ...]:
    """All kinds of projects that can be run."""
    return (*_own_kinds(), *_plugged_kinds())


def _kinds_for(stored_name: str | None) -> tuple[WorkflowKind, ...]:
    """Kinds to search for a stored name: plug-ins only if no built-in kind has it."""
    own = tuple(_own_kinds())
    return own if find_kind(stored_name or "", own) else kinds()


def load_workflow(name: str) -> Workflow:
    """Load the module that runs projects of the kind of this name. Raises KeyError for a name without one."""
    packages = {kind.name: package for kind, package in _own_kinds().items()}
    if name not in packages:
        packages = {kind.name: package for kind, package in _plugged_kinds().items()}
    return cast("Workflow", import_module(f"{packages[name]}.workflow"))


def read_project(path: Path | str) -> Project:
    """Read a trained project. The file is closed again, and never locked or written.

    Parameters
    ----------
    path
        The .ilp file.

    Returns
    -------
    Project
        The project, a value of the class that its kind defines.

    Raises
    ------
    ProjectNotFound
        If there is no such file.
    ClassifierMissing
        If the project is not trained.
    ProjectError
        If the file is no project, is damaged, or is of a kind or version that is not supported.
    """
    with open_project(path) as file:
        kind = read_kind(file)
        return load_workflow(kind.name).read(file, read_common(file, Path(path), kind), kind)


def read_kind(file: ProjectFile) -> WorkflowKind:
    """Find the kind of an open project. Raises ProjectError if its version or its kind is not supported."""
    read_version(file)
    stored = file.text("workflowName") if file.has("workflowName") else None
    return read_workflow(file, _kinds_for(stored))


def describe_project(path: Path | str) -> ProjectSummary:
    """Describe a project, also one that cannot be run.

    Parameters
    ----------
    path
        The .ilp file.

    Returns
    -------
    ProjectSummary
        Everything that could be read, and a line about each problem.

    Raises
    ------
    ProjectNotFound, ProjectError
        Only if the file cannot be opened.
    """
    from ..project import summarize_project

    return summarize_project(path, kinds(), lambda file, kind: load_workflow(kind.name).describe(file, kind))

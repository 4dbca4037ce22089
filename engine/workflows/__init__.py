"""Kinds of projects, one folder each: the registry lists its own folders, then installed plug-ins.

A plug-in is a package that an entry point of the group ``pixelforest.workflows`` names; it has what a folder here has:
``KINDS`` in the package itself, and a module ``workflow`` that fulfils ``protocol.Workflow``. Plug-ins are looked for
only where no folder of this one fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..project import (
    Project,
    ProjectFile,
    ProjectSummary,
    WorkflowKind,
    open_project,
    read_common,
    read_workflow,
    summarize_project,
)
from ..project.workflow_kinds import find_kind, read_version

if TYPE_CHECKING:
    from .protocol import Workflow

PLUG_INS = "pixelforest.workflows"


@cache
def _own_kinds() -> Mapping[WorkflowKind, str]:
    """Kind -> package that runs it, for the folders of this one."""
    names = sorted(folder.parent.name for folder in Path(__file__).parent.glob("*/workflow.py"))
    packages = [f"{__name__}.{name}" for name in names]
    return {kind: package for package in packages for kind in import_module(package).KINDS}


@cache
def _plugged_kinds() -> Mapping[WorkflowKind, str]:
    from importlib.metadata import entry_points

    packages = [entry.value for entry in entry_points(group=PLUG_INS)]
    return {kind: package for package in packages for kind in import_module(package).KINDS}


def kinds() -> tuple[WorkflowKind, ...]:
    """All kinds of projects that can be run."""
    return (*_own_kinds(), *_plugged_kinds())


def _kinds_for(stored_name: str | None) -> tuple[WorkflowKind, ...]:
    """The kinds to look through for a stored name: plug-ins only if no own kind has it."""
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

    Raises ProjectNotFound; ClassifierMissing if it is not trained; ProjectError if it is no project, of a kind or
    version that is not supported, or damaged.
    """
    with open_project(path) as file:
        kind = read_kind(file)
        return load_workflow(kind.name).read(file, read_common(file, Path(path), kind), kind)


def read_kind(file: ProjectFile) -> WorkflowKind:
    """Find the kind of an open project. Raises ProjectError if its version cannot be read, or its kind not be run."""
    read_version(file)
    stored = file.text("workflowName") if file.has("workflowName") else None
    return read_workflow(file, _kinds_for(stored))


def describe_project(path: Path | str) -> ProjectSummary:
    """Describe a project, also one that cannot be run.

    Raises ProjectNotFound or ProjectError only if the file cannot be opened.
    """
    return summarize_project(path, kinds(), lambda file, kind: load_workflow(kind.name).describe(file, kind))

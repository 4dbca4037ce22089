"""Kinds of ilastik projects, and the ilastik versions whose files can be read.

A kind describes the content of a project file. Each folder of ``engine/workflows`` declares the kinds that it runs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from ...frozen import frozen
from ..errors import ProjectError
from .hdf5 import ProjectFile

if TYPE_CHECKING:
    from packaging.version import Version

# (major, minor) pairs whose project files ilastik itself treats as interchangeable.
READABLE_VERSIONS = ((0, 6), (1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (1, 5))


@frozen
class WorkflowKind:
    """A kind of project, as stated in its file.

    name          as a saved project stores it
    class_name    as a project that was created but never saved stores it
    roles         roles of its inputs, main role first
    export_group  HDF5 group of its export settings
    has_pixels    True if it classifies pixels
    has_objects   True if it classifies objects
    has_thresholds  True if its objects are made from prediction maps
    """

    name: str
    class_name: str
    roles: tuple[str, ...]
    export_group: str
    has_pixels: bool = False
    has_objects: bool = False
    has_thresholds: bool = False


def read_workflow(file: ProjectFile, kinds: Collection[WorkflowKind]) -> WorkflowKind:
    """Find the kind of a project among ``kinds``.

    Raises ProjectError, naming the kinds that can be run, if the project states none or another one.
    """
    stored = file.text("workflowName") if file.has("workflowName") else None
    supported = ", ".join(f"'{kind.name}'" for kind in kinds)
    if stored is None:
        raise file.error("workflowName", f"is missing, so the kind of project is unknown; supported: {supported}")
    kind = find_kind(stored, kinds)
    if kind is None:
        raise file.error("workflowName", f"workflow '{stored}' is not supported; supported: {supported}")
    return kind


def find_kind(stored_name: str, kinds: Iterable[WorkflowKind]) -> WorkflowKind | None:
    """Return the kind that a stored ``workflowName`` means, or None if it is none of ``kinds``."""
    return next((kind for kind in kinds if stored_name in (kind.name, kind.class_name)), None)


def read_version(file: ProjectFile) -> str:
    """Read the ilastik version that saved the project. Raises ProjectError if that version is not supported."""
    path = "ilastikVersion"
    if not file.has(path):
        if file.has("DataSets") or file.has("Project"):
            raise _too_old(file, "0.5")
        raise file.error(path, "is missing: not an ilastik project, or one of ilastik 0.5, which cannot be used")
    version = _version_text(file, path)
    found = re.match(r"\s*v?(\d+)\.(\d+)", version)
    if not found:
        raise file.error(path, f"'{version[:80]}' is not a version of ilastik")
    pair = (int(found[1]), int(found[2]))
    if pair < READABLE_VERSIONS[0]:
        raise _too_old(file, version)
    if pair not in READABLE_VERSIONS:
        first, last = (".".join(map(str, READABLE_VERSIONS[i])) for i in (0, -1))
        raise file.error(path, f"saved by ilastik {version}; files of {first} to {last} can be read")
    return version


def _version_text(file: ProjectFile, path: str) -> str:
    """Read the version as text: ilastik 0.5 stored a float."""
    try:
        return file.text(path) or ""
    except ProjectError:
        number = file.number(path)
        return "" if number is None else str(number)


def _too_old(file: ProjectFile, version: str) -> ProjectError:
    return file.error(
        "ilastikVersion",
        f"a project of ilastik {version} holds no classifier that could be used; open it in ilastik 1.4, train, save",
    )


def version_order(version: str) -> Version:
    """Return a key that sorts ilastik versions as PEP 440 does: 1.3.3 < 1.3.3post2 < 1.4.0b7 < 1.4.0.

    What follows a version in the text is ignored; a text that begins with none sorts below all versions.
    """
    from packaging.version import VERSION_PATTERN, Version  # not every project needs the order

    found = re.match(VERSION_PATTERN, version.strip(), re.VERBOSE | re.IGNORECASE)
    return Version(found[0] if found else "0.dev0")

"""Damaged cases by name: one and more for each kind of failure that was ever reported, and what is right.

The number before the name groups cases of one kind. Every case must also pass the verdicts that hold of all commands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from tests.fuzz.cases import Case
from tests.fuzz.corpus import PROJECTS, project_start
from tests.fuzz.forks import Ending

OUT = "--output_filename_format=out/{nickname}_{result_type}"
COMMON = ("--headless", "--project=project.ilp", "--device=cpu", "--threads=1")


@dataclass(frozen=True)
class Damaged:
    """A named case and what is right.

    status  of the run; None: any that the verdicts allow
    says    what stderr must match
    hides   what neither stdout nor stderr may hold
    check   (folder after the run) -> what is wrong, or ""
    """

    make: Callable[[], Case]
    status: int | None = None
    says: str = ""
    hides: str = ""
    check: Callable[[Path], str] = lambda folder: ""

    def judge(self, explained: Ending, done: Ending, folder: Path) -> list[str]:
        """Defects beyond those that are checked for every command."""
        wrong = []
        if self.status is not None and done.status != self.status:
            wrong.append(f"status {done.status} instead of {self.status}: {done.stderr.strip()[-300:]}")
        if self.says and not re.search(self.says, done.stderr):
            wrong.append(f"stderr does not say {self.says!r}: {done.stderr.strip()[-300:]}")
        printed = explained.stdout + explained.stderr + done.stdout + done.stderr
        if self.hides and self.hides in printed:
            wrong.append(f"{self.hides!r} is printed")
        found = self.check(folder)
        return [*wrong, found] if found else wrong


def project_case(name: str, project: str, edit: Callable[[h5py.File], None], *words: str) -> Case:
    """A recorded project, edited; run on its recorded inputs, with an output template unless ``words`` are given."""
    start = project_start(project)
    edited = edit_hdf5(start.files["project.ilp"], edit)
    return Case(name, {**start.files, "project.ilp": edited}, (*COMMON, *(words or (OUT,)), *PROJECTS[project]))


def image_case(name: str, project: str, files: Mapping[str, bytes], words: Sequence[str]) -> Case:
    """A recorded project, unchanged, and other files."""
    stored = project_start(project).files["project.ilp"]
    return Case(name, {"project.ilp": stored, **files}, (*COMMON, OUT, *words))


def edit_hdf5(data: bytes, edit: Callable[[h5py.File], None]) -> bytes:
    """The bytes of an HDF5 file after an edit."""
    import io

    buffer = io.BytesIO(data)
    with h5py.File(buffer, "r+") as file:
        edit(file)
    return buffer.getvalue()


def put(**values: object) -> Callable[[h5py.File], None]:
    """An edit that stores values; names are given with ``__`` for ``/`` and ``_`` for a blank."""

    def edit(file: h5py.File) -> None:
        for key, value in values.items():
            path = key.replace("__", "/").replace("_", " ")
            if path in file:
                del file[path]
            file[path] = value

    return edit


def hdf5_bytes(data: np.ndarray, **attributes: object) -> bytes:
    """A file with one dataset ``data``."""
    import io

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        dataset = file.create_dataset("data", data=data)
        for key, value in attributes.items():
            dataset.attrs[key] = value
    return buffer.getvalue()


def result(folder: Path) -> np.ndarray:
    """The only exported image."""
    (path,) = (folder / "out").glob("*.h5")
    with h5py.File(path) as file:
        return np.asarray(file["exported_data"][()])


def all_cases() -> dict[str, Damaged]:
    """Every named case, images first."""
    from tests.fuzz.damaged_images import IMAGES
    from tests.fuzz.damaged_projects import PROJECT_CASES

    return {**IMAGES, **PROJECT_CASES}

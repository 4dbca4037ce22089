"""Computation of a lane in steps whose values are files in the folder of the run (objects of one image).

The process that a cluster helps stores the values that its workers return. Jobs without a connection (``--blocks``)
each begin with their own share; what else they need, they read from there, or compute if no other job has. Of the last
steps, which nothing but the result needs, a job computes its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import numpy as np

from ..errors import ExportError, setting
from ..jobs import Job
from ..resources import Resources
from ..storage.remote_run import RemoteRunFolder
from ..storage.run_folder import RunFolder
from ..storage.step_files import RemoteStepFiles, StepFiles
from ..tiling import blocks
from ..workflows.protocol import PartEnded
from .block_run import LaneRun
from .check import LaneCheck
from .done_lanes import DoneLanes

logger = logging.getLogger("pixelforest.batch")

_SLAB_VOXELS = "slab_voxels"  # in the records of a run


class StoredStep(Protocol):
    """Step whose value can be stored; defined by its workflow.

    key      name of its kind, and of the frame; is_last: True if no step needs its value
    """

    @property
    def key(self) -> str: ...
    @property
    def is_last(self) -> bool: ...

    def compute(self, project: Any, resources: Resources, on_progress: Callable[[int], None]) -> Any:
        """Compute it in this process."""

    def pack(self, value: Any) -> dict[str, np.ndarray]:
        """Name the arrays of its value."""

    def unpack(self, arrays: dict[str, np.ndarray]) -> Any:
        """Return the value that was packed."""


class StepStore:
    """Folder that keeps the values of the steps of a lane until its results are complete."""

    def __init__(self, found: LaneCheck, records: DoneLanes) -> None:
        """Open the run of a lane. Raises ExportError."""
        self._run = LaneRun(found, records)
        folder = self._run.folder
        self._files: StepFiles | RemoteStepFiles
        if isinstance(folder, RunFolder):
            self._files = StepFiles(folder.temporary)
        else:
            self._files = RemoteStepFiles(folder.folder)
        self.found = found
        self._slab_voxels = 0
        if done := self._files.count():
            logger.info("%s: %d steps are done already", found.name, done)

    @property
    def run_of_results(self) -> LaneRun | None:
        """The run, if it continues results, which are behind URLs; None: they are written as a whole."""
        return self._run if isinstance(self._run.folder, RemoteRunFolder) else None

    def choose_slab_voxels(self, suiting: int) -> int:
        """Return the size of slabs: that of the first process of the run, or one that suits this one, which is it."""
        if not self._slab_voxels:
            found = [record[_SLAB_VOXELS] for record in self._run.folder.records() if _SLAB_VOXELS in record]
            self._slab_voxels = found[0] if found else suiting
            if not found:
                self._run.folder.add({_SLAB_VOXELS: suiting})
        return self._slab_voxels

    def load(self, step: StoredStep, index: int) -> Any:
        """Return the value of a step, by its number among those of its kind and frame; None if it is not done."""
        arrays = self._files.load(f"{step.key}-{index}")
        return None if arrays is None else step.unpack(arrays)

    def save(self, step: StoredStep, index: int, value: Any) -> None:
        """Store the value of a step, which is on disk when this returns. Raises ExportError."""
        self._files.save(f"{step.key}-{index}", step.pack(value))

    def close(self) -> None:
        """Close the folder; may be called twice."""
        self._run.close()

    def remove(self) -> None:
        """Remove the folder: the results are there. Never raises."""
        self._run.remove()


class StoredSteps(StepStore):
    """Steps of a lane as helpers of its workflow: this process computes them.

    computed  number of steps that it has computed
    """

    def __init__(self, found: LaneCheck, records: DoneLanes, job: Job, resources: Resources) -> None:
        """Open the run of a lane. Raises ExportError."""
        super().__init__(found, records)
        self._job, self._resources = job, resources
        self.computed = 0

    def choose_slab_voxels(self, suiting: int) -> int:
        """Return the size of slabs, which every job begins with, whatever suits its machine."""
        return super().choose_slab_voxels(blocks.BLOCK_VOXELS)

    def count(self) -> int:
        """Return 1: this process computes."""
        return 1

    def compute(self, steps: Iterable[StoredStep], on_wait: Callable[[], None]) -> Iterator[tuple[int, Any]]:
        """Yield the values of steps, with the number of each; see ``Helpers``."""
        waiting = list(steps)
        own = list(blocks.select_part(len(waiting), self._job.blocks))
        first, missing = own[0] if own else 0, 0
        others = [i % len(waiting) for i in range(first, first + len(waiting)) if i % len(waiting) not in own]
        for index in [*own, *others]:
            step = waiting[index]
            value = self.load(step, index)
            if value is None:
                if self._job.finish or (step.is_last and index not in own):
                    missing += 1
                    continue
                value = step.compute(self._job.project, self._resources, lambda voxels: on_wait())
                self.save(step, index, value)
                self.computed += 1
            on_wait()
            yield index, value
        if missing and not self._job.finish:
            raise PartEnded
        if missing:
            raise ExportError(
                f"cannot complete {self.found.files[0]}: {missing} of {len(waiting)} steps are missing; start "
                f"those of {setting('blocks')}=I/N again that have not ended, or let {setting('resume')} compute the "
                "rest here"
            )

    def log_part(self) -> None:
        """Log what a part has computed."""
        logger.info("%s: %d steps were computed", self.found.name, self.computed)

"""Computation of a lane in steps that several jobs compute without a connection (``--blocks`` for objects).

The values of steps are files in the folder of the run. Each job begins with its own share; what else it needs, it reads
from there, or computes if no other job has. Of the last steps, which nothing but the result needs, it computes its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import ExportError, setting
from ..jobs import Job
from ..resources import Resources
from ..storage.run_folder import RunFolder
from ..storage.step_files import StepFiles
from ..tiling import blocks
from ..workflows.protocol import PartEnded
from .check import LaneCheck
from .done_lanes import DoneLanes
from .fingerprint import digest

logger = logging.getLogger("pixelforest.batch")


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


class StoredSteps:
    """Steps of a lane as helpers of its workflow, and the folder that keeps their values.

    computed  number of steps that this process has computed
    """

    def __init__(self, found: LaneCheck, records: DoneLanes, job: Job, resources: Resources) -> None:
        """Open the run of a lane. Raises ExportError."""
        parts = records.fingerprint_of(found)
        facts = {"lane": records.key_of(found), "parts": parts}
        self._run = RunFolder(Path(found.files[0]).absolute(), digest(parts), facts)
        self._files = StepFiles(self._run.temporary)
        self._found, self._job, self._resources = found, job, resources
        self.computed = 0

    @property
    def slab_voxels(self) -> int:
        """Size of slabs: on every machine the same."""
        return blocks.BLOCK_VOXELS

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
            key = f"{step.key}-{index}"
            arrays = self._files.load(key)
            if arrays is None:
                if self._job.finish or (step.is_last and index not in own):
                    missing += 1
                    continue
                arrays = step.pack(step.compute(self._job.project, self._resources, lambda voxels: on_wait()))
                self._files.save(key, arrays)
                self.computed += 1
            on_wait()
            yield index, step.unpack(arrays)
        if missing and not self._job.finish:
            raise PartEnded
        if missing:
            raise ExportError(
                f"cannot complete {self._found.files[0]}: {missing} of {len(waiting)} steps are missing; start "
                f"those of {setting('blocks')}=I/N again that have not ended, or let {setting('resume')} compute the "
                "rest here"
            )

    def close(self) -> None:
        """Close the folder; may be called twice."""
        self._run.discard()

    def remove(self) -> None:
        """Remove the folder: the results are there. Never raises."""
        self._run.remove()

    def log_part(self) -> None:
        """Log what a part has computed."""
        logger.info("%s: %d steps were computed", self._found.name, self.computed)

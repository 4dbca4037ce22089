"""How far the work on one frame has come, when several steps go over its voxels one after the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...box import Box


class FrameMeter:
    """Reports the voxels of one frame while its steps go on, each step its share of them.

    What ``on_progress`` raises comes out of the step, so every step passes by it now and then.
    """

    def __init__(self, on_progress: Callable[[int], None], voxels: int) -> None:
        self._on_progress, self._voxels, self._left = on_progress, voxels, voxels

    def counter(self, share: float) -> Callable[[int], None]:
        """Takes the voxels that a step has gone over; what exceeds the step's share is not reported."""
        allowance = int(self._voxels * share)

        def count(voxels: int) -> None:
            nonlocal allowance
            part = min(int(voxels * share), allowance, self._left)
            allowance -= part
            self._left -= part
            self._on_progress(part)

        return count

    def watch(self, read: Callable[[Box], np.ndarray], share: float) -> Callable[[Box], np.ndarray]:
        """The same reading, counted."""
        count = self.counter(share)

        def counted(box: Box) -> np.ndarray:
            values = read(box)
            count(box.size)
            return values

        return counted

    def finish(self) -> None:
        """Report the rest."""
        self._on_progress(self._left)
        self._left = 0

"""Progress within one frame when several steps process its voxels one after the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...box import Box
from .layers import Read


class FrameMeter:
    """Progress meter that reports the voxels of one frame, divided among its steps by their shares.

    Exceptions of ``on_progress`` propagate out of the step, so every step calls it regularly.
    """

    def __init__(self, on_progress: Callable[[int], None], voxels: int) -> None:
        self._on_progress, self._voxels, self._left = on_progress, voxels, voxels

    def counter(self, share: float) -> Callable[[int], None]:
        """Return a function that counts voxels processed by a step; those beyond the step's share are not reported."""
        allowance = int(self._voxels * share)

        def count(voxels: int) -> None:
            nonlocal allowance
            part = min(int(voxels * share), allowance, self._left)
            allowance -= part
            self._left -= part
            self._on_progress(part)

        return count

    def watch(self, read: Read, share: float) -> Read:
        """Wrap a reader so that its voxels are counted."""
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

"""Parallel work on a frame: slab after slab in scan order, or all objects in ranges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from ...box import Box
from ...frozen import frozen
from ...kernels.contract import MeasurePlan, ObjectBackend, Voxels
from ..resources import Resources
from ..tiling.layers import Read
from .label import LabelFrame

Range = tuple[int, int]

_RANGES_PER_THREAD = 8
_MIN_RANGE = 32  # objects; smaller ranges are not worth a call


@frozen
class FrameSweep:
    """A frame with the threads and the operations that process it.

    pool                 None: the calling thread processes everything
    origin, value_range  of a part that is measured as if it were the frame: its position in the frame (z, y, x), and
                         the range of the values of all objects
    """

    raw: Read
    labels: LabelFrame
    channels: int
    dimensions: int
    resources: Resources
    pool: ThreadPoolExecutor | None
    slabs: Sequence[Box]
    origin: Voxels = (0, 0, 0)
    value_range: tuple[float, float] | None = None

    @property
    def threads(self) -> int:
        """Number of threads of the pool."""
        return self.resources.threads

    @property
    def operations(self) -> ObjectBackend:
        """The backend's operations on objects."""
        return self.resources.backend.objects

    @property
    def ids(self) -> np.ndarray:
        """Labels (z, y, x) as a plain array, memory-mapped or not."""
        return np.asarray(self.labels.labels)

    def start_measuring(self, groups: frozenset[str], *, own_range: bool = False) -> Any:
        """Create empty tables for these groups, which are closed under dependencies (see ``quantities``)."""
        plan = MeasurePlan(
            self.labels.count, self.ids.size, self.dimensions, self.channels, groups, own_range=own_range,
            value_range=None if own_range else self.value_range,
        )  # fmt: skip
        return self.operations.start_measuring(plan)

    def sweep(self, steps: Callable[[Box, np.ndarray], Iterable[Callable[[], None]]], *, with_raw: bool) -> None:
        """Run the steps of each slab in parallel; the next slab is read at the same time, but processed after them."""
        pending: Sequence[Future[None]] = []
        try:
            for slab in self.slabs:
                if with_raw:
                    pixels = np.ascontiguousarray(self.raw(slab), np.float32)
                else:
                    pixels = np.empty((*slab.shape, 0), np.float32)
                _wait(pending)
                pending = self._run(steps(slab, pixels))
            _wait(pending)
        except BaseException:
            for future in pending:
                future.cancel()
            raise

    def each_range(self, work: Callable[[int, int], None], costs: np.ndarray | None = None) -> None:
        """Call ``work(first, stop)`` for ranges of objects of about equal cost, in parallel."""
        _wait(self._run(partial(work, first, stop) for first, stop in self.ranges(costs)))

    def _run(self, steps: Iterable[Callable[[], None]]) -> list[Future[None]]:
        """Begin steps in parallel; those in the calling thread are done afterwards."""
        if self.pool is not None:
            return [self.pool.submit(step) for step in steps]
        for step in steps:
            step()
        return []

    def shares(self, objects: np.ndarray) -> list[np.ndarray]:
        """Divide objects into parts for parallel work."""
        return np.array_split(objects, self._pieces(len(objects)))

    def _pieces(self, count: int) -> int:
        """Number of pieces of work with so many objects."""
        return max(1, min(self.threads * _RANGES_PER_THREAD, count // _MIN_RANGE))

    def ranges(self, costs: np.ndarray | None = None) -> Iterator[Range]:
        """Divide all objects into ranges of about equal cost."""
        count = self.labels.count
        pieces = self._pieces(count)
        if pieces == 1:
            yield 0, count
            return
        total = np.arange(1, count + 1) if costs is None else np.cumsum(costs)
        targets = total[-1] * (np.arange(1, pieces) / pieces)
        cuts = np.unique(np.concatenate([[0], np.searchsorted(total, targets) + 1, [count]]))
        cuts = cuts[cuts <= count]
        yield from zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)


def _wait(pending: Iterable[Future[None]]) -> None:
    for future in pending:
        future.result()

"""Backend, threads and memory of a piece of work."""

from __future__ import annotations

from dataclasses import replace

from ..frozen import frozen
from ..kernels.contract import Backend


@frozen
class Resources:
    """Backend, threads and memory that a piece of work may use.

    threads       number of threads of this process, at least 1
    memory_bytes  budget for everything that the work holds at the same time
    """

    backend: Backend
    threads: int
    memory_bytes: int

    def share(self, count: int) -> Resources:
        """One of ``count`` equal parts for work that is done in parallel: one thread and its part of the memory."""
        return replace(self, threads=1, memory_bytes=self.memory_bytes // count)

    def minus(self, held_bytes: int) -> Resources:
        """Subtract memory that something else holds at the same time."""
        return replace(self, memory_bytes=self.memory_bytes - held_bytes)

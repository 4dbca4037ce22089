"""How many threads may pack and unpack what a file holds, where a library brings its own: as many as the run has."""

from __future__ import annotations

_limit: int | None = None


def limit_threads(count: int) -> None:
    """Say how many threads there are, for everything that is opened from now on in this process."""
    global _limit
    _limit = max(1, count)


def most_threads() -> int | None:
    """What was said last; None: nothing, the library decides."""
    return _limit

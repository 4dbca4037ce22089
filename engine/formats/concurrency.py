"""How many threads a library that brings its own may pack and unpack chunks with: as many as the run was given."""

from __future__ import annotations

_limit: int | None = None


def limit_threads(count: int) -> None:
    """Say how many threads there are, for everything that is opened from now on in this process."""
    global _limit
    _limit = max(1, count)


def most_threads() -> int | None:
    """What was said last; None: nothing, the library decides."""
    return _limit

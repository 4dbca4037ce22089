"""Limit of the threads that libraries use to compress and decompress files: those of the run."""

from __future__ import annotations

_limit: int | None = None


def limit_threads(count: int) -> None:
    """Set the number of threads for all files that this process opens from now on."""
    global _limit
    _limit = max(1, count)


def most_threads() -> int | None:
    """Return the current thread limit; None means the library's default."""
    return _limit

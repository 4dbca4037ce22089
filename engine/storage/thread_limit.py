"""Number of threads that libraries with threads of their own may use to compress and decompress files."""

from __future__ import annotations

_limit: int | None = None


def set_thread_limit(count: int) -> None:
    """Limit the threads of everything that is opened from now on in this process."""
    global _limit
    _limit = max(1, count)


def thread_limit() -> int | None:
    """Current limit; None means the library's default."""
    return _limit

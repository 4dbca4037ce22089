"""Mark of tests that are small enough for a simulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def small(test: Callable[..., Any]) -> Callable[..., Any]:
    """Set ``is_small`` on a test whose arrays are so small that a simulator of a device can run it, too."""
    test.is_small = True  # type: ignore[attr-defined]
    return test

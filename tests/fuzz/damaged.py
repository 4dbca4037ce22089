"""Damaged cases by name, one and more for each kind of failure that was ever reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.cases import Case
from tests.fuzz.forks import Ending


@dataclass(frozen=True)
class Damaged:
    """A named case.

    judge  (explained, done, folder) -> what is wrong, beyond what must hold of every command
    """

    make: Callable[[], Case]
    judge: Callable[[Ending, Ending, Path], list[str]] = lambda explained, done, folder: []


DAMAGED: dict[str, Damaged] = {}

"""How an operation is computed: arrays in, arrays out; no file, no project, no axis name.

A backend is a folder with a module ``backend``; listing the folders is all the registration there is.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from .contract import Backend


def available() -> tuple[str, ...]:
    """Names of the backends in this package, whether or not their device is here."""
    return tuple(sorted(p.parent.name for p in Path(__file__).parent.glob("*/backend.py")))


def load(name: str, **options: Any) -> Backend:
    """Open a backend with its own options. Raises KernelError, or ImportError if a library of it is missing."""
    backend: Backend = import_module(f".{name}.backend", __package__).open_backend(**options)
    return backend

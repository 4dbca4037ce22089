"""How an operation is computed: arrays in, arrays out; no file, no project, no axis name.

A backend is a folder with a module ``backend``; listing the folders is all the registration there is. The folder itself
may have a function ``check_presence``, which says without loading the backend that there is no device for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from .contract import Backend, KernelError


def available() -> tuple[str, ...]:
    """Names of the backends in this package, whether or not their device is here."""
    return tuple(sorted(p.parent.name for p in Path(__file__).parent.glob("*/backend.py")))


def load(name: str, **options: Any) -> Backend:
    """Open a backend with its own options. Raises KernelError, or ImportError if a library of it is missing."""
    check_presence = getattr(import_module(f".{name}", __package__), "check_presence", None)
    if check_presence is not None:
        check_presence()
    backend: Backend = import_module(f".{name}.backend", __package__).open_backend(**options)
    return backend


def warm(name: str, **options: Any) -> int:
    """Compile the kernels of a backend and keep them, for images and clusters; how many parts they have.

    options  its own: of cuda ``architectures``, for devices that are not here
    Raises KernelError where they cannot be compiled, or the backend compiles nothing ahead of use.
    """
    compile_all = getattr(import_module(f".{name}.backend", __package__), "warm", None)
    if compile_all is None:
        raise KernelError(f"the kernels of {name} cannot be compiled ahead of use")
    count: int = compile_all(**options)
    return count


def survey(name: str) -> Sequence[tuple[str, str]]:
    """What a backend finds on this machine, as lines of a name and a text. Raises nothing for what is missing."""
    found: Sequence[tuple[str, str]] = import_module(f".{name}.survey", __package__).survey()
    return found

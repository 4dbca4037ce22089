"""Computation of operations: arrays in, arrays out; no file, no project, no axis name.

A backend is a folder with a module ``backend`` whose ``open_backend`` composes it; it is registered by listing the
folders. The folder may have a module ``survey``, and in its package a function ``check_presence``, which raises without
loading the backend if there is no device for it. A plug-in is such a package elsewhere: ``package`` is its full name.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .contract import Backend, KernelError

if TYPE_CHECKING:
    from .contract.training import ForestTrainer


def available() -> tuple[str, ...]:
    """List the names of the backends in this package, whether or not their devices exist on this machine."""
    return tuple(sorted(p.parent.name for p in Path(__file__).parent.glob("*/backend.py")))


def load(name: str, *, package: str | None = None, **options: Any) -> Backend:
    """Open a backend with its own options. Raises KernelError, or ImportError if one of its libraries is missing."""
    package = package or f"{__package__}.{name}"
    check_presence = getattr(import_module(package), "check_presence", None)
    if check_presence is not None:
        check_presence()
    backend: Backend = import_module(f"{package}.backend").open_backend(**options)
    return backend


def load_trainer() -> ForestTrainer:
    """Open the trainer of forests, which runs on the CPU whatever backend predicts."""
    trainer: ForestTrainer = import_module(".cpu.trainer", __package__).CpuTrainer()
    return trainer


def warm(name: str, **options: Any) -> int:
    """Compile and cache the kernels of a backend, for container images and clusters. Returns the number of their parts.

    options  of the backend: for cuda ``architectures``, to compile for devices that are not in this machine
    Raises KernelError if they cannot be compiled, or the backend compiles nothing ahead of use.
    """
    compile_all = getattr(import_module(f".{name}.backend", __package__), "warm", None)
    if compile_all is None:
        raise KernelError(f"the kernels of {name} cannot be compiled ahead of use")
    count: int = compile_all(**options)
    return count


def survey(name: str, *, package: str | None = None) -> Sequence[tuple[str, str]]:
    """Describe the devices and libraries of a backend on this machine, as (name, text) pairs.

    Raises ImportError only for a plug-in.
    """
    found: Sequence[tuple[str, str]] = import_module(f"{package or f'{__package__}.{name}'}.survey").survey()
    return found

"""Building of the shared library of kernels from their sources."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from ..signatures import ENTRIES, all_units
from .digest import NUMBA_VERSION, digest_unit, is_current, mark
from .inspection import inspect
from .linker import link
from .targets import Target

_OBJECTS = Path(__file__).parents[3] / "build" / "kernel-objects"
# Beside the entries: what tells whether the processor will do, and the mark of the sources.
_OTHER_NAMES = ("has_vectors", "sources")


def exported_names() -> list[str]:
    """Names that a library has for its users."""
    return [*(f"call.{name}" for name in ENTRIES), *_OTHER_NAMES]


def build_if_needed(folder: Path, target: Target) -> str:
    """Build the library of a target in a folder unless it was built from the present sources.

    Returns the platform part of the tag of a wheel that contains it.
    """
    library = folder / target.library
    with _locked(library):
        if not is_current(library):
            build(library, target)
        return inspect(library.read_bytes(), exported_names())


def build(library: Path, target: Target) -> None:
    """Compile all units in parallel, link them, and replace the library at once.

    Object files of unchanged units are used again.
    """
    if version("numba") != NUMBA_VERSION:
        raise RuntimeError(f"kernels are compiled with numba {NUMBA_VERSION}, not {version('numba')}")
    from . import compiler
    from .processor_check import processor_check

    compiler.prepare()
    present = mark()
    objects = _OBJECTS / target.name
    objects.mkdir(parents=True, exist_ok=True)
    files = {unit: objects / f"{unit}-{digest_unit(unit, target)}.o" for unit in all_units()}
    work = [(unit, target, file) for unit, file in files.items() if not file.exists()]
    # Forked processes have imported numba. Each compiles one unit, since numba keeps what it has compiled.
    start = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    with multiprocessing.get_context(start).Pool(os.cpu_count(), maxtasksperchild=1) as pool:
        pool.starmap(_compile, work, chunksize=1)
    if mark() != present:
        raise RuntimeError("sources of kernels changed while they were compiled: build again")
    for _, _, file in work:
        _partial(file).replace(file)
    with tempfile.TemporaryDirectory(dir=library.parent, prefix=".kernels-") as name:
        check, linked = Path(name) / "check.o", Path(name) / library.name
        check.write_bytes(compiler.compile_text(processor_check(target.triple, present), target))
        link([check, *files.values()], linked, target, exported_names())
        linked.replace(library)
    for file in set(objects.glob("*.o")) - set(files.values()):
        file.unlink()


def _compile(unit: str, target: Target, file: Path) -> None:
    from . import compiler

    compiler.prepare()
    _partial(file).write_bytes(compiler.compile_unit(unit, target))


def _partial(file: Path) -> Path:
    return file.with_suffix(".part")


@contextmanager
def _locked(library: Path) -> Iterator[None]:
    """Keep other processes from building the same library; without file locks each builds its own."""
    if find_spec("fcntl") is None:
        yield
        return
    import fcntl

    with library.with_suffix(".lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

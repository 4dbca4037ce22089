"""Kernel files: from the .cu beside this module to a loaded kernel, compiled once a machine.

Binaries are kept where shared/cache.py keeps those of all backends; that they cannot be kept is no error. Compilation
takes longer than anything else at the start of a run, so it is begun as soon as it is known what is needed, for all
kernels side by side; who needs a kernel waits for that one alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol, TypeVar
from weakref import WeakKeyDictionary

from ..contract import DeviceFailed
from ..shared import cache
from .device import Device, Kernel, Module

FOLDER = Path(__file__).parent

OPTIONS = ("--std=c++17", "--fmad=false", "--prec-div=true", "--prec-sqrt=true", "--ftz=false")
"""Options of every compilation: nothing is contracted, divisions and roots are correctly rounded."""

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([\w.]+)"[ \t]*$', re.MULTILINE)

Key = TypeVar("Key", bound=Hashable)
Made = TypeVar("Made")


class Target(Protocol):
    """What is compiled for: a device, or its kind alone."""

    @property
    def architecture(self) -> str: ...

    @property
    def compiler(self) -> str: ...

    def compile(self, source: str, name: str, options: tuple[str, ...]) -> bytes:
        """See ``Device.compile``."""
        ...


@dataclass(frozen=True)
class KernelFile:
    """A .cu file of this folder, named without the folder."""

    name: str

    def kernel(self, device: Device, kernel: str, defines: tuple[str, ...] = ()) -> Kernel:
        """A kernel of this file, compiled with ``defines`` such as "RADIUS=3". Raises DeviceFailed."""
        return self.module(device, defines).kernel(kernel)

    def module(self, device: Device, defines: tuple[str, ...] = ()) -> Module:
        """This file on the device: compiled, or from the cache. Raises DeviceFailed."""
        with _lock:
            modules = _loaded.setdefault(device, {})
        return _once(modules, (self, defines), lambda: _build(device, self, defines))


Compilation = tuple[KernelFile, tuple[str, ...]]
"""A file and what it is compiled with."""

_loaded: WeakKeyDictionary[Device, dict[Compilation, Future[Module]]] = WeakKeyDictionary()
_compiling: dict[str, Future[bytes]] = {}
_lock = threading.Lock()


def begin(device: Device, wanted: Sequence[Compilation]) -> list[Future[Module]]:
    """Begin to compile and load several files side by side; does not wait. An error comes again where one is used."""
    with _lock:
        modules = _loaded.setdefault(device, {})
        missing = [each for each in dict.fromkeys(wanted) if each not in modules]
    if not missing:
        return []
    pool = _new_pool(len(missing))
    begun = [pool.submit(file.module, device, defines) for file, defines in missing]
    pool.shutdown(wait=False)
    return begun


def prepare(device: Device, wanted: Sequence[Compilation]) -> None:
    """Compile and load several files with their defines side by side. Raises DeviceFailed."""
    for job in begin(device, wanted):
        job.result()


@lru_cache
def read_source(name: str) -> str:
    """The text of a .cu or .cuh of this folder, with its ``#include "…"`` lines replaced by those files' text.

    A file that is included twice is taken once.
    """
    taken: set[str] = set()

    def read(file: str) -> str:
        taken.add(file)
        text = (FOLDER / file).read_text(encoding="utf-8")
        return f'#line 1 "{file}"\n' + _INCLUDE.sub(lambda match: include(match, file, text), text)

    def include(match: re.Match[str], inside: str, text: str) -> str:
        if match[1] in taken:
            return ""
        next_line = text.count("\n", 0, match.start()) + 2
        return f'{read(match[1])}\n#line {next_line} "{inside}"'

    return read(name)


def compile_options(defines: tuple[str, ...]) -> tuple[str, ...]:
    """What the compiler is told beside the architecture."""
    return (*OPTIONS, *(f"--define-macro={define}" for define in defines))


def compile_files(target: Target, wanted: Sequence[Compilation]) -> int:
    """Compile several files side by side and keep them, without loading them; how many were not in the cache.

    Raises DeviceFailed, also where nothing can be kept.
    """
    missing = [each for each in dict.fromkeys(wanted) if cache.read(_kept_name(target, *each)) is None]
    with _new_pool(len(missing)) as pool:
        list(pool.map(lambda each: _binary(target, *each), missing))
    if any(cache.read(_kept_name(target, *each)) is None for each in missing):
        raise DeviceFailed("no folder for compiled kernels can be written; set PIXELFOREST_CACHE_DIR to one")
    return len(missing)


def _new_pool(most: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=max(1, min(most, os.cpu_count() or 1)), thread_name_prefix="compiler")


def _build(device: Device, file: KernelFile, defines: tuple[str, ...]) -> Module:
    cached = cache.read(_kept_name(device, file, defines))
    if cached is not None:
        with contextlib.suppress(DeviceFailed):  # a binary the driver does not take is made anew
            return device.load(cached)
    return device.load(_binary(device, file, defines))


def _binary(target: Target, file: KernelFile, defines: tuple[str, ...]) -> bytes:
    """Compile a file and keep it. Who asks for one that is being compiled, for another device, waits for it."""
    name = _kept_name(target, file, defines)

    def make() -> bytes:
        binary = target.compile(read_source(file.name), file.name, compile_options(defines))
        cache.write(name, binary)
        return binary

    return _once(_compiling, name, make, keep=False)


def _once(made: dict[Key, Future[Made]], key: Key, make: Callable[[], Made], *, keep: bool = True) -> Made:
    """What ``make`` gives; several threads that ask at the same time get it from the first one.

    keep  also those who ask later; an error is never kept
    """
    with _lock:
        future = made.get(key)
        is_mine = future is None
        if future is None:
            future = made[key] = Future()
    if is_mine:
        is_done = False
        try:
            future.set_result(make())
            is_done = True
        except BaseException as error:
            future.set_exception(error)
        finally:
            if not (keep and is_done):
                with _lock:
                    del made[key]
    return future.result()


def _kept_name(target: Target, file: KernelFile, defines: tuple[str, ...]) -> str:
    """Where the cache has a binary: it follows from everything that it is made of."""
    parts = (read_source(file.name), *compile_options(defines), target.architecture, target.compiler)
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    return f"cuda-{_all_sources()}/{target.architecture}/{Path(file.name).stem}-{key}"


@lru_cache(maxsize=1)
def _all_sources() -> str:
    """A name for all files of this folder that are compiled."""
    digest = hashlib.sha256()
    for path in sorted(FOLDER.glob("*.cu*")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]

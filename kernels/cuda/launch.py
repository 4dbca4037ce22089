"""Kernel files: from the .cu files of this folder to loaded kernels, compiled once per machine.

Binaries are cached by shared/cache.py, as those of all backends; a cache that cannot be written is no error.
Compilation dominates the start of a run, so it begins as soon as the kernels are known, for all of them in parallel; a
caller that needs a kernel waits for that one alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Protocol, TypeVar
from weakref import WeakKeyDictionary

from ...frozen import frozen
from ..contract import DeviceFailed
from ..shared import cache
from .device import Device, Kernel, Module

FOLDER = Path(__file__).parent

OPTIONS = ("--std=c++17", "--fmad=false", "--prec-div=true", "--prec-sqrt=true", "--ftz=false")
"""Options of every compilation: no contraction, correctly rounded divisions and roots."""

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([\w.]+)"[ \t]*$', re.MULTILINE)
TYPE_NAMES = {
    "bool": "unsigned char",
    "uint8": "unsigned char",
    "uint16": "unsigned short",
    "uint32": "unsigned int",
    "uint64": "unsigned long long",
    "int8": "signed char",
    "int16": "short",
    "int32": "int",
    "int64": "long long",
    "float32": "float",
    "float64": "double",
}
"""Types that kernels take, with their CUDA names."""

Key = TypeVar("Key", bound=Hashable)
Made = TypeVar("Made")


class Target(Protocol):
    """Compilation target: a device, or an architecture alone."""

    @property
    def architecture(self) -> str: ...

    @property
    def compiler(self) -> str: ...

    def compile(self, source: str, name: str, options: tuple[str, ...]) -> bytes:
        """See ``Device.compile``."""
        ...


@frozen
class KernelFile:
    """A .cu file of this folder, by name."""

    name: str

    def kernel(self, device: Device, kernel: str, defines: tuple[str, ...] = ()) -> Kernel:
        """Return a kernel of this file, compiled with ``defines`` such as "RADIUS=3". Raises DeviceFailed."""
        return self.module(device, defines).kernel(kernel)

    def module(self, device: Device, defines: tuple[str, ...] = ()) -> Module:
        """Load this file on the device, compiled or from the cache. Raises DeviceFailed."""
        with _lock:
            modules = _loaded.setdefault(device, {})
        return _once(modules, (self, defines), lambda: _build(device, self, defines))


Compilation = tuple[KernelFile, tuple[str, ...]]
"""A file and its preprocessor definitions."""

_loaded: WeakKeyDictionary[Device, dict[Compilation, Future[Module]]] = WeakKeyDictionary()
_compiling: dict[str, Future[bytes]] = {}
_lock = threading.Lock()


def begin(device: Device, wanted: Sequence[Compilation]) -> list[Future[Module]]:
    """Begin to compile and load several files in parallel. Does not wait; errors are raised again on use."""
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
    """Compile and load several files with their defines in parallel. Raises DeviceFailed."""
    for job in begin(device, wanted):
        job.result()


@lru_cache
def read_source(name: str) -> str:
    """Read a .cu or .cuh file of this folder, with its ``#include "…"`` lines replaced by those files' text.

    A file that is included twice is inserted once.
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
    """Compiler options except the architecture."""
    return (*OPTIONS, *(f"--define-macro={define}" for define in defines))


def compile_files(target: Target, wanted: Sequence[Compilation]) -> int:
    """Compile and cache several files in parallel without loading them. Returns how many were not cached yet.

    Raises DeviceFailed, also if the cache cannot be written.
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
        with contextlib.suppress(DeviceFailed):  # a binary that the driver rejects is compiled again
            return device.load(cached)
    return device.load(_binary(device, file, defines))


def _binary(target: Target, file: KernelFile, defines: tuple[str, ...]) -> bytes:
    """Compile and cache a file. Waits if the same file is already being compiled for another device."""
    name = _kept_name(target, file, defines)

    def make() -> bytes:
        binary = target.compile(read_source(file.name), file.name, compile_options(defines))
        cache.write(name, binary)
        return binary

    return _once(_compiling, name, make, keep=False)


def _once(made: dict[Key, Future[Made]], key: Key, make: Callable[[], Made], *, keep: bool = True) -> Made:
    """Result of ``make``; threads that ask at the same time share one call.

    keep  later callers share it too; an error is never kept
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


def kept_name(target: Target, kind: str, inputs: Sequence[str]) -> str:
    """Name of an entry in the cache, derived from all its inputs, the target, and the source files of this folder."""
    key = hashlib.sha256("\0".join((*inputs, target.architecture, target.compiler)).encode()).hexdigest()[:32]
    return f"cuda-{_all_sources()}/{target.architecture}/{kind}-{key}"


def _kept_name(target: Target, file: KernelFile, defines: tuple[str, ...]) -> str:
    """Name of a binary in the cache."""
    return kept_name(target, Path(file.name).stem, (read_source(file.name), *compile_options(defines)))


@lru_cache(maxsize=1)
def _all_sources() -> str:
    """Digest of all source files of this folder."""
    digest = hashlib.sha256()
    for path in sorted(FOLDER.glob("*.cu*")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]

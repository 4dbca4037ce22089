"""Loader of compiled kernels: units of object code from the cache, called while the GIL is released.

A unit missing from the cache is compiled in a subprocess (``compiler``), so that several are compiled in parallel and
this process never imports numba. If object code cannot be produced or loaded, the same functions are compiled and
called by numba in this process: slower to start, same results.
"""

from __future__ import annotations

import ctypes
import json
import logging
import operator
import os
import struct
import subprocess
import sys
import threading
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from ..contract import KernelError
from ..shared import cache
from .build.cache_key import folder, targets
from .build.signatures import ENTRIES, Entry, Type, all_units, with_needs

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

logger = logging.getLogger("pixelforest.kernels")

MAX_RESULTS = 8
_CALL = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)
_WORD = (1 << 64) - 1
# Garbage collection is disabled, since hundreds of thousands of small objects are made that all stay. scipy is hidden:
# numba imports it if it is installed, which takes longer than numba itself, and no kernel uses it. The interpreter's
# teardown is skipped: it takes a quarter of a second, while the code is waited for.
_COMPILE = """
import gc, importlib, json, os, sys
gc.disable()
sys.path[:] = json.loads(sys.argv[1])
sys.modules["scipy"] = None
importlib.import_module(sys.argv[2]).main(sys.argv[3])
os._exit(0)
"""


class CompilerFailed(Exception):
    """A unit could not be compiled ahead of use; the message says why."""


class Kernel:
    """Kernel that is called like the function of the same name, and compiled or loaded on its first call.

    Arguments must have the types of its entry: arrays are C-contiguous, numbers are converted.
    """

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._call: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> Any:
        if self._call is None:
            self._call = _library.open(self._entry)
        return self._call(*arguments)


class _Library:
    """Units that this process has loaded or is waiting for."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._engine: Any = None
        self._loaded: set[str] = set()
        self._failed: set[str] = set()
        self._compilers: Executor | None = None
        self._compiling: dict[str, Future[bytes]] = {}

    def prepare(self, units: Sequence[str]) -> None:
        """Load units, or begin to compile those that no cache holds. Does not wait for them."""
        with self._lock:
            for unit in with_needs(units):
                if unit in self._loaded or unit in self._failed or unit in self._compiling:
                    continue
                found = (cache.read(_file(unit, target)) for target in targets())
                code = next((each for each in found if each is not None), None)
                if code is None:
                    self._compiling[unit] = self._compile(unit)
                else:
                    self._load(unit, code)

    def open(self, entry: Entry) -> Callable[..., Any]:
        """Return the function that calls an entry."""
        with self._lock:
            self.prepare([entry.unit])
            units = with_needs([entry.unit])
            for unit in units:
                if unit in self._compiling:
                    self._finish(unit)
            if self._failed.intersection(units):
                return _function_of_numba(entry)
            self._engine.finalize_object()
            address = self._engine.get_function_address(f"call.{entry.name}")
        return _caller(entry, _CALL(address))

    def _compile(self, unit: str) -> Future[bytes]:
        if self._compilers is None:
            from concurrent.futures import ThreadPoolExecutor

            logger.info("Compiling kernels, once")
            self._compilers = ThreadPoolExecutor(os.cpu_count() or 1)
        return self._compilers.submit(_compile_and_keep, unit, targets()[0])

    def finish(self, unit: str) -> bool:
        """Wait for a prepared unit. Returns True if it could be loaded."""
        with self._lock:
            if unit in self._compiling:
                self._finish(unit)
            return unit in self._loaded

    def _finish(self, unit: str) -> None:
        try:
            self._load(unit, self._compiling[unit].result())
        except CompilerFailed as problem:
            logger.warning("Kernels of %s are compiled as they are used, which takes longer: %s", unit, problem)
            self._failed.add(unit)
        finally:  # a unit whose compiler was stopped is compiled again on the next request
            del self._compiling[unit]

    def _load(self, unit: str, code: bytes) -> None:
        if self._engine is None:
            self._engine = new_engine()
        add_object(self._engine, code)
        self._loaded.add(unit)


def _compile_and_keep(unit: str, target: tuple[str, str]) -> bytes:
    """Compile a unit for a processor in a subprocess and cache its object code. Raises CompilerFailed."""
    if not sys.executable or getattr(sys, "frozen", False):
        raise CompilerFailed("this program has no Python of its own to compile with")
    command = [sys.executable, "-c", _COMPILE, json.dumps(sys.path), f"{__package__}.build.compiler", unit]
    environment = {**os.environ, "NUMBA_CPU_NAME": target[0], "NUMBA_CPU_FEATURES": target[1]}
    hidden = getattr(subprocess, "CREATE_NO_WINDOW", 0)
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
            creationflags=hidden,
        )  # fmt: skip
    except OSError as problem:
        raise CompilerFailed(str(problem)) from None
    code, errors = _compilers.wait_for(process)
    if process.returncode != 0 or not code:
        complaints = errors.decode(errors="replace").strip().splitlines()
        logger.debug("The compiler of %s said:\n%s", unit, "\n".join(complaints))
        raise CompilerFailed(complaints[-1] if complaints else f"the compiler ended with status {process.returncode}")
    if cache.write(_file(unit, target), code) is None:
        logger.warning("Compiled kernels cannot be kept: set PIXELFOREST_CACHE_DIR to a folder of yours")
    return code


class _Compilers:
    """Running compilers, recorded so that none outlives this process."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_stopped = False

    def wait_for(self, process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
        """Wait for a compiler. Returns its standard output and error. Raises KernelError if it was stopped."""
        with process:
            self._running.add(process)
            try:
                if self._is_stopped:
                    process.kill()
                found = process.communicate()
            finally:
                self._running.discard(process)
        if self._is_stopped:
            raise KernelError("the program is ending")
        return found

    def allow(self) -> None:
        self._is_stopped = False

    def stop(self) -> None:
        self._is_stopped = True
        for process in list(self._running):
            with suppress(OSError):
                process.kill()


_compilers = _Compilers()


def stop_compilers() -> None:
    """Stop all compilers, running or queued, until ``allow_compilers`` is called."""
    _compilers.stop()


def allow_compilers() -> None:
    """Undo ``stop_compilers``: after an interrupted run, the process may begin another one."""
    _compilers.allow()


def new_engine() -> Any:
    """Create the engine that object code is loaded into."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine(jit=True)
    return binding.create_mcjit_compiler(binding.parse_assembly(""), machine, use_lmm=True)


def add_object(engine: Any, code: bytes) -> None:
    """Load object code; its functions can be looked up after ``engine.finalize_object()``."""
    from llvmlite import binding

    engine.add_object_file(binding.ObjectFileRef.from_data(code))


@lru_cache(1000)
def kernel(name: str, value: np.dtype[Any] | None = None) -> Kernel:
    """Return the kernel of an entry's name, for one of its types."""
    return Kernel(ENTRIES[name if value is None else f"{name}.{value.str[1:]}"])


def prepare(*units: str) -> None:
    """Load units, or begin to compile those that no cache holds, in parallel in the background."""
    _library.prepare(units)


def warm() -> int:
    """Compile and cache every unit that no cache holds yet. Returns the number of units. Raises KernelError.

    They are compiled for as many processors as possible, since container images and shared folders are used on others.
    """
    target = targets()[-1]
    missing = [unit for unit in all_units() if cache.read(_file(unit, target)) is None]
    try:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            list(pool.map(lambda unit: _compile_and_keep(unit, target), missing))
    except CompilerFailed as problem:
        raise KernelError(f"kernels cannot be compiled ahead of use: {problem}") from None
    if any(cache.read(_file(unit, target)) is None for unit in missing):
        raise KernelError("no folder for compiled kernels can be written; set PIXELFOREST_CACHE_DIR to one")
    return len(all_units())


def _file(unit: str, target: tuple[str, str]) -> str:
    return f"{folder(target)}/{unit}"


def _function_of_numba(entry: Entry) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(import_module(f".loops.{entry.module}", __package__), entry.function)
    return function


def _caller(entry: Entry, call: Callable[[int], int]) -> Callable[..., Any]:
    """Make the function that copies Python's arguments into slots, and the results out of them."""
    kinds = entry.arguments
    results = () if entry.result is None else entry.result if isinstance(entry.result, tuple) else (entry.result,)

    def invoke(*arguments: Any) -> Any:
        words: list[int] = []
        _flatten(kinds, arguments, words)
        words.extend([0] * (MAX_RESULTS - len(words)))
        words.append(0)
        slots = array("q", words)
        status = call(slots.buffer_info()[0])
        if status != 0:
            raise _error(entry, status, slots[-1])
        if entry.result is None:
            return None
        values = tuple(_result(kind, word) for kind, word in zip(results, slots, strict=False))
        return values if isinstance(entry.result, tuple) else values[0]

    return invoke


def _flatten(kinds: Sequence[Type], values: Sequence[Any], words: list[int]) -> None:
    """Append values as signed words in numba's calling convention."""
    for kind, value in zip(kinds, values, strict=True):
        if isinstance(kind, tuple):
            _flatten(kind, value, words)
        elif kind[-1] == "]":
            dtype, dimensions = _array_kind(kind)
            flags = value.flags
            if value.dtype != dtype or value.ndim != dimensions or not (flags.c_contiguous and flags.aligned):
                raise TypeError(f"a kernel takes {kind} in C order, not {value.dtype} {value.shape}, {value.strides}")
            words += (0, 0, value.size, value.itemsize, value.__array_interface__["data"][0])
            words += value.shape
            words += value.strides
        elif kind[0] == "f":
            bits = struct.pack("<f" if kind == "f4" else "<d", value).ljust(8, b"\0")
            words.append(int.from_bytes(bits, "little", signed=True))
        elif kind == "b1":
            words.append(bool(value))
        else:
            word = operator.index(value) & _WORD
            words.append(word - (1 << 64) if word >> 63 else word)


@lru_cache
def _array_kind(kind: str) -> tuple[np.dtype[Any], int]:
    dtype, dimensions = kind[:-1].split("[")
    return np.dtype(dtype), int(dimensions)


def _result(kind: Type, word: int) -> Any:
    return bool(word) if kind == "b1" else word


def _error(entry: Entry, status: int, description: int) -> Exception:
    """Exception for a status other than 0; the description begins with address and size of a pickled exception."""
    if description:
        address = ctypes.c_void_p.from_address(description).value
        size = ctypes.c_int32.from_address(description + 8).value
        if address and b"MemoryError" in ctypes.string_at(address, size):
            return MemoryError(f"not enough memory in kernel {entry.name}")
    return KernelError(f"kernel {entry.name} failed with status {status}")


_library = _Library()

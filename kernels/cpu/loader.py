"""Loader of the CPU kernels: functions of a shared library, called while the GIL is released.

The library is compiled when the package is built (``build``), for a class of processors. A checkout has the sources of
the kernels, too: if they are not those of its library, the library is built again first, or nothing runs.
"""

from __future__ import annotations

import ctypes
import logging
import operator
import struct
import sys
from array import array
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..contract import DeviceUnavailable, KernelError
from .signatures import ENTRIES, MAX_RESULTS, Entry, Type

logger = logging.getLogger("pixelforest.kernels")

_FOLDER = Path(__file__).parent
LIBRARY = _FOLDER / ("kernels" + {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so"))
_WORD = (1 << 64) - 1


class Kernel:
    """Kernel that is called like the function of the same name, and looked up in the library on its first call.

    Arguments must have the types of its entry: arrays are C-contiguous, numbers are converted.
    """

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._call: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> Any:
        if self._call is None:
            self._call = _caller(self._entry, load_library())
        return self._call(*arguments)


@lru_cache(1000)
def kernel(name: str, value: np.dtype[Any] | None = None) -> Kernel:
    """Return the kernel of an entry's name, for one of its types."""
    return Kernel(ENTRIES[name if value is None else f"{name}.{value.str[1:]}"])


@cache
def load_library() -> ctypes.CDLL:
    """Load the library into this process.

    Raises
    ------
    DeviceUnavailable
        This processor cannot execute the kernels, or there is no library of the present sources.
    """
    if (_FOLDER / "loops").is_dir():
        _build_if_needed()
    try:
        library = ctypes.CDLL(str(LIBRARY))
    except OSError as problem:
        raise DeviceUnavailable(f"the library of kernels cannot be loaded: {problem}") from None
    if not library.has_vectors():
        raise DeviceUnavailable("the kernels need a processor with AVX2 and FMA (x86-64-v3), which this one is not")
    return library


def _build_if_needed() -> None:
    """Build the library of a checkout unless it is current. Raises DeviceUnavailable."""
    from .build.digest import is_current

    if is_current(LIBRARY):
        return
    if find_spec("numba") is None:
        raise DeviceUnavailable("the kernels are not compiled from the present sources: run make build in the checkout")
    import subprocess  # 6 ms, and few runs come here

    logger.info("Compiling kernels: their sources have changed")
    done = subprocess.run(
        [sys.executable, _FOLDER / "build", _FOLDER], capture_output=True, text=True, errors="replace", check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode != 0:
        reason = (done.stderr.strip() or f"status {done.returncode}").splitlines()[-1]
        logger.debug("The compiler said:\n%s", done.stderr)
        raise DeviceUnavailable(f"the kernels cannot be compiled from the present sources: {reason}")


def _caller(entry: Entry, library: ctypes.CDLL) -> Callable[..., Any]:
    """Make the function that copies Python's arguments into slots, and the results out of them."""
    call = library[f"call.{entry.name}"]
    call.argtypes = (ctypes.c_void_p,)
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
            words += (0, 0, value.size, value.itemsize, _address_of(value))
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


def _first_field(value: np.ndarray) -> int:
    """Address of an array's data: the first field of its object after the head."""
    return ctypes.c_ssize_t.from_address(id(value) + object.__basicsize__).value


def _choose_address() -> Callable[[np.ndarray], int]:
    """Choose the way to an array's data: the field takes a tenth of the time of ``ctypes`` of an array."""
    probe = np.zeros(1)
    known: int = probe.ctypes.data
    return _first_field if _first_field(probe) == known else lambda value: int(value.ctypes.data)


_address_of = _choose_address()


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

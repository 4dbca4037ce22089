"""Interpreter of PTX (tests/ptx/interpreter): programs, launches, and counts of what they executed."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path

from support.cuda_host.build import _compiler, build_interpreter
from support.cuda_host.nvrtc import WHEELS, library_path

from pixelforest.kernels.contract import DeviceFailed, DeviceUnavailable

CLASSES = (
    "float32", "float64", "integer", "comparison", "move", "conversion", "division", "control", "exchange", "barrier",
    "constant_load", "global_load", "global_store", "global_atomic", "shared_load", "shared_store", "shared_atomic",
)  # fmt: skip
"""Classes of instructions. division: also remainders and square roots; comparison: also selections and predicates."""

_MAX_PARAMETERS = 64
MAX_INSTRUCTIONS = 1 << 36  # of warps in a launch; a kernel that takes more is said not to end
_U32, _U64 = ctypes.c_uint32, ctypes.c_uint64
_BY_CLASS = _U64 * len(CLASSES)


class _Options(ctypes.Structure):
    _fields_ = (("finds_races", _U64), ("seed", _U64), ("max_instructions", _U64))


class _Range(ctypes.Structure):
    _fields_ = (("address", _U64), ("bytes", _U64), ("written", _U64))


class _Counts(ctypes.Structure):
    _fields_ = (
        ("instructions", _BY_CLASS),
        ("lanes", _U64),
        ("divergent_branches", _U64),
        ("barriers", _U64),
        ("requests", _BY_CLASS),
        ("bytes", _BY_CLASS),
        ("transfers", _BY_CLASS),
    )


@dataclass
class Counts:
    """Work of launches. Dictionaries have the classes of ``CLASSES`` as keys.

    instructions        executed by warps
    lanes               active lanes, summed over instructions; of 32 per instruction
    divergent_branches  branches that only some lanes of a group take
    barriers            of blocks, one per block
    requests            loads, stores and atomic operations of warps
    bytes               bytes asked for by the lanes of the requests
    transfers           global memory: 32-byte sectors; shared memory: passes, more than the minimum with bank conflicts
    """

    launches: int = 0
    instructions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CLASSES, 0))
    lanes: int = 0
    divergent_branches: int = 0
    barriers: int = 0
    requests: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CLASSES, 0))
    bytes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CLASSES, 0))
    transfers: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CLASSES, 0))

    @property
    def all_instructions(self) -> int:
        return sum(self.instructions.values())

    def add(self, other: Counts) -> None:
        """Add the work of other launches."""
        for each in fields(self):
            own, new = getattr(self, each.name), getattr(other, each.name)
            if isinstance(own, dict):
                for name in CLASSES:
                    own[name] += new[name]
            else:
                setattr(self, each.name, own + new)


@dataclass(frozen=True)
class KernelFacts:
    """Sizes and offsets of a kernel's parameters, bytes of all of them and of static shared memory."""

    sizes: list[int]
    offsets: list[int]
    parameter_bytes: int
    shared_bytes: int


class Program:
    """A parsed module of PTX. Raises DeviceFailed for instructions that are unknown or not exactly rounded."""

    def __init__(self, text: str) -> None:
        self._library, error = _library(), ctypes.create_string_buffer(2048)
        self._handle = self._library.ptx_load(text.encode(), error, len(error))
        if not self._handle:
            raise DeviceFailed(f"PTX cannot be interpreted: {error.value.decode()}")

    def __del__(self) -> None:
        if self._handle:
            self._library.ptx_unload(self._handle)

    def describe(self, name: str) -> KernelFacts:
        """Facts about a kernel. Raises DeviceFailed if there is none of this name."""
        sizes, offsets, facts = (_U32 * _MAX_PARAMETERS)(), (_U32 * _MAX_PARAMETERS)(), (_U32 * 2)()
        count = self._library.ptx_describe(self._handle, name.encode(), sizes, offsets, _MAX_PARAMETERS, facts)
        if not 0 <= count <= _MAX_PARAMETERS:
            raise DeviceFailed(f"there is no kernel {name!r}")
        return KernelFacts(sizes[:count], offsets[:count], parameter_bytes=facts[1], shared_bytes=facts[0])

    def launch(
        self,
        name: str,
        grid: Sequence[int],
        block: Sequence[int],
        shared_bytes: int,
        parameters: bytes,
        ranges: Sequence[tuple[int, int, int]],
        *,
        seed: int,
        finds_races: bool,
    ) -> Counts:
        """Run a kernel. Raises DeviceFailed with all findings.

        parameters  packed at the offsets of ``KernelFacts``
        ranges      arrays that may be accessed: address, bytes, address of their record of written bytes
        """
        given = (_Range * max(1, len(ranges)))(*(_Range(*each) for each in ranges))
        options, counts = _Options(finds_races, seed, MAX_INSTRUCTIONS), _Counts()
        error = ctypes.create_string_buffer(16384)
        is_well = self._library.ptx_launch(
            self._handle, name.encode(), (_U32 * 3)(*grid), (_U32 * 3)(*block), shared_bytes, parameters, given,
            len(ranges), ctypes.byref(options), ctypes.byref(counts), error, len(error),
        )  # fmt: skip
        if not is_well:
            raise DeviceFailed(error.value.decode(errors="replace"))
        return _read_counts(counts)


def _read_counts(counts: _Counts) -> Counts:
    values = {name: getattr(counts, name) for name, _ in _Counts._fields_}
    arrays = [name for name, value in values.items() if isinstance(value, _BY_CLASS)]
    return Counts(launches=1, **values | {name: dict(zip(CLASSES, values[name], strict=True)) for name in arrays})


@cache
def find_missing(major: int = 13) -> str | None:
    """Reason why PTX cannot be interpreted on this machine, or None."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "PTX is interpreted on Linux on x86-64 only"
    if not {"fma", "avx2"} <= set(Path("/proc/cpuinfo").read_text().split()):
        return "this processor has no fused multiply-add, which the interpreter of PTX uses"
    if not library_path(major):
        return f"{WHEELS[major]} is not installed"
    try:
        _compiler()
    except DeviceUnavailable as error:
        return str(error)
    return None


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(build_interpreter()))
    void, text = ctypes.c_void_p, ctypes.c_char_p
    library.ptx_load.restype, library.ptx_load.argtypes = void, (text, text, _U32)
    library.ptx_unload.restype, library.ptx_unload.argtypes = None, (void,)
    library.ptx_describe.argtypes = (void, text, void, void, _U32, void)
    library.ptx_launch.restype = ctypes.c_bool
    library.ptx_launch.argtypes = (void, text, void, void, _U32, text, void, _U32, void, void, text, _U32)
    return library

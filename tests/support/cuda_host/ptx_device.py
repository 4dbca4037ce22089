"""``Device`` without a GPU that runs the PTX that NVRTC makes of the kernels, in the interpreter of tests/ptx.

It has the memory of ``HostDevice``, and for each byte whether it was written. Findings of the interpreter (accesses
outside arrays, unwritten memory, races, barriers that not all lanes reach) are errors of the launch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from support.cuda_host.host_device import HostArray, HostDevice, check_limits
from support.cuda_host.interpreter import Counts, Program
from support.cuda_host.nvrtc import compile_source, compiler_version

from pixelforest.kernels.contract import DeviceFailed

_MAX_PARAMETER_BYTES = 4096


@dataclass(eq=False)
class PtxDevice(HostDevice):
    """See ``device.Device``.

    architecture  that NVRTC compiles for, such as compute_90
    seed          0: warps and lanes take turns in order; otherwise at random
    finds_races   False is faster
    major         of the CUDA whose NVRTC compiles
    counts        work of all launches so far, by kernel
    """

    architecture: str = "compute_90"
    seed: int = 0
    finds_races: bool = True
    major: int = 13
    counts: dict[str, Counts] = field(default_factory=lambda: defaultdict(Counts))

    def __post_init__(self) -> None:
        super().__post_init__()
        self.compiler = f"NVRTC {compiler_version(self.major)} PTX"

    def empty(self, shape: tuple[int, ...], dtype: Any) -> HostArray:
        array = super().empty(shape, dtype)
        array.allocation.written = np.zeros(array.nbytes, np.uint8)
        return array

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> HostArray:
        return _as_written(super().zeros(shape, dtype))

    def upload(self, array: np.ndarray) -> HostArray:
        return _as_written(super().upload(array))

    def download(self, array: HostArray) -> np.ndarray:
        unwritten = np.flatnonzero(_written(array) == 0)
        if unwritten.size:
            raise DeviceFailed(
                f"{unwritten.size} of {array.nbytes} bytes of {array.shape} {array.dtype} are downloaded unwritten, "
                f"first {unwritten[0]}"
            )
        return super().download(array)

    def compile(self, source: str, name: str, options: tuple[str, ...]) -> bytes:
        self.compiled.append(name)
        return compile_source(source, name, self.architecture, options, major=self.major).ptx.encode()

    def load(self, binary: bytes) -> PtxModule:
        return PtxModule(self, _parse(binary))


@lru_cache(maxsize=32)
def _parse(ptx: bytes) -> Program:
    """Parse PTX once for all devices of a test module."""
    return Program(ptx.decode())


def _written(array: HostArray) -> np.ndarray:
    """One byte per byte of the array: whether it was written."""
    first = array.host.ctypes.data - array.allocation.bytes.ctypes.data if array.nbytes else 0
    return array.allocation.written[first : first + array.nbytes]


def _as_written(array: HostArray) -> HostArray:
    _written(array)[:] = 1
    return array


class PtxModule:
    """See ``device.Module``."""

    def __init__(self, device: PtxDevice, program: Program) -> None:
        self.device, self.program = device, program

    def kernel(self, name: str) -> PtxKernel:
        return PtxKernel(self, name)


class PtxKernel:
    """See ``device.Kernel``; launches wait."""

    def __init__(self, module: PtxModule, name: str) -> None:
        self._module, self._name = module, name
        self._facts = module.program.describe(name)

    def __call__(
        self,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: Sequence[HostArray | np.generic],
        *,
        shared_bytes: int = 0,
    ) -> None:
        device, facts = self._module.device, self._facts
        check_limits(self._name, device, grid, block, shared_bytes)
        if facts.shared_bytes + shared_bytes > max(48 << 10, device.shared_bytes_per_block):
            raise DeviceFailed(f"{self._name}: static and dynamic shared memory exceed that of a block")
        if facts.parameter_bytes > _MAX_PARAMETER_BYTES:
            raise DeviceFailed(f"{self._name} has {facts.parameter_bytes} bytes of parameters")
        counts = self._module.program.launch(
            self._name, grid, block, shared_bytes, self._pack(arguments), _ranges(arguments),
            seed=device.seed, finds_races=device.finds_races,
        )  # fmt: skip
        device.launches.append(self._name)
        device.counts[self._name].add(counts)

    def _pack(self, arguments: Sequence[HostArray | np.generic]) -> bytes:
        """Bytes of the parameters: scalars, and addresses of arrays."""
        facts = self._facts
        if len(arguments) != len(facts.sizes):
            raise DeviceFailed(f"{self._name} takes {len(facts.sizes)} arguments, not {len(arguments)}")
        packed = bytearray(facts.parameter_bytes)
        for i, argument in enumerate(arguments):
            value = np.array(np.uint64(argument.host.ctypes.data) if isinstance(argument, HostArray) else argument)
            if value.nbytes != facts.sizes[i]:
                raise DeviceFailed(f"{self._name}: argument {i} has {value.nbytes} bytes for {facts.sizes[i]}")
            packed[facts.offsets[i] : facts.offsets[i] + value.nbytes] = value.tobytes()
        return bytes(packed)


def _ranges(arguments: Sequence[HostArray | np.generic]) -> list[tuple[int, int, int]]:
    """Address, bytes and address of the record of written bytes of each array; those that overlap are one range."""
    arrays = [each for each in arguments if isinstance(each, HostArray) and each.nbytes]
    ranges: list[tuple[int, int, int]] = []
    for low, size, written in sorted((a.host.ctypes.data, a.nbytes, _written(a).ctypes.data) for a in arrays):
        if ranges and low < ranges[-1][0] + ranges[-1][1]:
            first, before, place = ranges[-1]
            ranges[-1] = (first, max(before, low + size - first), place)
        else:
            ranges.append((low, size, written))
    return ranges

"""``Device`` without a GPU: the same kernels, compiled for the host and run one block after the other.

The stand-in is stricter than a GPU where that is cheap: argument types and addresses are checked, new memory is filled
with NaN, limits of grids, blocks and memory are enforced.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from support.cuda_host.build import SHIM_NUMBER, build_library

from pixelforest.kernels.contract import DeviceFailed, DeviceOutOfMemory
from pixelforest.kernels.cuda.device import Strided

_ALIGNMENT = 256  # bytes, that of CUDA's allocations
_FRESH_BYTE = 0xFF  # floats: NaN
_SCALARS = {
    "bool": "bool",
    "char": "int8",
    "signed char": "int8",
    "unsigned char": "uint8",
    "short": "int16",
    "unsigned short": "uint16",
    "int": "int32",
    "unsigned": "uint32",
    "unsigned int": "uint32",
    "long long": "int64",
    "unsigned long long": "uint64",
    "float": "float32",
    "double": "float64",
}


class _Allocation:
    """Host memory, returned to the device with the last array on it."""

    written: np.ndarray  # whether each byte was written; see ptx_device.py

    def __init__(self, device: HostDevice, nbytes: int) -> None:
        self._device, self.nbytes = device, 0
        device.take(nbytes)
        self.nbytes = nbytes
        raw = np.empty(nbytes + _ALIGNMENT, np.uint8)
        first = -raw.ctypes.data % _ALIGNMENT
        self.bytes = raw[first : first + nbytes]

    def __del__(self) -> None:
        self._device.give(self.nbytes)


class HostArray:
    """See ``device.DeviceArray``; ``host`` is the memory as a NumPy array."""

    def __init__(self, allocation: _Allocation, host: np.ndarray) -> None:
        self.allocation, self.host = allocation, host

    @property
    def shape(self) -> tuple[int, ...]:
        return self.host.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.host.dtype

    @property
    def nbytes(self) -> int:
        return self.host.nbytes

    def view(self, offset: int, shape: tuple[int, ...], dtype: Any = None) -> HostArray:
        kind = np.dtype(dtype or self.dtype)
        first = offset * self.dtype.itemsize
        nbytes = math.prod(shape) * kind.itemsize
        if offset < 0 or first + nbytes > self.nbytes:
            raise ValueError(f"{shape} {kind} from element {offset} do not fit into {self.shape} {self.dtype}")
        if first % kind.itemsize:
            raise ValueError(f"{kind} cannot begin at byte {first}")
        part = self.host.reshape(-1).view(np.uint8)[first : first + nbytes]
        return HostArray(self.allocation, part.view(kind).reshape(shape))


class DeviceImage:
    """Array of another library, such as CuPy, on a stand-in: makes views, and comes to the host by ``get`` alone."""

    def __init__(self, part: np.ndarray, *, device_index: int = 0, root: np.ndarray | None = None) -> None:
        self.part, self.device_index = part, device_index
        self.root = np.ascontiguousarray(part).reshape(-1) if root is None else root
        if root is None:
            self.part = self.root.reshape(part.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.part.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.part.dtype

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (self.part.ctypes.data, False), "version": 3}

    def __array__(self, *arguments: Any, **options: Any) -> Any:
        raise TypeError("implicit conversion to a NumPy array")

    def __getitem__(self, place: Any) -> DeviceImage:
        return self._view(self.part[place])

    def __setitem__(self, place: Any, values: DeviceImage) -> None:
        self.part[place] = values.part

    def transpose(self, *axes: Any) -> DeviceImage:
        return self._view(self.part.transpose(*axes))

    def get(self) -> np.ndarray:
        return self.part.copy()

    def _view(self, part: np.ndarray) -> DeviceImage:
        return DeviceImage(part, device_index=self.device_index, root=self.root)


class _Range(ctypes.Structure):
    _fields_ = (("low", ctypes.c_ulonglong), ("high", ctypes.c_ulonglong))


class _Launch(ctypes.Structure):
    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_ulonglong),
        ("array_count", ctypes.c_uint),
        ("arrays", ctypes.POINTER(_Range)),
    )


class HostKernel:
    """See ``device.Kernel``; launches wait."""

    def __init__(self, module: HostModule, name: str) -> None:
        self._module, self._name = module, name
        try:
            self._launch = getattr(module.library, f"launch_{name}")
            parameters = getattr(module.library, f"parameters_{name}")
        except AttributeError:
            raise DeviceFailed(f"there is no kernel {name!r}") from None
        self._launch.restype = parameters.restype = ctypes.c_char_p
        text = parameters().decode()
        self.parameters: tuple[str, ...] = tuple(text.split("|")) if text else ()

    def __call__(
        self,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: Sequence[HostArray | np.generic],
        *,
        shared_bytes: int = 0,
    ) -> None:
        check_limits(self._name, self._module.device, grid, block, shared_bytes)
        if len(arguments) != len(self.parameters):
            raise DeviceFailed(f"{self._name} takes {len(self.parameters)} arguments, not {len(arguments)}")
        values = [self._value(i, a) for i, a in enumerate(arguments)]
        pointers = (ctypes.c_void_p * len(values))(*(v.ctypes.data for v in values))
        arrays = [a.host for a in arguments if isinstance(a, HostArray)]
        ranges = (_Range * len(arrays))(*((a.ctypes.data, a.ctypes.data + a.nbytes) for a in arrays))
        launch = _Launch((ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block), shared_bytes, len(arrays), ranges)
        with self._module.lock:
            fault = self._launch(ctypes.byref(launch), pointers)
            self._module.device.launches.append(self._name)
        if fault is not None:
            raise DeviceFailed(f"{self._name}: {fault.decode()}")

    def _value(self, index: int, argument: HostArray | np.generic) -> np.ndarray:
        """Array of one element that holds the argument: the scalar, or the address of the array."""
        wanted = self.parameters[index]
        is_pointer = wanted.endswith("*")
        if is_pointer != isinstance(argument, HostArray) or not (is_pointer or isinstance(argument, np.generic)):
            raise DeviceFailed(f"{self._name}: argument {index} is {type(argument).__name__} for {wanted}")
        pointed = wanted.removesuffix("*").replace("const", "").strip() if is_pointer else wanted.replace("const ", "")
        kind = _SCALARS.get(pointed.strip())
        if kind is None and not is_pointer:
            raise DeviceFailed(
                f"{self._name}: argument {index} is a {wanted}; scalars have sizes that are the same everywhere"
            )
        given = "uint8" if argument.dtype == np.bool_ else argument.dtype.name
        if kind is not None and given != ("uint8" if kind == "bool" else kind):
            raise DeviceFailed(f"{self._name}: argument {index} is {argument.dtype} for {wanted}")
        if isinstance(argument, HostArray):
            return np.array([argument.host.ctypes.data], np.uint64)
        return np.array([argument])


def check_limits(
    name: str, device: HostDevice, grid: tuple[int, int, int], block: tuple[int, int, int], shared_bytes: int
) -> None:
    """Raise DeviceFailed if no device can start a kernel like this, or this one has too little shared memory."""

    def fits(sizes: tuple[int, int, int], limits: tuple[int, int, int]) -> bool:
        return all(1 <= n <= limit for n, limit in zip(sizes, limits, strict=True))

    if not fits(block, (1024, 1024, 64)) or math.prod(block) > 1024:
        raise DeviceFailed(f"{name} cannot be started with blocks of {block} threads")
    if not fits(grid, (2**31 - 1, 65535, 65535)):
        raise DeviceFailed(f"{name} cannot be started with a grid of {grid} blocks")
    available = device.shared_bytes_per_block
    if not 0 <= shared_bytes <= available:
        raise DeviceFailed(f"{name} asks for {shared_bytes} bytes of shared memory; a block has {available}")


class HostModule:
    """See ``device.Module``."""

    def __init__(self, device: HostDevice, library: ctypes.CDLL) -> None:
        self.device, self.library = device, library
        self.lock = threading.Lock()  # shared memory and thread numbers are the library's globals

    def kernel(self, name: str) -> HostKernel:
        return HostKernel(self, name)


@dataclass
class HostTimer:
    milliseconds: float = math.nan


@dataclass(eq=False)
class HostDevice:
    """See ``device.Device``.

    launches  names of all kernels launched so far; compiled: names of all files
    optimise  False for kernels with little work: compilation is faster, the code slower
    """

    total_bytes: int = 1 << 34
    index: int = 0
    name: str = "host stand-in"
    architecture: str = "host"
    compiler: str = f"g++ {SHIM_NUMBER}"
    multiprocessors: int = 2
    threads_per_multiprocessor: int = 2048
    shared_bytes_per_block: int = 99 << 10
    launches: list[str] = field(default_factory=list)
    compiled: list[str] = field(default_factory=list)
    optimise: bool = True

    def __post_init__(self) -> None:
        if not self.optimise:
            self.compiler += " -O0"
        self._lock = threading.Lock()
        self._used = 0

    def take(self, nbytes: int) -> None:
        with self._lock:
            if self._used + nbytes > self.total_bytes:
                free = self.total_bytes - self._used
                raise DeviceOutOfMemory(f"{self.name} has {free} bytes left, not {nbytes}")
            self._used += nbytes

    def give(self, nbytes: int) -> None:
        with self._lock:
            self._used -= nbytes

    def free_bytes(self) -> int:
        return self.total_bytes - self._used

    def empty(self, shape: tuple[int, ...], dtype: Any) -> HostArray:
        kind = np.dtype(dtype)
        allocation = _Allocation(self, math.prod(shape) * kind.itemsize)
        allocation.bytes[:] = _FRESH_BYTE
        return HostArray(allocation, allocation.bytes.view(kind).reshape(shape))

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> HostArray:
        array = self.empty(shape, dtype)
        array.host[...] = 0
        return array

    def upload(self, array: np.ndarray) -> HostArray:
        copy = self.empty(array.shape, array.dtype)
        copy.host[...] = array
        return copy

    def download(self, array: HostArray) -> np.ndarray:
        return array.host.copy()

    def adopt(self, array: Any) -> HostArray:
        return self.upload(array)

    def holds(self, array: Any) -> bool:
        return isinstance(array, DeviceImage) and array.device_index == self.index

    def share(self, array: DeviceImage) -> DeviceImage:
        return array

    def share_empty(self, shape: tuple[int, ...], dtype: Any) -> DeviceImage:
        made = np.empty(shape, dtype)
        made.view(np.uint8)[...] = _FRESH_BYTE
        return DeviceImage(made, device_index=self.index)

    def strided(self, array: DeviceImage) -> Strided:
        part, root = array.part, array.root
        first = (part.ctypes.data - root.ctypes.data) // part.itemsize
        steps = tuple(step // part.itemsize for step in part.strides)
        allocation = _Allocation(self, 0)
        allocation.bytes = root.view(np.uint8)
        allocation.written = np.ones(root.nbytes, np.uint8)
        return Strided(HostArray(allocation, root), first, steps, part.shape, part.dtype)

    def restoring(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def synchronize(self) -> None:
        pass

    def compile(self, source: str, name: str, options: tuple[str, ...]) -> bytes:
        self.compiled.append(name)
        return build_library(source, name, options, optimise=self.optimise)

    def load(self, binary: bytes) -> HostModule:
        # A library is mapped from its file, which may go once it is loaded.
        with tempfile.TemporaryDirectory(prefix="pixelforest-") as folder:
            path = Path(folder) / "kernels.so"
            path.write_bytes(binary)
            try:
                return HostModule(self, ctypes.CDLL(str(path)))
            except OSError as error:
                raise DeviceFailed(f"the binary cannot be loaded: {error}") from None

    @contextlib.contextmanager
    def timer(self) -> Iterator[HostTimer]:
        timer, start = HostTimer(), time.perf_counter()
        yield timer
        timer.milliseconds = 1000 * (time.perf_counter() - start)

"""Devices of this machine through CuPy. This is the only module that imports CuPy.

Nothing synchronizes a whole device: every host thread has a stream of its own, independent of the others, copies go
through reused pinned memory, and a waiting thread yields its processor.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from ..contract import DeviceFailed, DeviceOutOfMemory, DeviceUnavailable
from .device import DeviceArray, Grid, Strided
from .pinned import PinnedMemory

try:
    import cupy
    from cupy.cuda import driver, nvrtc, runtime
except ImportError as error:
    raise DeviceUnavailable(
        f"CuPy cannot be imported ({error}); for GPUs install pixelforest[cuda13], or pixelforest[cuda12] where the "
        "driver is older"
    ) from None

logger = logging.getLogger("pixelforest.kernels")

ERROR_OUT_OF_MEMORY = 2  # of the runtime and of the driver
ERROR_OLD_DRIVER = 35
ERROR_NO_DEVICE = 100
PLAIN_SHARED_BYTES = 48 << 10  # available to every kernel without raising its limit
MAX_DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES

_pinned = PinnedMemory(lambda size: cupy.cuda.PinnedMemory(size, runtime.hostAllocPortable))  # portable: of all devices


def open_devices(indices: Sequence[int] | None = None) -> tuple[CupyDevice, ...]:
    """Open the devices with these numbers among those that CUDA_VISIBLE_DEVICES shows.

    None opens all that can be used; a warning names the others. A device stays open until the process ends: its memory
    and kernels serve later runs. Raises DeviceUnavailable with a remedy.
    """
    if indices is not None:
        count = _count_devices()
        for index in indices:
            if index >= count:
                there = "the only one is 0" if count == 1 else f"there are 0 to {count - 1}"
                raise DeviceUnavailable(f"there is no CUDA device {index}; {there}")
        return tuple(_usable_device(index) for index in indices)
    usable, reasons = examine_devices()
    if not usable:
        raise DeviceUnavailable("; ".join(dict.fromkeys(reasons.values())))
    for reason in reasons.values():
        logger.warning("%s; the run uses the others", reason)
    return tuple(usable)


def examine_devices() -> tuple[list[CupyDevice], dict[int, str]]:
    """Open all devices. Returns those that can be used, and for each other number the reason why not.

    Raises DeviceUnavailable if there are none.
    """
    usable, reasons = [], {}
    for index in range(_count_devices()):
        try:
            usable.append(_usable_device(index))
        except DeviceUnavailable as error:
            reasons[index] = str(error)
    return usable, reasons


def _usable_device(index: int) -> CupyDevice:
    try:
        device = _open_once(index)
        with device.restoring():
            device.stream()  # fails if another process has the device for itself
            runtime.memGetInfo()  # fails after a fault of an earlier run of this process
    except runtime.CUDARuntimeError as error:
        raise DeviceUnavailable(f"CUDA device {index} cannot be used: {error}") from None
    return device


@cache
def _open_once(index: int) -> CupyDevice:
    return CupyDevice(index)


def describe_driver() -> str:
    """Describe the CUDA versions of the driver and of CuPy's runtime as text."""
    known = _version(runtime.driverGetVersion())
    return f"driver for CUDA {known}, CuPy {cupy.__version__} for CUDA {_version(runtime.runtimeGetVersion())}"


def describe_compiler() -> str:
    """Describe NVRTC's version as text. Raises DeviceUnavailable if NVRTC is missing."""
    return "NVRTC {}.{}".format(*_compiler_version())


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}" if number else "none"


def _count_devices() -> int:
    try:
        count = int(runtime.getDeviceCount())
    except runtime.CUDARuntimeError as error:
        if error.status == ERROR_OLD_DRIVER and runtime.driverGetVersion() == 0:
            raise DeviceUnavailable("there is no NVIDIA driver on this machine") from None
        if error.status == ERROR_OLD_DRIVER:
            raise DeviceUnavailable(
                f"the NVIDIA driver is too old ({describe_driver()}); install a newer one, or pixelforest[cuda12]"
            ) from None
        if error.status != ERROR_NO_DEVICE:
            raise DeviceUnavailable(f"the CUDA driver cannot be used: {error}") from None
        count = 0
    if count == 0:
        raise DeviceUnavailable("the NVIDIA driver shows no GPU; CUDA_VISIBLE_DEVICES may hide it")
    return count


def _compiler_version() -> tuple[int, int]:
    try:
        major, minor = nvrtc.getVersion()
    except RuntimeError as error:  # raised by the loader too, if the library is missing
        raise DeviceUnavailable(
            f"the CUDA compiler NVRTC cannot be loaded ({str(error).splitlines()[0]}); install pixelforest[cuda13], or "
            "pixelforest[cuda12] where the driver is older"
        ) from None
    return int(major), int(minor)


@contextlib.contextmanager
def _faults(doing: str) -> Iterator[None]:
    """Translate CuPy's errors to those of the contract."""
    try:
        yield
    except cupy.cuda.memory.OutOfMemoryError as error:
        raise DeviceOutOfMemory(f"{doing}: {error}") from None
    except (runtime.CUDARuntimeError, driver.CUDADriverError) as error:
        kind = DeviceOutOfMemory if error.status == ERROR_OUT_OF_MEMORY else DeviceFailed
        raise kind(f"{doing}: {error}") from None


def _pinned_array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    size = math.prod(shape) * dtype.itemsize
    with _faults(f"there is no room for {size} bytes of pinned host memory, which a copy needs"):
        return _pinned.array(shape, dtype)


class CupyArray:
    """See ``device.DeviceArray``. Other libraries take it through CUDA's array interface."""

    def __init__(self, memory: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.memory, self._shape, self._dtype = memory, shape, dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._dtype

    @property
    def nbytes(self) -> int:
        return math.prod(self._shape) * self._dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": self._shape, "typestr": self._dtype.str, "data": (self.memory.ptr, False), "version": 2}

    def view(self, offset: int, shape: tuple[int, ...], dtype: Any = None) -> CupyArray:
        kind = np.dtype(dtype or self._dtype)
        first = offset * self._dtype.itemsize
        if offset < 0 or first + math.prod(shape) * kind.itemsize > self.nbytes:
            raise ValueError(f"{shape} {kind} from element {offset} do not fit into {self._shape} {self._dtype}")
        if first % kind.itemsize:
            raise ValueError(f"{kind} cannot begin at byte {first}")
        return CupyArray(self.memory + first, shape, kind)


class CupyKernel:
    """See ``device.Kernel``.

    The limit of its shared memory is a property of the device's function. There is one object per function, so that no
    thread lowers a limit that another one has just raised.
    """

    def __init__(self, device: CupyDevice, name: str, function: Any) -> None:
        self._device, self._name, self._function = device, name, function
        self._shared_bytes = PLAIN_SHARED_BYTES
        self._lock = threading.Lock()

    def __call__(
        self, grid: Grid, block: Grid, arguments: Sequence[DeviceArray | np.generic], *, shared_bytes: int = 0
    ) -> None:
        values = [a.memory if isinstance(a, CupyArray) else a for a in arguments]
        with _faults(f"the kernel {self._name} cannot be started"):
            stream = self._device.stream()
            if shared_bytes > self._shared_bytes:
                with self._lock:
                    if shared_bytes > self._shared_bytes:  # another thread may have raised the limit meanwhile
                        driver.funcSetAttribute(self._function.ptr, MAX_DYNAMIC_SHARED, shared_bytes)
                        self._shared_bytes = shared_bytes
            self._function(grid, block, values, shared_mem=shared_bytes, stream=stream)


class CupyModule:
    """See ``device.Module``."""

    def __init__(self, device: CupyDevice, module: Any) -> None:
        self._device, self._module = device, module
        self._kernels: dict[str, CupyKernel] = {}
        self._lock = threading.Lock()

    def kernel(self, name: str) -> CupyKernel:
        with self._lock, _faults(f"there is no kernel {name!r}"):
            if name not in self._kernels:
                self._device.stream()
                self._kernels[name] = CupyKernel(self._device, name, self._module.get_function(name))
            return self._kernels[name]


@dataclass
class CupyTimer:
    """See ``device.Timer``."""

    milliseconds: float = math.nan


@dataclass
class _Lane:
    """A host thread's part of a device. ``staged``: pending copies, with the pinned arrays they read."""

    stream: Any
    staged: list[tuple[Any, np.ndarray]] = field(default_factory=list)


class CupyDevice:
    """See ``device.Device``."""

    def __init__(self, index: int) -> None:
        # Properties need no context. CuPy's ``Device.compute_capability`` would make one on GPU 0, for another GPU too.
        properties = runtime.getDeviceProperties(index)
        self.index = index
        self.name = properties["name"].decode(errors="replace")
        self.compiler = describe_compiler()
        self.architecture = _architecture(self.name, 10 * properties["major"] + properties["minor"])
        self.multiprocessors = int(properties["multiProcessorCount"])
        self.threads_per_multiprocessor = int(properties["maxThreadsPerMultiProcessor"])
        self.shared_bytes_per_block = int(properties["sharedMemPerBlockOptin"])
        self.total_bytes = int(properties["totalGlobalMem"])
        self._pool = cupy.cuda.MemoryPool()
        self._lanes = threading.local()

    def _lane(self) -> _Lane:
        """This thread's part of the device, which becomes the thread's current device."""
        runtime.setDevice(self.index)
        lane: _Lane | None = getattr(self._lanes, "lane", None)
        if lane is None:
            lane = self._lanes.lane = _Lane(cupy.cuda.Stream(non_blocking=True))
        lane.stream.use()  # the pool reuses freed memory for the stream that used it
        return lane

    def stream(self) -> Any:
        """This thread's stream; the device becomes the thread's current one."""
        return self._lane().stream

    def free_bytes(self) -> int:
        with _faults("the memory cannot be asked for"):
            self._lane()
            free, _ = runtime.memGetInfo()
            return int(free) + int(self._pool.free_bytes())

    def empty(self, shape: tuple[int, ...], dtype: Any) -> CupyArray:
        kind = np.dtype(dtype)
        size = math.prod(shape) * kind.itemsize
        with _faults(f"{self.name} has no room for {size} bytes"):
            self._lane()
            return CupyArray(self._pool.malloc(max(1, size)), shape, kind)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> CupyArray:
        array = self.empty(shape, dtype)
        with _faults("memory cannot be cleared"):
            runtime.memsetAsync(array.memory.ptr, 0, array.nbytes, self.stream().ptr)
        return array

    def upload(self, array: np.ndarray) -> CupyArray:
        copy = self.empty(array.shape, array.dtype)
        if copy.nbytes == 0:
            return copy
        with _faults("the copy to the device failed"):
            lane = self._lane()
            lane.staged = [each for each in lane.staged if not each[0].done]
            host = _pinned_array(array.shape, copy.dtype)
            np.copyto(host, array)
            there, here = copy.memory.ptr, host.ctypes.data
            runtime.memcpyAsync(there, here, copy.nbytes, runtime.memcpyHostToDevice, lane.stream.ptr)
            copied = cupy.cuda.Event(disable_timing=True)
            copied.record(lane.stream)
            lane.staged.append((copied, host))
        return copy

    def download(self, array: DeviceArray) -> np.ndarray:
        assert isinstance(array, CupyArray)
        if array.nbytes == 0:
            return np.empty(array.shape, array.dtype)
        with _faults("the device failed"):
            lane = self._lane()
            host = _pinned_array(array.shape, array.dtype)
            there, here = array.memory.ptr, host.ctypes.data
            runtime.memcpyAsync(here, there, array.nbytes, runtime.memcpyDeviceToHost, lane.stream.ptr)
        self.synchronize()
        return host

    def adopt(self, array: Any) -> CupyArray:
        with _faults("an array of another library cannot be taken"):
            self._lane()
            where = _index_of(array)
            if where != self.index:
                raise ValueError(f"an array of CUDA device {where} was given to device {self.index}")
            given = cupy.ascontiguousarray(_as_cupy(array))
        return CupyArray(given.data, given.shape, np.dtype(given.dtype))

    def holds(self, array: Any) -> bool:
        with _faults("an array of another library cannot be taken"):
            return _index_of(array) == self.index

    def share(self, array: Any) -> Any:
        with _faults("an array of another library cannot be taken"), cupy.cuda.Device(self.index):
            given = _as_cupy(array)
            cupy.cuda.get_current_stream().synchronize()
        return given

    def share_empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        with _faults(f"{self.name} has no room for a result"), cupy.cuda.Device(self.index):
            return cupy.empty(shape, dtype)

    def strided(self, array: Any) -> Strided:
        kind = np.dtype(array.dtype)
        steps = tuple(step // kind.itemsize for step in array.strides)
        return Strided(CupyArray(array.data, array.shape, kind), 0, steps, array.shape, kind)

    @contextlib.contextmanager
    def restoring(self) -> Iterator[None]:
        has_context = driver.ctxGetCurrent() != 0
        current, stream = runtime.getDevice(), cupy.cuda.get_current_stream(self.index)
        try:
            yield
        finally:
            runtime.setDevice(self.index)
            stream.use()
            if has_context:  # otherwise ``current`` is only the default, and may not be touched
                runtime.setDevice(current)

    def synchronize(self) -> None:
        with _faults("the device failed"):
            stream = self.stream()  # first, since an event belongs to the device that is current when it is made
            done = cupy.cuda.Event(block=True, disable_timing=True)
            done.record(stream)
            done.synchronize()

    def compile(self, source: str, name: str, options: tuple[str, ...]) -> bytes:
        return _compile(source, name, options, self.architecture)

    def load(self, binary: bytes) -> CupyModule:
        module = cupy.cuda.Module()
        with _faults("a kernel binary cannot be loaded"):
            self._lane()
            module.load(binary)
        # Never unloaded: CuPy would do that when the interpreter ends, in the context of whichever device is current.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(module))
        return CupyModule(self, module)

    @contextlib.contextmanager
    def timer(self) -> Iterator[CupyTimer]:
        timer = CupyTimer()
        with _faults("the device failed"):
            stream = self.stream()
            start, stop = cupy.cuda.Event(), cupy.cuda.Event(block=True)
            start.record(stream)
        yield timer
        with _faults("the device failed"):
            stop.record(self.stream())
            stop.synchronize()
            timer.milliseconds = float(cupy.cuda.get_elapsed_time(start, stop))


def _index_of(array: Any) -> int:
    """Return the number of the device that has an array of another library."""
    if hasattr(array, "__dlpack_device__"):
        return int(array.__dlpack_device__()[1])
    return int(runtime.pointerGetAttributes(array.__cuda_array_interface__["data"][0]).device)


def _as_cupy(array: Any) -> Any:
    """Return an array of another library as one of CuPy that shares its memory."""
    return cupy.asarray(array) if hasattr(array, "__cuda_array_interface__") else cupy.from_dlpack(array)


class Architecture:
    """Architecture to compile for without a device of it. Raises DeviceUnavailable for an unknown one."""

    def __init__(self, name: str) -> None:
        self.architecture, self.compiler = name, describe_compiler()
        known = [f"sm_{number}" for number in nvrtc.getSupportedArchs()]
        if name not in known:
            raise DeviceUnavailable(f"{self.compiler} does not compile for {name}; it knows {', '.join(known)}")

    def compile(self, source: str, name: str, options: tuple[str, ...]) -> bytes:
        return _compile(source, name, options, self.architecture)


def _compile(source: str, name: str, options: tuple[str, ...], architecture: str) -> bytes:
    program = nvrtc.createProgram(source, name, (), ())
    try:
        nvrtc.compileProgram(program, (*options, f"--gpu-architecture={architecture}"))
        return bytes(nvrtc.getCUBIN(program))
    except nvrtc.NVRTCError as error:
        log = nvrtc.getProgramLog(program).strip()
        raise DeviceFailed(f"{name} does not compile for {architecture}: {error}; {log[:4000]}") from None
    finally:
        nvrtc.destroyProgram(program)


def _architecture(name: str, capability: int) -> str:
    """Architecture to compile for: the device's own, or the newest older one whose binaries it runs.

    Raises DeviceUnavailable if the compiler knows none.
    """
    fitting = [a for a in nvrtc.getSupportedArchs() if a // 10 == capability // 10 and a <= capability]
    if not fitting:
        raise DeviceUnavailable(
            f"{describe_compiler()} does not compile for {name} (sm_{capability}); install pixelforest[cuda12] for "
            "older devices, a newer NVRTC for newer ones"
        )
    return f"sm_{max(fitting)}"

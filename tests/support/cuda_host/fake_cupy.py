"""Fake CuPy on the host: the API used by ``kernels/cuda/cupy_device.py``; kernels run in the shim.

The fake is asynchronous like CuPy: copies and launches stay in their stream until a thread waits for it, so that a
buffer reused too early is detected.
"""

from __future__ import annotations

import ctypes
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from support.cuda_host.build import SHIM_NUMBER, build_library
from support.cuda_host.host_device import _Launch

from pixelforest.kernels.contract import DeviceFailed

GUARD = 64
HOST_ALLOC_PORTABLE = 1
PLAIN_SHARED = 48 << 10  # bytes of a block that need no permission


class CUDARuntimeError(RuntimeError):
    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"error {status}")


class CUDADriverError(CUDARuntimeError):
    pass


class NVRTCError(RuntimeError):
    pass


class OutOfMemoryError(MemoryError):
    pass


class Machine:
    """Fake machine.

    count, driver  devices, and the driver's version; memory: bytes of each device
    fails          a status that the next wait for a stream raises
    used           bytes of each device that are in use; current: device of each thread
    pinned         sizes of all pinned memory; pinned_limit: their maximal sum
    contexts       devices that were made current or given work; busy: those of another process
    unloaded       devices that were current when a module was unloaded
    """

    def __init__(self, count: int = 1, driver: int = 13020, memory: int = 1 << 30) -> None:
        self.count, self.driver, self.memory, self.fails = count, driver, memory, 0
        self.used: dict[int, int] = defaultdict(int)
        self.pinned: list[int] = []
        self.pinned_limit = 1 << 40
        self.shared_bytes: list[int] = []
        self.most_shared: dict[int, int] = {}  # of each function, once it was set
        self.contexts: set[int] = set()
        self.busy: set[int] = set()
        self.unloaded: list[int] = []
        self.local = threading.local()
        self.running = threading.Lock()  # the shim's kernels have one set of thread numbers

    @property
    def current(self) -> int:
        return int(getattr(self.local, "device", 0))

    def enter(self, device: int | None = None) -> int:
        """Make a context on a device (None: the thread's current one, 0 at first), as nearly every call does."""
        if device is not None:
            if device in self.busy:
                raise CUDARuntimeError(46)
            self.local.device = device
        self.contexts.add(self.current)
        return self.current


class Stream:
    def __init__(self, machine: Machine, *, non_blocking: bool) -> None:
        assert non_blocking
        self.machine, self.device_id = machine, machine.enter()
        self.work: list[Callable[[], None]] = []
        self.done = 0
        self.ptr = id(self)
        _streams[self.ptr] = self

    def use(self) -> Stream:
        assert self.device_id == self.machine.current
        local = self.machine.local
        local.stream, local.streams = self, {**getattr(local, "streams", {}), self.device_id: self}
        return self

    def run(self, until: int | None = None) -> None:
        """Run the pending work."""
        while self.work and (until is None or self.done < until):
            self.work.pop(0)()
            self.done += 1


class DefaultStream(Stream):
    """Stream of a device that a thread has chosen none for."""

    def __init__(self, machine: Machine, device: int) -> None:
        self.machine, self.device_id = machine, device


_streams: dict[int, Stream] = {}


class Event:
    def __init__(self, machine: Machine, block: bool = False, disable_timing: bool = False) -> None:
        self.machine, self.timed, self.stream = machine, not disable_timing, None
        self.device_id = machine.enter()

    def record(self, stream: Stream) -> None:
        if stream.device_id != self.device_id:
            raise CUDARuntimeError(400)  # the event is of another device
        self.stream, self.place = stream, stream.done + len(stream.work)

    @property
    def done(self) -> bool:
        return self.stream is None or self.stream.done >= self.place

    def synchronize(self) -> None:
        if self.machine.fails:
            raise CUDARuntimeError(self.machine.fails)
        if self.stream is not None:
            self.stream.run(self.place)


class Memory:
    """Memory of a device."""

    def __init__(self, machine: Machine, size: int) -> None:
        self.machine, self.size, self.device = machine, size, machine.current
        if machine.used[self.device] + size > machine.memory:
            raise OutOfMemoryError(f"Out of memory allocating {size} bytes")
        machine.used[self.device] += size
        self.bytes = np.full(size + GUARD, 0xFF, np.uint8)

    def __del__(self) -> None:
        if hasattr(self, "bytes"):
            self.machine.used[self.device] -= self.size


class MemoryPointer:
    def __init__(self, mem: Memory, offset: int) -> None:
        self.mem, self.offset = mem, offset

    @property
    def ptr(self) -> int:
        return int(self.mem.bytes.ctypes.data) + self.offset

    def __add__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self.mem, self.offset + offset)


class PinnedMemory:
    """Pinned memory of the host, for all devices."""

    def __init__(self, machine: Machine, size: int, flags: int) -> None:
        assert flags == HOST_ALLOC_PORTABLE
        machine.enter()
        if sum(machine.pinned) + size > machine.pinned_limit:
            raise CUDARuntimeError(2)
        machine.pinned.append(size)
        self.machine, self.bytes = machine, np.zeros(size, np.uint8)
        self.ptr = int(self.bytes.ctypes.data)

    def __del__(self) -> None:
        if hasattr(self, "bytes"):
            self.machine.pinned.remove(self.bytes.nbytes)


class Function:
    def __init__(self, machine: Machine, library: Any, name: str) -> None:
        self.machine, self.name, self.ptr = machine, name, id(library) ^ hash(name)
        try:
            self.launch = getattr(library, f"launch_{name}")
        except AttributeError:
            raise CUDADriverError(500) from None
        self.launch.restype = ctypes.c_char_p

    def __call__(
        self, grid: tuple, block: tuple, args: Sequence[Any], shared_mem: int = 0, stream: Stream | None = None
    ) -> None:
        assert isinstance(grid, tuple)
        assert isinstance(block, tuple)
        assert stream is not None
        assert stream.device_id == self.machine.current
        if shared_mem > self.machine.most_shared.get(self.ptr, PLAIN_SHARED):
            raise CUDADriverError(1)  # the value is invalid
        values = []
        for value in args:
            assert isinstance(value, MemoryPointer | np.generic), type(value)
            values.append(np.array([value.ptr if isinstance(value, MemoryPointer) else value]))
        addresses = (ctypes.c_void_p * len(values))(*(v.ctypes.data for v in values))
        launch = _Launch((ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block), shared_mem)
        # As on a device, the arrays are not kept by the launch: their memory belongs to the stream until it is used.
        held = [value.mem for value in args if isinstance(value, MemoryPointer)]

        def start() -> None:
            with self.machine.running:
                fault = self.launch(ctypes.byref(launch), addresses)
            if fault is not None:
                raise DeviceFailed(f"{self.name}: {fault.decode()}")
            assert held is not None
            assert values is not None

        stream.work.append(start)


class Module:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def load(self, cubin: bytes) -> None:
        assert isinstance(cubin, bytes)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "kernels.so"
            path.write_bytes(cubin)
            self.library = ctypes.CDLL(str(path))

    def __del__(self) -> None:
        self.machine.unloaded.append(self.machine.current)

    def get_function(self, name: str) -> Function:
        return Function(self.machine, self.library, name)


class Pool:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def malloc(self, size: int) -> MemoryPointer:
        assert size > 0
        assert self.machine.local.stream.device_id == self.machine.current
        try:
            return MemoryPointer(Memory(self.machine, size), 0)
        except OutOfMemoryError:
            self.machine.local.stream.run()  # launches keep their arrays here, which they do not on a device
            return MemoryPointer(Memory(self.machine, size), 0)

    def free_bytes(self) -> int:
        return 0


def make_cupy(machine: Machine) -> dict[str, ModuleType]:
    """Make modules by name, to be added to ``sys.modules``."""
    cupy, cuda, runtime, driver, nvrtc, memory = (
        ModuleType(name)
        for name in (
            "cupy",
            "cupy.cuda",
            "cupy.cuda.runtime",
            "cupy.cuda.driver",
            "cupy.cuda.nvrtc",
            "cupy.cuda.memory",
        )
    )

    def copy(dst: int, src: int, size: int, kind: int, stream: int) -> None:
        assert kind in (1, 2)
        _streams[stream].work.append(lambda: ctypes.memmove(dst, src, size) and None)

    def clear(ptr: int, value: int, size: int, stream: int) -> None:
        _streams[stream].work.append(lambda: ctypes.memset(ptr, value, size) and None)

    def count() -> int:
        if machine.driver == 0 or machine.driver < 13000:
            raise CUDARuntimeError(35)
        if machine.count == 0:
            raise CUDARuntimeError(100)
        return machine.count

    runtime.CUDARuntimeError, runtime.getDeviceCount = CUDARuntimeError, count  # type: ignore[attr-defined]
    runtime.driverGetVersion, runtime.runtimeGetVersion = lambda: machine.driver, lambda: 13020  # type: ignore[attr-defined]
    runtime.getDeviceProperties = lambda index: {  # type: ignore[attr-defined]
        "name": b"made-up GPU", "totalGlobalMem": machine.memory, "major": 9, "minor": 0, "multiProcessorCount": 2,
        "maxThreadsPerMultiProcessor": 1536, "sharedMemPerBlockOptin": 99 << 10,
    }  # fmt: skip
    runtime.hostAllocPortable = HOST_ALLOC_PORTABLE  # type: ignore[attr-defined]
    runtime.setDevice = machine.enter  # type: ignore[attr-defined]
    runtime.getDevice = lambda: machine.current  # type: ignore[attr-defined]
    driver.ctxGetCurrent = lambda: int(hasattr(machine.local, "device"))  # type: ignore[attr-defined]
    runtime.memGetInfo = lambda: (machine.memory - machine.used[machine.current], machine.memory)  # type: ignore[attr-defined]
    runtime.memcpyAsync, runtime.memsetAsync = copy, clear  # type: ignore[attr-defined]
    runtime.memcpyHostToDevice, runtime.memcpyDeviceToHost = 1, 2  # type: ignore[attr-defined]
    driver.CUDADriverError = CUDADriverError  # type: ignore[attr-defined]

    def set_attribute(function: int, attribute: int, value: int) -> None:
        assert attribute == 8
        machine.shared_bytes.append(value)
        machine.most_shared[function] = value

    driver.funcSetAttribute = set_attribute  # type: ignore[attr-defined]
    programs: dict[int, list[Any]] = {}

    def create(source: str, name: str, headers: tuple, include_names: tuple) -> int:
        programs[len(programs)] = [source, name, b"", ""]
        return len(programs) - 1

    def compile_program(program: int, options: tuple[str, ...]) -> None:
        assert any(option.startswith("--gpu-architecture=sm_") for option in options)
        source, name, _, _ = programs[program]
        try:
            programs[program][2] = build_library(source, name, options)
        except DeviceFailed as error:
            programs[program][3] = str(error)
            raise NVRTCError("NVRTC_ERROR_COMPILATION (6)") from None

    nvrtc.NVRTCError, nvrtc.getVersion = NVRTCError, lambda: (13, SHIM_NUMBER)  # type: ignore[attr-defined]
    nvrtc.getSupportedArchs = lambda: (75, 80, 86, 90, 100, 120)  # type: ignore[attr-defined]
    nvrtc.createProgram, nvrtc.compileProgram = create, compile_program  # type: ignore[attr-defined]
    nvrtc.getCUBIN = lambda program: programs[program][2]  # type: ignore[attr-defined]
    nvrtc.getProgramLog = lambda program: programs[program][3]  # type: ignore[attr-defined]
    nvrtc.destroyProgram = lambda program: None  # type: ignore[attr-defined]
    memory.OutOfMemoryError = OutOfMemoryError  # type: ignore[attr-defined]

    cuda.Stream = lambda non_blocking: Stream(machine, non_blocking=non_blocking)  # type: ignore[attr-defined]
    cuda.get_current_stream = lambda device: (
        getattr(machine.local, "streams", {}).get(device)
        or DefaultStream(  # type: ignore[attr-defined]
            machine, device
        )
    )
    cuda.Event = lambda **options: Event(machine, **options)  # type: ignore[attr-defined]
    cuda.Module = lambda: Module(machine)  # type: ignore[attr-defined]
    cuda.MemoryPool = lambda: Pool(machine)  # type: ignore[attr-defined]
    cuda.PinnedMemory = lambda size, flags: PinnedMemory(machine, size, flags)  # type: ignore[attr-defined]
    cuda.get_elapsed_time = lambda start, stop: 1.5 if start.timed and stop.timed else 1 / 0  # type: ignore[attr-defined]
    cuda.runtime, cuda.driver, cuda.nvrtc, cuda.memory = runtime, driver, nvrtc, memory  # type: ignore[attr-defined]
    cupy.cuda, cupy.__version__ = cuda, "14.2.0"  # type: ignore[attr-defined]
    modules = (cupy, cuda, runtime, driver, nvrtc, memory)
    return {module.__name__: module for module in modules}

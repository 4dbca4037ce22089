"""Interface of a device for the launching code, so that it also runs on a stand-in without a GPU.

``cupy_device`` implements it for GPUs; the tests have one that runs the same kernels on the host. Every host thread has
a stream of its own: work of one thread runs in order, work of several threads in parallel.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from ...frozen import frozen

Grid = tuple[int, int, int]
"""Sizes along x, y and z, in CUDA's order."""


class DeviceArray(Protocol):
    """C-contiguous array on a device; its memory is freed when the last reference goes."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def nbytes(self) -> int: ...

    def view(self, offset: int, shape: tuple[int, ...], dtype: Any = None) -> DeviceArray:
        """Return a view of the memory from element ``offset`` (of this array's type) on, as ``dtype`` (default: same).

        Raises ValueError if the view does not fit into the array.
        """
        ...


@frozen(eq=False)
class Strided:
    """An array of another library as kernels take it.

    memory  contains the elements; first: position of the first one in it
    steps   along the axes, in elements; they may be negative
    """

    memory: DeviceArray
    first: int
    steps: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Kernel(Protocol):
    """A compiled kernel."""

    def __call__(
        self, grid: Grid, block: Grid, arguments: Sequence[DeviceArray | np.generic], *, shared_bytes: int = 0
    ) -> None:
        """Launch the kernel on the calling thread's stream. Does not wait.

        arguments     arrays, and NumPy scalars of the exact C types
        shared_bytes  dynamic shared memory of a block, up to the device's ``shared_bytes_per_block``
        Raises DeviceFailed if it cannot be launched.
        """
        ...


class Module(Protocol):
    """A loaded binary."""

    def kernel(self, name: str) -> Kernel:
        """Return the kernel of that name. Raises DeviceFailed if there is none."""
        ...


class Timer(Protocol):
    """Time between two points of the calling thread's stream."""

    milliseconds: float


class Device(Protocol):
    """One device. Methods may be called from several threads at once; each works on its thread's stream.

    architecture            such as sm_90
    compiler                name and version; a binary of another compiler is not used
    shared_bytes_per_block  maximum of a block
    threads_per_multiprocessor  that it holds at once: 1024 to 2048
    """

    name: str
    index: int
    architecture: str
    compiler: str
    multiprocessors: int
    threads_per_multiprocessor: int
    shared_bytes_per_block: int
    total_bytes: int

    def __hash__(self) -> int: ...

    def free_bytes(self) -> int:
        """Bytes that can still be allocated, including unused memory of the pool."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        """Allocate an uninitialised array. Raises DeviceOutOfMemory."""
        ...

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        """Allocate an array of zeros. Raises DeviceOutOfMemory."""
        ...

    def upload(self, array: np.ndarray) -> DeviceArray:
        """Copy an array to the device through pinned memory. Does not wait; ``array`` may be changed at once."""
        ...

    def download(self, array: DeviceArray) -> np.ndarray:
        """Copy an array to the host. Waits for the calling thread's stream."""
        ...

    def adopt(self, array: Any) -> DeviceArray:
        """Wrap an array that another library made on this device; its memory is shared and kept alive.

        array  has CUDA's array interface, or else that of DLPack; if it is not C-contiguous, it is copied
        Raises ValueError for an array of another device.
        """
        ...

    def holds(self, array: Any) -> bool:
        """Return True for an array of another library that is in this device's memory."""
        ...

    def share(self, array: Any) -> Any:
        """Return an array of another library as one of the library that this device is used through.

        The memory is shared. Waits for the calling thread's current stream of that library, so that what it has
        computed is there for all streams. Raises DeviceFailed.
        """
        ...

    def share_empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Allocate such an array, uninitialised, as the calling thread does with that library."""
        ...

    def strided(self, array: Any) -> Strided:
        """Return a shared array, or a view of one, as kernels take it."""
        ...

    def restoring(self) -> AbstractContextManager[None]:
        """Restore the calling thread's current device and stream of that library at the end of the context."""
        ...

    def synchronize(self) -> None:
        """Wait for the calling thread's stream. Raises DeviceFailed for a fault of its kernels."""
        ...

    def compile(self, source: str, name: str, options: tuple[str, ...]) -> bytes:
        """Compile CUDA C to a binary for this device. Raises DeviceFailed with the compiler's message."""
        ...

    def load(self, binary: bytes) -> Module:
        """Load a binary. Raises DeviceFailed."""
        ...

    def timer(self) -> AbstractContextManager[Timer]:
        """Time the work that the calling thread launches inside; the end waits for it."""
        ...

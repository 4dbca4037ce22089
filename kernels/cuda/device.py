"""Interface of a device for the launching code, so that it also runs on a stand-in without a GPU.

``cupy_device`` implements it for GPUs; the tests have one that runs the same kernels on the host. Every host thread has
a stream of its own: work of one thread runs in order, work of several threads in parallel.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

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
    """

    name: str
    index: int
    architecture: str
    compiler: str
    multiprocessors: int
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

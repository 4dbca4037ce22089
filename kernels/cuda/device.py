"""What the launching code sees of a device, so that it also runs on a stand-in without a GPU.

``cupy_device`` has the real one; the tests have one that runs the same kernels on the host. Every host thread has a
stream of its own: work of one thread happens in order, work of several threads side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

Grid = tuple[int, int, int]
"""Numbers along x, y and z, as CUDA counts them."""


class DeviceArray(Protocol):
    """C-contiguous memory on a device; its memory is given back when the last reference goes."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def nbytes(self) -> int: ...

    def view(self, offset: int, shape: tuple[int, ...], dtype: Any = None) -> DeviceArray:
        """A part of the same memory, from element ``offset`` (of this array's type) on, as ``dtype`` (default: same).

        Raises ValueError where the part does not fit into the array.
        """
        ...


class Kernel(Protocol):
    """A compiled kernel."""

    def __call__(
        self, grid: Grid, block: Grid, arguments: Sequence[DeviceArray | np.generic], *, shared_bytes: int = 0
    ) -> None:
        """Start it on the calling thread's stream; does not wait.

        arguments     arrays, and NumPy scalars of the exact C types
        shared_bytes  dynamic shared memory of a block, up to the device's ``shared_bytes_per_block``
        Raises DeviceFailed where it cannot be started.
        """
        ...


class Module(Protocol):
    """A loaded binary."""

    def kernel(self, name: str) -> Kernel:
        """The kernel of that name. Raises DeviceFailed if there is none."""
        ...


class Timer(Protocol):
    """Time between two points of the calling thread's stream."""

    milliseconds: float


class Device(Protocol):
    """One device. Methods may be called from several threads at once; each works on its thread's stream.

    architecture            such as sm_90
    compiler                name and version; a binary of another compiler is not used
    shared_bytes_per_block  the most a block may ask for
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
        """Memory that can still be had, with what the pool holds unused."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        """A new array with any content. Raises DeviceOutOfMemory."""
        ...

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        """A new array of zeros. Raises DeviceOutOfMemory."""
        ...

    def upload(self, array: np.ndarray) -> DeviceArray:
        """A copy on the device, through pinned memory; does not wait. ``array`` may be changed at once."""
        ...

    def download(self, array: DeviceArray) -> np.ndarray:
        """A copy on the host; waits for the calling thread's stream."""
        ...

    def adopt(self, array: Any) -> DeviceArray:
        """An array that another library made on this device, as one of ours; its memory is shared and kept alive."""
        ...

    def synchronize(self) -> None:
        """Wait for the calling thread's stream. Raises DeviceFailed for a fault of its kernels."""
        ...

    def compile(self, source: str, name: str, options: tuple[str, ...]) -> bytes:
        """A binary of CUDA C for this device. Raises DeviceFailed with the compiler's words."""
        ...

    def load(self, binary: bytes) -> Module:
        """Make a binary's kernels usable. Raises DeviceFailed."""
        ...

    def timer(self) -> AbstractContextManager[Timer]:
        """Times what the calling thread starts inside; known after the end, which waits for it."""
        ...

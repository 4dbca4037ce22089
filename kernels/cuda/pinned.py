"""Pinned host memory, through which copies to and from devices go. It is reused: pinning takes longer than copying."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ...frozen import frozen

MIN_BYTES = 1 << 16
_WINDOW = 200  # arrays, which are some tens of tiles, after which a maximum of memory in use is forgotten


class Pinned(Protocol):
    """Pinned memory at an address, freed with this object."""

    @property
    def ptr(self) -> int: ...


class PinnedMemory:
    """Pinned memory for arrays, shared by all threads and devices.

    As much is kept unused as was in use in addition, within the last arrays: everything together is never more than was
    needed at the same time.

    allocate  size in bytes -> pinned memory
    """

    def __init__(self, allocate: Callable[[int], Pinned]) -> None:
        self._allocate = allocate
        self._unused: deque[_Block] = deque()  # the oldest first
        # Arrays may go at any point of a program, also in a thread that holds the lock: that only appends to this.
        self._returned: deque[_Block] = deque()
        self._lock = threading.Lock()
        self._used_bytes = self._count = 0
        self._most_bytes = self._most_before = 0  # in use at the same time, in this window and in the one before

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """Allocate an uninitialised array. Its memory is used again when its last reference is gone.

        Raises what ``allocate`` raises, once unused memory has been freed.
        """
        count = math.prod(shape)
        owner = _Owner(self._take(rounded_bytes(count * dtype.itemsize)), self._returned)
        return np.asarray(owner)[: count * dtype.itemsize].view(dtype).reshape(shape)

    def _take(self, size: int) -> _Block:
        with self._lock:
            self._collect_returned()
            found = next((block for block in reversed(self._unused) if block.size == size), None)
            if found is not None:
                self._unused.remove(found)
            self._count_use(size)
            if found is None:
                found = _Block(self._pin(size), size)
            self._used_bytes += size
            return found

    def _collect_returned(self) -> None:
        while self._returned:
            block = self._returned.popleft()
            self._used_bytes -= block.size
            self._unused.append(block)

    def _count_use(self, size: int) -> None:
        """Free what would exceed the maximum if ``size`` bytes more were in use."""
        self._count += 1
        if self._count % _WINDOW == 0:
            self._most_before, self._most_bytes = self._most_bytes, 0
        self._most_bytes = max(self._most_bytes, self._used_bytes + size)
        room = max(self._most_bytes, self._most_before) - self._used_bytes - size
        while sum(block.size for block in self._unused) > room:
            self._unused.popleft()

    def _pin(self, size: int) -> Pinned:
        try:
            return self._allocate(size)
        except Exception:
            if not self._unused:
                raise
        self._unused.clear()
        return self._allocate(size)


def rounded_bytes(size: int) -> int:
    """Pinned memory of an array: up to an eighth more, so that tiles of about the same size share memory."""
    step = 1 << (max(size, MIN_BYTES).bit_length() - 4)
    return -(-max(size, MIN_BYTES) // step) * step


@frozen(eq=False)
class _Block:
    """Memory of one size class, in use or in the free list."""

    memory: Pinned
    size: int


class _Owner:
    """Base of an array, which returns its block."""

    def __init__(self, block: _Block, returned: deque[_Block]) -> None:
        self._block, self._returned = block, returned

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {"data": (self._block.memory.ptr, False), "shape": (self._block.size,), "typestr": "|u1", "version": 3}

    def __del__(self) -> None:
        self._returned.append(self._block)

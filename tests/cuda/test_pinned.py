"""Pinned memory: reuse, and how much is kept. Memory is NumPy's here."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest

from pixelforest.kernels.cuda.pinned import MIN_BYTES, PinnedMemory, rounded_bytes

MB = 1 << 20
BYTE = np.dtype(np.uint8)


@dataclass
class Host:
    """Counts bytes that are pinned now, at most, and how often."""

    limit: int = 1 << 40
    now: int = 0
    most: int = 0
    calls: list[int] = field(default_factory=list)

    def pin(self, size: int) -> Memory:
        if self.now + size > self.limit:
            raise MemoryError("no more can be pinned")
        self.calls.append(size)
        self.now += size
        self.most = max(self.most, self.now)
        return Memory(self, np.zeros(size, np.uint8))


@dataclass(eq=False)
class Memory:
    host: Host
    values: np.ndarray

    @property
    def ptr(self) -> int:
        return int(self.values.ctypes.data)

    def __del__(self) -> None:
        self.host.now -= self.values.nbytes


@pytest.mark.parametrize("dtype", ["uint8", "bool", "float32", "uint64"])
def test_arrays_have_their_shape_and_type(dtype: str) -> None:
    array = PinnedMemory(Host().pin).array((3, 4, 5), np.dtype(dtype))
    assert (array.shape, array.dtype, array.flags.c_contiguous, array.flags.writeable) == ((3, 4, 5), dtype, True, True)


def test_memory_is_used_again_when_the_last_view_is_gone() -> None:
    host = Host()
    memory = PinnedMemory(host.pin)
    array = memory.array((MB,), BYTE)
    part = array[5:]
    part[:] = 7
    del array
    memory.array((MB,), BYTE)[:] = 1
    assert (part == 7).all()
    del part
    for _ in range(10):
        memory.array((MB,), BYTE)
    assert host.calls == [MB, MB]


def test_sizes_are_rounded_by_an_eighth_at_most() -> None:
    for size in (1, MIN_BYTES, MIN_BYTES + 1, 300_001, 280_000_000, (1 << 28) + 1):
        assert size <= rounded_bytes(size) <= max(MIN_BYTES, size * 9 // 8 + 1)
    assert len({rounded_bytes(size) for size in range(1 << 20, 2 << 20, 1000)}) == 9


def test_tiles_of_the_same_sizes_pin_nothing_more() -> None:
    """A source and two results at the same time, one tile after the other."""
    host = Host()
    memory = PinnedMemory(host.pin)
    for _ in range(500):
        held = [memory.array((size * MB,), BYTE) for size in (4, 16, 1)]
        del held
    assert len(host.calls) == 3


def test_no_more_is_pinned_than_was_needed_at_the_same_time() -> None:
    host = Host()
    memory = PinnedMemory(host.pin)
    for size in (*range(1, 40), *range(40, 0, -1)):
        memory.array((size * MB,), BYTE)
    assert host.most == 40 * MB


def test_memory_of_large_tiles_is_freed_after_some_small_ones() -> None:
    host = Host()
    memory = PinnedMemory(host.pin)
    memory.array((100 * MB,), BYTE)
    for _ in range(500):
        memory.array((MB,), BYTE)
    assert host.now == MB


def test_unused_memory_gives_way_before_memory_is_said_to_be_short() -> None:
    host = Host(limit=10 * MB)
    memory = PinnedMemory(host.pin)
    held = [memory.array((4 * MB,), BYTE) for _ in range(2)]
    held.clear()
    assert memory.array((7 * MB,), BYTE).nbytes == 7 * MB
    with pytest.raises(MemoryError):
        memory.array((11 * MB,), BYTE)
    assert memory.array((10 * MB,), BYTE).nbytes == 10 * MB


def test_threads_share_it() -> None:
    host = Host()
    memory = PinnedMemory(host.pin)

    def work(number: int) -> bool:
        array = memory.array((MB // 4,), np.dtype(np.int32))
        array[:] = number
        return bool((array == number).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(2000)))
    gc.collect()
    assert host.most <= 8 * MB

"""Devices that fail on request."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from support.cuda_host.host_device import HostArray, HostDevice, HostKernel, HostModule

from pixelforest.kernels.contract import DeviceFailed, DeviceOutOfMemory


@dataclass(eq=False)
class FaultyDevice(HostDevice):
    """Device that fails at its n-th launch, counted from 1, and at all later ones; only its n-th array has no memory.

    arrays  number of arrays requested so far
    """

    fails_at_launch: int | None = None
    full_at_array: int | None = None
    arrays: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.counting = threading.Lock()
        self.started = 0

    def empty(self, shape: tuple[int, ...], dtype: Any) -> HostArray:
        self.check()
        with self.counting:
            self.arrays += 1
            is_full = self.arrays == self.full_at_array
        if is_full:
            raise DeviceOutOfMemory("there is no room for this array")
        return super().empty(shape, dtype)

    def load(self, binary: bytes) -> HostModule:
        return _FaultyModule(self, super().load(binary).library)

    def download(self, array: HostArray) -> np.ndarray:
        self.check()
        return super().download(array)

    def synchronize(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise DeviceFailed after the fault."""
        if self.fails_at_launch is not None and self.started >= self.fails_at_launch:
            raise DeviceFailed("an illegal address was met")


class _FaultyModule(HostModule):
    def kernel(self, name: str) -> HostKernel:
        return _FaultyKernel(self, name)


class _FaultyKernel(HostKernel):
    def __call__(
        self,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: Sequence[HostArray | np.generic],
        *,
        shared_bytes: int = 0,
    ) -> None:
        device = self._module.device
        assert isinstance(device, FaultyDevice)
        with device.counting:
            device.started += 1
        device.check()
        super().__call__(grid, block, arguments, shared_bytes=shared_bytes)

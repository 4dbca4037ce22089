"""Arrays of other libraries on devices: tiles are computed where their image is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..contract import DeviceFailed, DeviceUnavailable, StagedSource
from .device import Device
from .pool import DevicePool
from .tiles import CudaJob


class CudaArrays:
    """See ``contract.arrays.ArrayBackend``. A device that fails is not replaced: the array is in its memory."""

    def __init__(self, pool: DevicePool) -> None:
        self._pool = pool

    def adopt(self, arrays: Sequence[Any]) -> list[Any]:
        device = self._device_of(arrays[0])
        if not all(device.holds(array) for array in arrays):
            raise DeviceUnavailable("the arrays are on different devices")
        return [device.share(array) for array in arrays]

    def empty(self, shape: tuple[int, ...], dtype: np.dtype, like: Any) -> Any:
        device = self._device_of(like)
        return device.share(device.share_empty(shape, dtype))

    def write_results(self, job: CudaJob) -> None:
        image = job.source.job.source if isinstance(job.source, StagedSource) else job.source
        worker = self._pool.take(lambda device: device.holds(image))
        if worker is None:
            raise DeviceFailed("the device that has the image failed before")
        try:
            worker.start(job).result()
        finally:
            self._pool.give_back(worker)

    @contextlib.contextmanager
    def restoring(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for device in dict.fromkeys(self._pool.devices):
                stack.enter_context(device.restoring())
            yield

    def _device_of(self, array: Any) -> Device:
        for device in self._pool.devices:
            if device.holds(array):
                return device
        raise DeviceUnavailable(f"the array is on a device that is not one of {self._pool.describe()}")

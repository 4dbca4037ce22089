"""Scheduling of tiles: to the least-loaded device; a failed device is retired.

The tiles of a failed device are rescheduled to the next one and, if that is allowed, to the CPU in the end. Results are
bit-identical wherever a tile runs.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from ..contract import DeviceFailed
from .device import Device
from .tiles import MEMORY_SHARE, DeviceWorker, ForestChoice

logger = logging.getLogger("pixelforest.kernels")

Answer = TypeVar("Answer")


class DevicePool:
    """Devices of one backend.

    devices      in order of use; a device that is given twice works with twice as many threads
    falls_back   the CPU takes over if the devices fail
    forests      forest inference engine
    """

    def __init__(
        self, devices: Sequence[Device], *, falls_back: bool = False, forests: ForestChoice | None = None
    ) -> None:
        assert devices
        self.falls_back, self.forests = falls_back, forests or ForestChoice()
        self._choosing, self._warned = threading.Lock(), set[str]()
        self._own = threading.local()
        places = Counter((device.name, device.index) for device in devices)
        shares = [MEMORY_SHARE / places[device.name, device.index] for device in devices]
        self.workers = [
            DeviceWorker(device, self.forests, self._warn_of_memory, share=share)
            for device, share in zip(devices, shares, strict=True)
        ]

    @property
    def devices(self) -> tuple[Device, ...]:
        """Devices in the order in which they were given."""
        return tuple(worker.device for worker in self.workers)

    def describe(self) -> str:
        """Describe the devices by numbers and names."""
        numbers = ",".join(str(device.index) for device in self.devices)
        return f"cuda:{numbers} ({', '.join(dict.fromkeys(device.name for device in self.devices))})"

    def alive(self) -> list[DeviceWorker]:
        """Devices that have not failed."""
        return [worker for worker in self.workers if not worker.is_lost]

    def run(self, on_device: Callable[[Device], Answer], on_cpu: Callable[[], Answer]) -> Answer:
        """Run a task on the calling thread's device, on another one, or on the CPU if devices have failed."""
        while (worker := self._own_worker()) is not None:
            try:
                return on_device(worker.device)
            except DeviceFailed as error:
                self.lose(worker, error)
        return on_cpu()

    def take(self, among: Callable[[Device], bool] = lambda device: True) -> DeviceWorker | None:
        """Return the device with the fewest tiles and count one more for it; None if all have failed.

        among  True for the devices that are considered
        """
        with self._choosing:
            alive = [worker for worker in self.alive() if among(worker.device)]
            if not alive:
                return None
            worker = min(alive, key=lambda each: each.waiting)
            worker.waiting += 1
            return worker

    def give_back(self, worker: DeviceWorker) -> None:
        """Count a tile as done or failed."""
        with self._choosing:
            worker.waiting -= 1

    def lose(self, worker: DeviceWorker, error: DeviceFailed) -> None:
        """Retire a device. Raises the error if nothing else may take over."""
        if not self.falls_back:
            raise error
        with self._choosing:
            is_first, worker.is_lost = not worker.is_lost, True
            heir = "another device" if self.alive() else "the CPU"
        if is_first:
            name = f"{worker.device.name} (cuda:{worker.device.index})"
            logger.warning("%s failed (%s); %s goes on with what is left, with the same result", name, error, heir)

    def warn_once(self, kind: str, text: str) -> None:
        """Log a warning unless one of its kind has been logged."""
        with self._choosing:
            is_first = kind not in self._warned
            self._warned.add(kind)
        if is_first:
            logger.warning("%s", text)

    def _own_worker(self) -> DeviceWorker | None:
        """Device that the calling thread keeps using; None if all have failed."""
        worker: DeviceWorker | None = getattr(self._own, "worker", None)
        if worker is None or worker.is_lost:
            alive = self.alive()
            worker = self._own.worker = alive[threading.get_ident() % len(alive)] if alive else None
        return worker

    def _warn_of_memory(self, text: str) -> None:
        self.warn_once("memory", text)

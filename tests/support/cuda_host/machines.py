"""Stand-ins for a device that tests run kernels on: PTX in two orders, or the shim where PTX cannot be interpreted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from support.cuda_host.host_device import HostDevice
from support.cuda_host.interpreter import find_missing
from support.cuda_host.ptx_device import PtxDevice

MakeDevice = Callable[..., HostDevice]


@dataclass(frozen=True)
class PtxMachine:
    """Settings of a ``PtxDevice``; CUDA 12 compiles for architectures that CUDA 13 no longer knows."""

    architecture: str
    seed: int = 0
    major: int = 13

    def __str__(self) -> str:
        return f"{self.architecture}:{self.seed}"

    def __call__(self, **settings: Any) -> HostDevice:
        return PtxDevice(architecture=self.architecture, seed=self.seed, major=self.major, **settings)


DEFAULTS = ("compute_90", "compute_75:1")


def parse_machine(text: str) -> PtxMachine:
    """Parse ARCHITECTURE or ARCHITECTURE:SEED, such as compute_90:7."""
    architecture, _, seed = text.partition(":")
    number = int(architecture.removeprefix("compute_").rstrip("af"))
    return PtxMachine(architecture, int(seed or 0), 13 if number >= 75 else 12)


def parameters(chosen: list[str]) -> list[Any]:
    """Parameters of the fixture ``make_device``: functions that make a device with given fields."""
    machines = [parse_machine(text) for text in chosen or DEFAULTS]
    reasons = [find_missing(machine.major) for machine in machines]
    made = [
        pytest.param(machine, id=str(machine), marks=[pytest.mark.skip(reason=reason)] if reason else [])
        for machine, reason in zip(machines, reasons, strict=True)
    ]
    return [pytest.param(HostDevice, id="shim"), *made] if all(reasons) else made

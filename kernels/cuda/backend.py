"""Backend of NVIDIA GPUs: pixels and labels on devices, objects on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

from ..contract import Backend
from ..cpu.label_backend import CpuLabels
from ..cpu.object_backend import CpuObjects
from ..cpu.pixel_backend import CpuPixels
from .array_backend import CudaArrays
from .device import Device
from .forest_choice import check_choice
from .label_backend import CudaLabels, label_kernels
from .launch import Compilation, compile_files
from .pixel_backend import CudaPixels, pixel_kernels
from .pool import DevicePool
from .tiles import ForestChoice


def compose_backend(
    devices: Sequence[Device], *, falls_back: bool = False, forests: ForestChoice | None = None
) -> Backend:
    """Compose a backend of some devices; the arguments are those of ``DevicePool``."""
    pool = DevicePool(devices, falls_back=falls_back, forests=forests)
    return Backend("cuda", CudaPixels(pool, CpuPixels()), CudaLabels(pool, CpuLabels()), CpuObjects(), CudaArrays(pool))


def open_backend(
    indices: Sequence[int] | None = None, *, falls_back: bool = False, forest: str = "auto", tunes: bool = True
) -> Backend:
    """Open the backend for the devices with these numbers (None: all). Raises DeviceUnavailable with the reason.

    tunes  variants of kernels are timed on the first tile, see tuning.py
    """
    check_choice(forest)
    from .cupy_device import open_devices

    return compose_backend(open_devices(indices), falls_back=falls_back, forests=ForestChoice(forest, tunes=tunes))


def common_kernels() -> list[Compilation]:
    """Kernels that most projects need."""
    return [*pixel_kernels(), *label_kernels()]


def warm(architectures: Sequence[str] = ()) -> int:
    """Compile and cache the common kernels. Returns their number. Raises KernelError.

    architectures  such as sm_90, of devices that need not be in this machine; none: those of its devices
    """
    from .cupy_device import Architecture

    compilations = common_kernels()
    if not architectures:
        open_backend().warm()
    targets = [
        Architecture(name) for name in architectures
    ]  # an unknown architecture is an error before anything is compiled
    for target in targets:
        compile_files(target, compilations)
    return len(compilations)

"""Description of the CUDA backend on this machine as text; no device is needed."""

from __future__ import annotations

from collections.abc import Callable

from ..contract import KernelError
from ..shared import cache
from . import nvforest

GIB = 1 << 30


def survey() -> list[tuple[str, str]]:
    """Describe driver, CuPy, compiler, devices with their memory, nvForest and caches, or that they are missing."""
    lines = [("driver and CuPy", _or_reason(_driver)), ("compiler", _or_reason(_compiler))]
    lines += _devices()
    missing = nvforest.find_missing()
    lines.append(("nvForest", f"not used: {missing}" if missing else "installed"))
    lines.append(("kernels kept in", cache.describe_folders()))
    return lines


def _driver() -> str:
    from .cupy_device import describe_driver

    return describe_driver()


def _compiler() -> str:
    from .cupy_device import describe_compiler

    return describe_compiler()


def _or_reason(describe: Callable[[], str]) -> str:
    try:
        return describe()
    except KernelError as error:
        return f"none: {error}"


def _devices() -> list[tuple[str, str]]:
    try:
        from .cupy_device import examine_devices

        usable, reasons = examine_devices()
        lines = {
            device.index: f"{device.name}, {device.architecture}, {device.multiprocessors} multiprocessors, "
            f"{device.free_bytes() / GIB:.1f} of {device.total_bytes / GIB:.1f} GiB free"
            for device in usable
        }
    except KernelError as error:
        return [("GPU", f"none: {error}")]
    return [(f"GPU {index}", text) for index, text in sorted((lines | reasons).items())]

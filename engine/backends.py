"""Choice and opening of a backend: the only access of the engine to kernels.

Backends are the folders of ``kernels`` and plug-ins: packages with the same modules that an entry point of the group
``pixelforest.backends`` names; the name of the entry point is that of the device. Plug-ins are looked for only if no
folder has the name, and ``auto`` never chooses one.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .. import kernels
from ..kernels.contract import Backend, DeviceUnavailable, KernelError
from .errors import BackendUnavailable, UsageError, setting
from .plug_ins import find_plug_ins
from .requests import FORESTS

if TYPE_CHECKING:
    from ..kernels.contract.training import ForestTrainer

# While a GPU starts, the CPU does GPU_START_S * CPU_VOXELS_PER_S * threads voxels. By bench/gpu_pipeline.py a GPU is
# done first from 1.1 times as many voxels on in 3-D, from twice as many in 2-D; a T4 from 1.7 and 3.4 times as many.
GPU_START_S = 1.0  # 0.5 to import CuPy, 0.4 for driver and context, 0.1 to load cached kernels and pin memory
CPU_VOXELS_PER_S = 1_600_000  # of one thread, for all features in 3-D and 100 trees; bench/results/2026-11-22-table.md

logger = logging.getLogger("pixelforest.backends")


def open_backend(
    device: str, forest: str = "auto", *, tunes: bool = True, voxels: int | None = None, threads: int = 1
) -> Backend:
    """Open the backend for a ``--device`` value: auto, cpu, cuda, cuda with device numbers, or the name of a plug-in.

    forest           forest inference engine on a GPU: native, nvforest, or auto, which is native
    tunes            variants of kernels are timed on a GPU, instead of chosen by rule
    voxels, threads  amount of work and threads for it: with ``auto`` the CPU does work that it finishes before a GPU
                     has started; None: any amount of work
    With ``auto`` a log line gives the reason for choosing the CPU, and the CPU takes over where a GPU fails.
    Raises UsageError for other values and for nvforest on the CPU, BackendUnavailable if the device cannot be used.
    """
    kind, _, numbers = device.partition(":")
    if forest not in FORESTS:
        raise UsageError(f"there is no forest {forest!r}; choose one of: {', '.join(FORESTS)}")
    if not is_device(kind):
        raise UsageError(f"there is no device {device!r}; choose {describe_devices()}")
    if forest == "nvforest" and kind not in ("auto", "cuda"):
        raise UsageError(
            f"{setting('forest')}=nvforest needs a GPU, but {setting('device')}={device} was given; leave out one "
            "of the two"
        )
    if kind == "cpu":
        return _open_cpu()
    indices = tuple(int(number) for number in numbers.split(",")) if numbers else None
    if kind not in ("auto", "cuda"):
        return _open_other(device, indices)
    if kind == "auto" and forest == "auto" and voxels is not None and is_short(voxels, threads):
        logger.info(
            "Using the CPU: this job is done before a GPU has started (%s takes one anyway)", setting("device", "cuda")
        )
        return _open_cpu()
    try:
        return kernels.load("cuda", indices=indices, falls_back=kind == "auto", forest=forest, tunes=tunes)
    except (DeviceUnavailable, ImportError) as error:
        if kind == "cuda":
            raise BackendUnavailable(
                f"{setting('device')}={device}: {error}; {setting('device')}=cpu works without a GPU"
            ) from None
        if forest == "nvforest":
            raise BackendUnavailable(f"{setting('forest')}=nvforest: {error}; leave it out to use the CPU") from None
        logger.info("Using the CPU: %s", error)
    return _open_cpu()


def _open_cpu() -> Backend:
    try:
        return kernels.load("cpu")
    except DeviceUnavailable as error:
        raise BackendUnavailable(f"the CPU cannot be used: {error}") from None


def _open_other(device: str, indices: tuple[int, ...] | None) -> Backend:
    """Open a backend that ``auto`` does not choose."""
    name = device.partition(":")[0]
    package = None if name in kernels.available() else plugged_devices()[name]
    try:
        return kernels.load(name, package=package, indices=indices)
    except (KernelError, ImportError) as error:
        raise BackendUnavailable(f"{setting('device')}={device}: {error}") from None


def is_device(name: str) -> bool:
    """Return True for auto and for the name of a backend, whether or not its device exists on this machine."""
    return name in ("auto", *kernels.available()) or name in plugged_devices()


def plugged_devices() -> dict[str, str]:
    """Map the device names that installed packages add to the names of these packages."""
    return {entry.name: entry.module for entry in find_plug_ins("pixelforest.backends")}


def describe_devices() -> str:
    """List the values of ``--device`` in one phrase."""
    return ", ".join(["auto", *dict.fromkeys([*kernels.available(), *plugged_devices()])]) + " or cuda:0,1"


def open_trainer() -> ForestTrainer:
    """Open the trainer of forests. Raises BackendUnavailable if the CPU cannot be used."""
    _open_cpu()
    return kernels.load_trainer()


def warm_architecture(architecture: str) -> int:
    """Compile and cache GPU kernels for an architecture such as sm_90, with or without such a device.

    Returns the number of files. Raises BackendUnavailable with the reason.
    """
    try:
        return kernels.warm("cuda", architectures=(architecture,))
    except (KernelError, ImportError) as error:
        raise BackendUnavailable(f"nothing can be compiled for {architecture}: {error}") from None


def always_available(device: str, forest: str) -> bool:
    """Return True if a backend for these options can be opened on any machine, so that it need not be tried early."""
    return device in ("auto", "cpu") and forest == "auto"


def survey_backends() -> dict[str, list[tuple[str, str]]]:
    """Facts that each backend finds on this machine: backend -> (name, text) pairs."""
    found = {name: list(kernels.survey(name)) for name in kernels.available()}
    for name, package in plugged_devices().items():
        try:
            found.setdefault(name, list(kernels.survey(name, package=package)))
        except ImportError as error:
            found[name] = [("plug-in", f"cannot be described: {error}")]
    return found


def is_short(voxels: int, threads: int) -> bool:
    """Return True if the CPU finishes this much work before a GPU has started."""
    return voxels < GPU_START_S * CPU_VOXELS_PER_S * threads

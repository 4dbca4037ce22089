"""Choice and opening of a backend: the only access of the engine to kernels."""

from __future__ import annotations

import logging

from .. import kernels
from ..kernels.contract import Backend, DeviceUnavailable, KernelError
from .errors import BackendUnavailable, UsageError, setting
from .requests import FORESTS

GPU_START_S = 2.0  # libraries, driver and kernels, before the first result
CPU_VOXELS_PER_S = 500_000  # of one thread, about, for all features and 100 trees

logger = logging.getLogger("pixelforest.backends")


def open_backend(device: str, forest: str = "auto", *, voxels: int | None = None, threads: int = 1) -> Backend:
    """Open the backend for a ``--device`` value: auto, cpu, cuda, or cuda with device numbers.

    forest           forest inference engine on a GPU: native, nvforest, or auto, which is native
    voxels, threads  amount of work and threads for it: with ``auto`` the CPU does work that it finishes before a GPU
                     has started; None: any amount of work
    With ``auto`` a log line gives the reason for choosing the CPU, and the CPU takes over where a GPU fails.
    Raises UsageError for other values and for nvforest on the CPU, BackendUnavailable if the device cannot be used.
    """
    kind, _, numbers = device.partition(":")
    if forest not in FORESTS:
        raise UsageError(f"there is no forest {forest!r}; choose one of: {', '.join(FORESTS)}")
    if forest == "nvforest" and kind == "cpu":
        raise UsageError(
            f"{setting('forest')}=nvforest needs a GPU, but {setting('device')}={device} was given; leave out one "
            "of the two"
        )
    if kind not in ("auto", "cpu", "cuda"):
        raise UsageError(f"there is no device {device!r}; choose auto, cpu, cuda or cuda:0,1")
    if kind == "cpu":
        return _open_cpu()
    indices = tuple(int(number) for number in numbers.split(",")) if numbers else None
    if kind == "auto" and forest == "auto" and voxels is not None and is_short(voxels, threads):
        logger.info(
            "Using the CPU: this job is done before a GPU has started (%s takes one anyway)", setting("device", "cuda")
        )
        return _open_cpu()
    try:
        return kernels.load("cuda", indices=indices, falls_back=kind == "auto", forest=forest)
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
    return {name: list(kernels.survey(name)) for name in kernels.available()}


def is_short(voxels: int, threads: int) -> bool:
    """Return True if the CPU finishes this much work before a GPU has started."""
    return voxels < GPU_START_S * CPU_VOXELS_PER_S * threads

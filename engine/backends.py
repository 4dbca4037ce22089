"""Chooses and opens a backend: the one door from the engine to kernels."""

from __future__ import annotations

import logging

from .. import kernels
from ..kernels.contract import Backend, DeviceUnavailable, KernelError
from .errors import BackendUnavailable, UsageError, setting

FORESTS = ("auto", "native", "nvforest")
GPU_START_S = 2.0  # libraries, driver and kernels, before the first result
CPU_VOXELS_PER_S = 500_000  # of one thread, about, for all features and 100 trees

logger = logging.getLogger("pixelforest.backends")


def open_backend(device: str, forest: str = "auto", *, voxels: int | None = None, threads: int = 1) -> Backend:
    """The backend for a ``--device`` value: auto, cpu, cuda, or cuda with device numbers.

    forest           what walks forests on a GPU: native, nvforest, or auto, which is native
    voxels, threads  the work and the threads for it: what these do sooner than a GPU starts is not given to one by
                     ``auto``; None: any amount of work
    With ``auto`` one line says why it is the CPU, and the CPU goes on where a GPU fails.
    Raises UsageError for other words and for nvforest on the CPU, BackendUnavailable where the device cannot be used.
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
        logger.info("Using the CPU: this job is done before a GPU has started (--device=cuda takes one anyway)")
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
    """Compile GPU kernels for devices such as sm_90, which need not be here, and keep them; how many files.

    Raises BackendUnavailable with the reason.
    """
    try:
        return kernels.warm("cuda", architectures=(architecture,))
    except (KernelError, ImportError) as error:
        raise BackendUnavailable(f"nothing can be compiled for {architecture}: {error}") from None


def is_sure(device: str, forest: str) -> bool:
    """Whether a backend can be opened for these anywhere, so that nobody needs to try before there is work."""
    return device in ("auto", "cpu") and forest == "auto"


def survey_backends() -> dict[str, list[tuple[str, str]]]:
    """Name of each backend -> what it finds on this machine, as names and texts."""
    return {name: list(kernels.survey(name)) for name in kernels.available()}


def is_short(voxels: int, threads: int) -> bool:
    """Whether the CPU has done so much work before a GPU has started."""
    return voxels < GPU_START_S * CPU_VOXELS_PER_S * threads

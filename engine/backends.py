"""Chooses and opens a backend: the one door from the engine to kernels."""

from __future__ import annotations

from .. import kernels
from ..kernels.contract import Backend
from .errors import BackendUnavailable, UsageError

FORESTS = ("auto", "native", "nvforest")


def open_backend(device: str, forest: str = "auto") -> Backend:
    """The backend for a ``--device`` value: auto, cpu, cuda, or cuda with device numbers.

    forest   what walks forests on a GPU: native, nvforest, or auto, which is native
    Raises UsageError for other words and for nvforest on the CPU, BackendUnavailable where the device cannot be used.
    """
    kind = device.split(":", 1)[0]
    if forest not in FORESTS:
        raise UsageError(f"there is no forest {forest!r}; choose one of: {', '.join(FORESTS)}")
    if forest == "nvforest" and kind == "cpu":
        raise UsageError(f"--forest=nvforest needs a GPU, but --device={device} was given; leave out one of the two")
    if kind not in ("auto", "cpu", "cuda"):
        raise UsageError(f"there is no device {device!r}; choose auto, cpu, cuda or cuda:0,1")
    if kind == "cuda" and "cuda" not in kernels.available():
        raise BackendUnavailable(
            f"--device={device}: this version of pixelforest has no CUDA backend yet; use --device=cpu or auto"
        )
    if forest == "nvforest" and kind == "auto":
        raise BackendUnavailable("--forest=nvforest needs a GPU, and there is none here; leave it out to use the CPU")
    return kernels.load("cpu" if kind == "auto" else kind)

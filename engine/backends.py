"""Chooses and opens a backend: the one door from the engine to kernels."""

from __future__ import annotations

from .. import kernels
from ..kernels.contract import Backend
from .errors import BackendUnavailable, UsageError


def open_backend(device: str) -> Backend:
    """The backend for a ``--device`` value: auto, cpu, cuda, or cuda with device numbers.

    Raises UsageError for another word, BackendUnavailable where the device cannot be used.
    """
    kind = device.split(":", 1)[0]
    if kind not in ("auto", "cpu", "cuda"):
        raise UsageError(f"there is no device {device!r}; choose auto, cpu, cuda or cuda:0,1")
    if kind == "cuda" and "cuda" not in kernels.available():
        raise BackendUnavailable(
            f"--device={device}: this version of pixelforest has no CUDA backend yet; use --device=cpu or auto"
        )
    return kernels.load("cpu" if kind == "auto" else kind)

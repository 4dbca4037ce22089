"""CPU backend, composed of its three parts."""

from __future__ import annotations

from ..contract import Backend
from .label_backend import CpuLabels
from .loader import load_library
from .object_backend import CpuObjects
from .pixel_backend import CpuPixels


def open_backend() -> Backend:
    """Compose the backend of this folder. Raises DeviceUnavailable if its kernels cannot run here."""
    load_library()
    return Backend("cpu", CpuPixels(), CpuLabels(), CpuObjects())

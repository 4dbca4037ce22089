"""CPU backend, composed of its three parts."""

from __future__ import annotations

from ..contract import Backend, DeviceUnavailable
from .build.cache_key import missing_features
from .label_backend import CpuLabels
from .loader import warm
from .object_backend import CpuObjects
from .pixel_backend import CpuPixels

__all__ = ["open_backend", "warm"]


def open_backend() -> Backend:
    """Compose the backend of this folder.

    Raises
    ------
    DeviceUnavailable
        The kernels would be compiled for another processor.
    """
    missing = missing_features()
    if missing:
        raise DeviceUnavailable(
            f"NUMBA_CPU_FEATURES turns on {', '.join(missing)}, which this processor lacks; unset it, or name features "
            "that all processors have which run the kernels"
        )
    return Backend("cpu", CpuPixels(), CpuLabels(), CpuObjects())

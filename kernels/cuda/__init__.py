"""CUDA backend. Importing this package imports no CUDA library; only ``cupy_device`` does."""

from __future__ import annotations

import ctypes
import sys

from ..contract import DeviceUnavailable


def check_presence() -> None:
    """Load the driver's library, which CuPy needs. Raises DeviceUnavailable.

    Most machines have none. This check is faster than importing the backend, and importing CuPy takes longer than a
    small job.
    """
    if "cupy" in sys.modules:
        return
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        raise DeviceUnavailable("there is no NVIDIA driver on this machine") from None

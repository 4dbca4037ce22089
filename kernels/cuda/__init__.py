"""The CUDA backend. Importing this imports nothing of CUDA; only ``cupy_device`` does."""

from __future__ import annotations

import ctypes
import sys

from ..contract import DeviceUnavailable


def check_presence() -> None:
    """Whether the driver's library, which CuPy will load, can be loaded. Raises DeviceUnavailable.

    Most machines have none, and importing this backend takes longer than to see that; CuPy, longer than a small job.
    """
    if "cupy" in sys.modules:
        return
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        raise DeviceUnavailable("there is no NVIDIA driver on this machine") from None

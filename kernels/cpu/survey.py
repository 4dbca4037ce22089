"""Description of the CPU backend on this machine."""

from __future__ import annotations

from .loader import LIBRARY


def survey() -> list[tuple[str, str]]:
    """Describe the library of kernels."""
    return [("kernels", str(LIBRARY))]

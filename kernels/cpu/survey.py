"""Description of the CPU backend on this machine."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from ..shared import cache


def survey() -> list[tuple[str, str]]:
    """Describe the compiler and the cache of compiled kernels."""
    try:
        compiler = f"numba {version('numba')}"
    except PackageNotFoundError:
        compiler = "numba is not installed; kernels that are not in a cache cannot be compiled"
    return [("compiler", compiler), ("kernels kept in", cache.describe_folders())]

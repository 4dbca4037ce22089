"""What the CPU backend finds on this machine."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from ..shared import cache


def survey() -> list[tuple[str, str]]:
    """The compiler, and where compiled kernels are kept."""
    try:
        compiler = f"numba {version('numba')}"
    except PackageNotFoundError:
        compiler = "numba is not installed; kernels that are not in a cache cannot be compiled"
    places = [f"{folder}{'' if folder.exists() else ' (not there yet)'}" for folder in cache.folders()]
    return [("compiler", compiler), ("kernels kept in", "; ".join(places))]

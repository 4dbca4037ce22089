"""The library of the emulated GPUs: whether this machine can build and use it, and its compilation."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from pathlib import Path

from support.cuda_host import interpreter
from support.cuda_host.build import INTERPRETER, INTERPRETER_FLAGS, build_once, compiler_version, run_compiler

SOURCES = Path(__file__).with_name("stand_in")


def are_in_use() -> bool:
    """Return whether the GPUs of this process are emulated: tests for GPUs then take smaller images."""
    return "EMULATED_LIBRARY" in os.environ


def find_missing() -> str | None:
    """Return the reason why GPUs cannot be emulated here, as a phrase; None if they can."""
    if importlib.util.find_spec("cupy_backends") is None:
        return "CuPy is not installed; see make gpu-emulated"
    if reason := interpreter.find_missing():
        return reason
    version = "12" if _is_installed("cupy-cuda12x") else "13"
    if not _is_installed(f"cupy-cuda{version}x"):
        return "CuPy is not that of a wheel, which has CUDA's runtime inside"
    if _find_headers() is None:
        return f"the headers of CUDA {version} are not installed; see tests/requirements-emulated.txt"
    return None


def build() -> Path:
    """Compile the library, or take it from the cache. Raises DeviceFailed with the compiler's message."""
    headers = _find_headers()
    assert headers is not None, "find_missing tells"
    files = sorted([*SOURCES.iterdir(), *INTERPRETER.iterdir()])
    sources = [str(file) for file in files if file.suffix == ".cpp"]
    # Only the functions of CUDA are visible, so that NVRTC does not find C++ functions of the same name here.
    flags = (*INTERPRETER_FLAGS, "-fvisibility=hidden", f"-I{headers}", f"-I{INTERPRETER}", "-Wl,-soname,libcuda.so.1")

    def make(scratch: Path) -> Path:
        library = scratch / "libcuda.so.1"
        run_compiler("the emulated GPUs", *flags, *sources, "-o", str(library))
        return library

    return build_once("emulated-gpu", [*(file.read_text() for file in files), *flags, compiler_version()], make)


def _find_headers() -> Path | None:
    """Folder of CUDA's headers among those of wheels: the runtime's, with those of the compiler's front end."""
    for name in ("cu13", "cuda_runtime"):
        spec = importlib.util.find_spec("nvidia")
        for root in spec.submodule_search_locations or () if spec else ():
            folder = Path(root) / name / "include"
            if (folder / "cuda_runtime_api.h").exists() and (folder / "crt" / "host_defines.h").exists():
                return folder
    return None


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True

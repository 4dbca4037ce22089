"""NVRTC from its wheel, without CUDA's Python packages or a GPU: from source to PTX and a report of ptxas."""

from __future__ import annotations

import ctypes
import importlib.metadata
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pixelforest.kernels.contract import DeviceFailed
from pixelforest.kernels.cuda.launch import compile_options, read_source

WHEELS = {13: "nvidia-cuda-nvrtc", 12: "nvidia-cuda-nvrtc-cu12"}
_ENTRY = re.compile(r"Compiling entry function '(\w+)' for")
_SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


class CompileError(DeviceFailed):
    """NVRTC refused a source; the message is its log."""


@dataclass(frozen=True)
class KernelReport:
    """Report of ptxas on a kernel. stack and spills in bytes; shared: static shared memory, bytes."""

    registers: int
    stack: int
    spills: int
    shared: int


@dataclass(frozen=True)
class Compiled:
    ptx: str
    cubin: bytes
    kernels: dict[str, KernelReport]


def library_path(major: int) -> Path | None:
    """Path of libnvrtc in the installed wheel of a CUDA version."""
    try:
        files = importlib.metadata.files(WHEELS[major]) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    named = re.compile(rf"(libnvrtc\.so\.{major}|nvrtc64_{major}\d*_\d+\.dll)$")
    return next((Path(str(file.locate())) for file in files if named.search(file.name)), None)


def compile_kernels(name: str, architecture: str, *, major: int, defines: tuple[str, ...] = ()) -> Compiled:
    """Compile a file of kernels/cuda as the product does. Raises CompileError.

    For an architecture such as compute_90 the result is PTX.
    """
    return compile_source(read_source(name), name, architecture, compile_options(defines), major=major)


def compile_source(source: str, name: str, architecture: str, options: tuple[str, ...], *, major: int) -> Compiled:
    """Compile CUDA C. Raises CompileError."""
    nvrtc = _library(major)
    options = (f"--gpu-architecture={architecture}", "--ptxas-options=-v", *options)
    program = ctypes.c_void_p()
    _check(nvrtc, nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), name.encode(), 0, None, None))
    try:
        words = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        status = nvrtc.nvrtcCompileProgram(program, len(options), words)
        log = _fetch(nvrtc, program, "ProgramLog").decode(errors="replace")
        if status:
            raise CompileError(f"{name} for {architecture} does not compile with {' '.join(options)}:\n{log}")
        ptx = _fetch(nvrtc, program, "PTX").decode()
        cubin = b"" if architecture.startswith("compute_") else _fetch(nvrtc, program, "CUBIN")
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return Compiled(ptx, cubin, _reports(log))


def compiler_version(major: int) -> str:
    """Version of the NVRTC in the installed wheel."""
    return importlib.metadata.version(WHEELS[major])


def _reports(log: str) -> dict[str, KernelReport]:
    parts = _ENTRY.split(log)
    found = {}
    for kernel, text in zip(parts[1::2], parts[2::2], strict=True):
        spills, used, shared = _SPILLS.search(text), _USED.search(text), _SHARED.search(text)
        assert spills
        assert used, f"ptxas reports in another form: {text}"
        stack, stores, loads = (int(n) for n in spills.groups())
        found[kernel] = KernelReport(int(used[1]), stack, stores + loads, int(shared[1]) if shared else 0)
    return found


@cache
def _library(major: int) -> ctypes.CDLL:
    path = library_path(major)
    assert path, f"install {WHEELS[major]}"
    library = ctypes.CDLL(str(path))
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library


def _check(nvrtc: ctypes.CDLL, status: int) -> None:
    if status:
        raise CompileError(nvrtc.nvrtcGetErrorString(status).decode())


def _fetch(nvrtc: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}")(program, buffer))
    return buffer.raw[: size.value].rstrip(b"\0") if what != "CUBIN" else buffer.raw[: size.value]

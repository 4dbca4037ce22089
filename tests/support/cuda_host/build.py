"""Compilation of CUDA C to a shared library for the host: the shim first, then a launch function per kernel."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from pixelforest.kernels.contract import DeviceFailed, DeviceUnavailable

SHIM = Path(__file__).with_name("cuda_shim.h")
INTERPRETER = Path(__file__).parents[2] / "ptx" / "interpreter"
# Stands where a compiler has its version: what is made here is never taken for a real compiler's or an older shim's.
SHIM_NUMBER = 10_000 + int(hashlib.sha256(SHIM.read_bytes() + Path(__file__).read_bytes()).hexdigest()[:8], 16)
_KERNEL = re.compile(
    r'extern\s+"C"\s+(?P<before>(?:SHIM_GLOBAL|SHIM_BOUNDS\s*\([^()]*\)|void|\s)*?)'
    r"\b(?P<name>\w+)\s*\((?P<parameters>[^()]*)\)\s*\{"
)
_BOUNDS = re.compile(r"SHIM_BOUNDS\s*\(([^,()]*)")
INTERPRETER_FLAGS = (
    "-std=c++17", "-O2", "-ffp-contract=off", "-fno-math-errno", "-mfma", "-mavx2", "-fPIC", "-shared",
)  # fmt: skip
_FLAGS = ("-std=c++17", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-w")


def build_library(source: str, name: str, options: tuple[str, ...], *, optimise: bool = True) -> bytes:
    """Compile a source to a shared library with ``launch_K`` and ``parameters_K`` for every kernel K. Returns bytes.

    Without ``optimise`` compilation is three times faster and the code several times slower. Of NVRTC's options only
    the defines matter; contraction is always off. Raises DeviceFailed with the compiler's message. Libraries are cached
    in a temporary folder.
    """
    prefix = "--define-macro="
    defines = tuple(f"-D{option.removeprefix(prefix)}" for option in options if option.startswith(prefix))
    text = f'#include "{SHIM}"\n{source}'
    parts = (
        text,
        SHIM.read_text(),
        Path(__file__).read_text(),
        *defines,
        str(optimise),
        *_processor_flags(),
        *_check_flags(),
        compiler_version(),
    )

    def make(scratch: Path) -> Path:
        return _compile(text, name, defines, scratch, optimise=optimise)

    return build_once(Path(name).stem, parts, make).read_bytes()


def build_interpreter() -> Path:
    """Compile the interpreter of PTX in tests/ptx/interpreter, or take it from the cache. Raises DeviceFailed."""
    files = sorted(INTERPRETER.glob("*"))
    sources = [str(file) for file in files if file.suffix == ".cpp"]

    def make(scratch: Path) -> Path:
        library = scratch / "interpreter.so"
        run_compiler("the interpreter of PTX", *INTERPRETER_FLAGS, *sources, "-o", str(library))
        return library

    return build_once("ptx", [*(file.read_text() for file in files), *INTERPRETER_FLAGS, compiler_version()], make)


def build_once(name: str, parts: Sequence[str], make: Callable[[Path], Path]) -> Path:
    """Path of a library in the cache; ``make`` makes it in a scratch folder unless it was made from equal parts."""
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    folder = Path(tempfile.gettempdir()) / f"pixelforest-host-kernels-{os.getuid() if hasattr(os, 'getuid') else ''}"
    folder.mkdir(mode=0o700, exist_ok=True)
    kept = folder / f"{name}-{key}.so"
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            os.replace(make(Path(scratch)), kept)
    return kept


def _compile(text: str, name: str, defines: tuple[str, ...], scratch: Path, *, optimise: bool) -> Path:
    source, expanded, library = scratch / "kernel.cpp", scratch / "expanded.cpp", scratch / "kernel.so"
    source.write_text(text)
    markers = ("-D__global__=SHIM_GLOBAL", "-D__launch_bounds__(...)=SHIM_BOUNDS(__VA_ARGS__)")
    run_compiler(
        name,
        "-E",
        "-std=c++17",
        *defines,
        *_processor_flags(),
        *_check_flags(),
        *markers,
        str(source),
        "-o",
        str(expanded),
    )
    text = expanded.read_text()
    launchers = "\n".join(_launcher(match) for match in _KERNEL.finditer(text) if "SHIM_GLOBAL" in match["before"])
    expanded.write_text(f"{text}\n{launchers}\n")
    unmarked = ("-DSHIM_GLOBAL=", "-DSHIM_BOUNDS(...)=", "-DSHIM_UNCHECKED=__attribute__((no_sanitize_address))")
    run_compiler(
        name,
        "-O2" if optimise else "-O0",
        *_FLAGS,
        *_processor_flags(),
        *_check_flags(),
        *unmarked,
        "-shared",
        str(expanded),
        "-o",
        str(library),
    )
    return library


def _launcher(kernel: re.Match[str]) -> str:
    """Source of a kernel's launch function, which unpacks an array of pointers to the arguments."""
    types = [_parameter_type(p) for p in kernel["parameters"].split(",") if p.strip() not in ("", "void")]
    values = ", ".join(f"*({kind}*)a[{i}]" for i, kind in enumerate(types))
    bound = _BOUNDS.search(kernel["before"])
    name = kernel["name"]
    return (
        f'extern "C" const char* parameters_{name}() {{ return "{"|".join(types)}"; }}\n'
        f"SHIM_UNCHECKED static void call_{name}(void** a) {{ {name}({values}); }}\n"
        f'extern "C" const char* launch_{name}(const shim::Launch* l, void** a) {{\n'
        f"    return shim::run(*l, {bound[1] if bound else 0}, call_{name}, a);\n}}"
    )


def _parameter_type(parameter: str) -> str:
    """Type of ``const float* __restrict__ values``, without ``__restrict``."""
    words = re.sub(r"\b__restrict(__)?\b", " ", parameter)
    words = re.sub(r"\s+", " ", words).strip()
    return re.sub(r"\s*\b\w+$", "", words).replace(" *", "*")


def run_compiler(name: str, *arguments: str) -> None:
    done = subprocess.run([_compiler(), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeviceFailed(f"{name} does not compile on the host: {done.stderr.strip()[:4000]}")


@cache
def _compiler() -> str:
    for name in (os.environ.get("CXX"), "g++", "c++"):
        if name and (found := shutil.which(name)):
            return found
    raise DeviceUnavailable("the kernels cannot run on the host: there is no C++ compiler (g++)")


@cache
def compiler_version() -> str:
    return subprocess.run([_compiler(), "--version"], capture_output=True, text=True, check=True).stdout


@cache
def _processor_flags() -> tuple[str, ...]:
    """Compiler flags for hardware fused multiply-adds if the processor has them; otherwise a slow library function."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return ()
    information = Path("/proc/cpuinfo")
    return ("-mfma",) if information.exists() and " fma " in information.read_text() else ()


@cache
def _check_flags() -> tuple[str, ...]:
    """Compiler flags for calls of the shim before every access, of GCC on Linux."""
    if sys.platform != "linux" or "Free Software Foundation" not in compiler_version():
        return ()
    options = ("asan-instrumentation-with-call-threshold=0", "asan-stack=0", "asan-globals=0")
    return ("-DSHIM_CHECKS", "-fsanitize=kernel-address", *(f"--param={option}" for option in options))

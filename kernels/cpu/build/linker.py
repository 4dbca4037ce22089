"""Linking of object files to a shared library.

The package ziglang links for all platforms if it is installed; otherwise the system's linker does for Linux.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from .inspection import FUNCTIONS, UNIVERSAL_C_LIBRARY
from .targets import Target

# For ELF: no debug information, paths or build id, so equal objects make equal libraries; symbols resolved on loading.
_ELF_OPTIONS = (
    "-shared", "-strip-all", "-build-id=none", "-gc-sections", "-hash-style=gnu",
    "-z", "now", "-z", "relro", "-z", "noexecstack", "-z", "noseparate-code",
)  # fmt: skip
_ZIG = (sys.executable, "-m", "ziglang")


class LinkFailed(Exception):
    """The library could not be linked; the message says why."""


def link(objects: Sequence[Path], output: Path, target: Target, exported: Sequence[str]) -> None:
    """Link object files of a target to a shared library that needs only the C library. Raises LinkFailed.

    exported  names that the library exports, which only Windows has to be told
    """
    if find_spec("ziglang") is None and not (target.system == sys.platform == "linux" and shutil.which("ld")):
        raise LinkFailed("there is no linker: install binutils, or the Python package ziglang")
    {"linux": _link_elf, "macos": _link_mach_o, "windows": _link_pe}[target.system](objects, output, target, exported)


def _link_elf(objects: Sequence[Path], output: Path, target: Target, exported: Sequence[str]) -> None:
    linker = ["ld"] if find_spec("ziglang") is None else [*_ZIG, "ld.lld"]
    _run(*linker, *_ELF_OPTIONS, "-o", output, *objects)


def _link_mach_o(objects: Sequence[Path], output: Path, target: Target, exported: Sequence[str]) -> None:
    """Link with zig's own linker, which also signs: macOS on arm64 loads no library without a signature."""
    machine, version = target.machine.replace("arm64", "aarch64"), target.triple.partition("macosx")[2]
    caches = [word for option in ("--cache-dir", "--global-cache-dir") for word in (option, output.parent / "zig")]
    _run(
        *_ZIG, "build-lib", "-dynamic", "-target", f"{machine}-macos.{version}", "-fstrip", "-fno-compiler-rt", "-lc",
        "-install_name", f"@rpath/{output.name}", f"-femit-bin={output}", *caches, *objects,
    )  # fmt: skip


def _link_pe(objects: Sequence[Path], output: Path, target: Target, exported: Sequence[str]) -> None:
    """Link to the C library that is part of Windows, by name, without any start-up code."""
    names, imports, imported = (output.with_suffix(f".{suffix}") for suffix in ("exports", "imports", "lib"))
    names.write_text("\n".join([f"LIBRARY {output.name}", "EXPORTS", *exported]))
    imports.write_text("\n".join([f"LIBRARY {UNIVERSAL_C_LIBRARY}", "EXPORTS", *sorted(FUNCTIONS)]))
    _run(*_ZIG, "dlltool", "-m", "i386:x86-64", "-d", imports, "-l", imported)
    _run(
        *_ZIG, "lld-link", "-dll", "-noentry", "-nodefaultlib", "-machine:x64", "-Brepro", f"-def:{names}",
        f"-out:{output}", f"-implib:{output.with_suffix('.unused')}", *objects, imported,
    )  # fmt: skip


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise LinkFailed(f"{command[0]} ended with status {done.returncode}: {done.stderr.strip()}")

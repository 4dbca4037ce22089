"""Linking of object files to a shared library, by the system's linker or the one of the package ziglang."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

# For ELF: no debug information, paths or build id, so equal objects make equal libraries; symbols resolved on loading.
_OPTIONS = (
    "-shared", "-strip-all", "-build-id=none", "-gc-sections", "-hash-style=gnu",
    "-z", "now", "-z", "relro", "-z", "noexecstack", "-z", "noseparate-code",
)  # fmt: skip


class LinkFailed(Exception):
    """The library could not be linked; the message says why."""


def link(objects: Sequence[Path], output: Path, triple: str) -> None:
    """Link object files of a system to a shared library that needs only the C library. Raises LinkFailed."""
    start = [*_elf_linker(), *_OPTIONS] if "linux" in triple else _foreign_linker(triple)
    command = [*start, "-o", str(output), *(str(each) for each in objects)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise LinkFailed(f"{command[0]} ended with status {done.returncode}: {done.stderr.strip()}")


def _elf_linker() -> list[str]:
    if sys.platform == "linux" and shutil.which("ld") is not None:
        return ["ld"]
    return [*_zig(), "ld.lld"]


def _foreign_linker(triple: str) -> list[str]:
    """Linker for macOS or Windows, wherever it runs."""
    system = "windows-gnu" if "windows" in triple else "macos"
    machine = triple.partition("-")[0].replace("arm64", "aarch64")
    return [*_zig(), "cc", "-target", f"{machine}-{system}", "-shared", "-s"]


def _zig() -> list[str]:
    if find_spec("ziglang") is None:
        raise LinkFailed("there is no linker: install binutils, or the Python package ziglang")
    return [sys.executable, "-m", "ziglang"]

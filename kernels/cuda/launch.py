"""Kernel files: from the .cu beside this module to a loaded kernel, compiled once a machine.

Binaries are kept in a folder that may be lost at any time; one that cannot be written is no error. Nothing here is
about images: these are the only files that kernels read or write.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from weakref import WeakKeyDictionary

from ..contract import DeviceFailed
from .device import Device, Kernel, Module

FOLDER = Path(__file__).parent

OPTIONS = ("--std=c++17", "--fmad=false", "--prec-div=true", "--prec-sqrt=true", "--ftz=false")
"""Options of every compilation: nothing is contracted, divisions and roots are correctly rounded."""

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([\w.]+)"[ \t]*$', re.MULTILINE)
_DIGEST = 32  # bytes of the checksum before each cached binary

_loaded: WeakKeyDictionary[Device, dict[tuple[str, tuple[str, ...]], Module]] = WeakKeyDictionary()
_lock = threading.Lock()


@dataclass(frozen=True)
class KernelFile:
    """A .cu file of this folder, named without the folder."""

    name: str

    def kernel(self, device: Device, kernel: str, defines: tuple[str, ...] = ()) -> Kernel:
        """A kernel of this file, compiled with ``defines`` such as "RADIUS=3". Raises DeviceFailed."""
        return self.module(device, defines).kernel(kernel)

    def module(self, device: Device, defines: tuple[str, ...] = ()) -> Module:
        """This file on the device: compiled, or from the cache. Raises DeviceFailed."""
        with _lock:
            modules = _loaded.setdefault(device, {})
            found = modules.get((self.name, defines))
        if found is None:
            # Two threads may both get here; they make the same thing.
            found = _build(device, self.name, defines)
            with _lock:
                found = modules.setdefault((self.name, defines), found)
        return found


def prepare(device: Device, wanted: Sequence[tuple[KernelFile, tuple[str, ...]]]) -> None:
    """Compile and load several files with their defines side by side. Raises DeviceFailed."""
    with ThreadPoolExecutor(max_workers=max(1, min(len(wanted), os.cpu_count() or 1))) as pool:
        for job in [pool.submit(file.module, device, defines) for file, defines in wanted]:
            job.result()


@cache
def read_source(name: str) -> str:
    """The text of a .cu or .cuh of this folder, with its ``#include "…"`` lines replaced by those files' text.

    A file that is included twice is taken once.
    """
    taken: set[str] = set()

    def read(file: str) -> str:
        taken.add(file)
        text = (FOLDER / file).read_text(encoding="utf-8")
        return f'#line 1 "{file}"\n' + _INCLUDE.sub(lambda match: include(match, file, text), text)

    def include(match: re.Match[str], inside: str, text: str) -> str:
        if match[1] in taken:
            return ""
        next_line = text.count("\n", 0, match.start()) + 2
        return f'{read(match[1])}\n#line {next_line} "{inside}"'

    return read(name)


def compile_options(defines: tuple[str, ...]) -> tuple[str, ...]:
    """What the compiler is told beside the architecture."""
    return (*OPTIONS, *(f"--define-macro={define}" for define in defines))


def cache_folders() -> Iterator[Path]:
    """Where binaries may be kept, the first that works: PIXELFOREST_CACHE_DIR, the user's cache, a temporary folder."""
    if named := os.environ.get("PIXELFOREST_CACHE_DIR"):
        yield Path(named) / "kernels"
    with contextlib.suppress(RuntimeError):  # a user without a home
        yield _user_cache() / "pixelforest" / "kernels"
    user = os.getuid() if hasattr(os, "getuid") else "user"
    yield Path(tempfile.gettempdir()) / f"pixelforest-{user}" / "kernels"


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _build(device: Device, name: str, defines: tuple[str, ...]) -> Module:
    source, options = read_source(name), compile_options(defines)
    parts = (source, *options, device.architecture, device.compiler)
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    file = f"{Path(name).stem}-{device.architecture}-{key[:32]}.bin"
    cached = _read_cached(file)
    if cached is not None:
        with contextlib.suppress(DeviceFailed):  # a binary the driver does not take is made anew
            return device.load(cached)
    binary = device.compile(source, name, options)
    module = device.load(binary)
    _write_cached(file, binary)
    return module


def _read_cached(file: str) -> bytes | None:
    """A binary from the first cache folder that has it whole."""
    for folder in cache_folders():
        with contextlib.suppress(OSError):
            path = folder / file
            content = path.read_bytes()
            digest, binary = content[:_DIGEST], content[_DIGEST:]
            if _is_own(path) and hashlib.sha256(binary).digest() == digest:
                return binary
    return None


def _is_own(path: Path) -> bool:
    """Whether this user or the superuser made the file: in a temporary folder anybody could have."""
    return not hasattr(os, "getuid") or path.stat().st_uid in (os.getuid(), 0)


def _write_cached(file: str, binary: bytes) -> None:
    """Keep a binary in the first cache folder that can be written; under its name only once it is complete."""
    for folder in cache_folders():
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, partial = tempfile.mkstemp(dir=folder, suffix=".part")
            try:
                with open(descriptor, "wb") as stream:
                    stream.write(hashlib.sha256(binary).digest() + binary)
                os.replace(partial, folder / file)
            except BaseException:
                Path(partial).unlink(missing_ok=True)
                raise
            return

"""Names for what compiled kernels depend on: their sources and compiler, and the processor."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_FOLDERS = (Path(__file__).parent, Path(__file__).parents[1] / "shared")


@cache
def sources() -> str:
    """The content of all kernel sources, and the version of numba, which is not imported for it."""
    digest = hashlib.sha256()
    spec = find_spec("numba")
    version = [Path(spec.origin).with_name("_version.py")] if spec and spec.origin else []
    for file in [*version, *(file for folder in _FOLDERS for file in sorted(folder.glob("*.py")))]:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


@cache
def processor() -> tuple[str, str]:
    """Name and features of the processor to compile for: this one, or what numba's variables say."""
    from llvmlite import binding

    name = os.environ.get("NUMBA_CPU_NAME") or binding.get_host_cpu_name()
    features = os.environ.get("NUMBA_CPU_FEATURES")
    return name, binding.get_host_cpu_features().flatten() if features is None else features


@cache
def target() -> str:
    """The version of LLVM's binding and the processor."""
    import llvmlite

    parts = (llvmlite.__version__, *processor())
    return f"{processor()[0]}-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:16]}"

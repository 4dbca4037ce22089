"""Cache keys of compiled kernels: digests of their sources and compiler, and the processor."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path

# Processors since 2013 (Intel) and 2015 (AMD): no kernel is slower if compiled for them than for the exact model.
_CLASS_FEATURES = ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "popcnt")
# Named one by one although the class implies them: kernels look for a feature by its name.
_CLASS = ("x86-64-v3", ",".join(f"+{name}" for name in _CLASS_FEATURES))
_CPU = Path(__file__).parents[1]
_FOLDERS = (_CPU / "loops", _CPU / "simd", _CPU / "build", _CPU.parent / "shared")


@cache
def sources() -> str:
    """Digest of all kernel sources and of numba's version, determined without importing numba."""
    digest = hashlib.sha256()
    spec = find_spec("numba")
    version = [Path(spec.origin).with_name("_version.py")] if spec and spec.origin else []
    for file in [*version, *(file for folder in _FOLDERS for file in sorted(folder.glob("*.py")))]:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


@cache
def processor() -> tuple[str, str]:
    """Name and features of the processor to compile for: this one, or the one in numba's environment variables.

    A name alone affects instruction scheduling only: the features stay those of this processor, so that the code runs
    on it.
    """
    from llvmlite import binding

    name = os.environ.get("NUMBA_CPU_NAME") or binding.get_host_cpu_name()
    features = os.environ.get("NUMBA_CPU_FEATURES")
    return name, binding.get_host_cpu_features().flatten() if features is None else features


@cache
def targets() -> tuple[tuple[str, str], ...]:
    """List processors whose code runs on this machine, best first: this one, then a class that it belongs to."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    is_chosen = "NUMBA_CPU_NAME" in os.environ or "NUMBA_CPU_FEATURES" in os.environ
    if is_chosen or not all(features.get(name) for name in _CLASS_FEATURES):
        return (processor(),)
    return (processor(), _CLASS)


def missing_features() -> tuple[str, ...]:
    """List features that numba's variable enables and this processor lacks: code with them would crash the process."""
    chosen = os.environ.get("NUMBA_CPU_FEATURES")
    if not chosen:
        return ()
    from llvmlite import binding

    own = binding.get_host_cpu_features()
    wanted = [word[1:] for word in chosen.replace(" ", "").split(",") if word.startswith("+")]
    return tuple(name for name in wanted if own.get(name) is False)


def folder(target: tuple[str, str]) -> str:
    """Folder of a target's code in the cache, named by the target, the version of llvmlite and the kernels' sources."""
    import llvmlite

    digest = hashlib.sha256(" ".join((llvmlite.__version__, *target)).encode()).hexdigest()[:16]
    return f"cpu-{sources()}/{target[0]}-{digest}"

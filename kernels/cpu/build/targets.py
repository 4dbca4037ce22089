"""Processors that kernels are compiled for."""

from __future__ import annotations

import platform

from ....frozen import frozen


@frozen
class Target:
    """A processor and a system, in LLVM's words.

    features  named one by one although the processor implies them: kernels look for a feature by its name
    """

    triple: str
    processor: str
    features: str


# Processors since 2013 (Intel) and 2015 (AMD): no kernel is slower than if compiled for the exact model.
_X86_FEATURES = ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "popcnt")
_PROCESSORS = {
    "x86_64": ("x86-64-v3", ",".join(f"+{name}" for name in _X86_FEATURES)),
    "aarch64": ("generic", "+neon"),
}
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def own_target() -> Target:
    """Return the target of this machine. Raises NotImplementedError for an unknown processor."""
    from llvmlite import binding

    machine = platform.machine().lower()
    machine = _MACHINES.get(machine, machine)
    if machine not in _PROCESSORS:
        raise NotImplementedError(f"there are no kernels for processors of the kind {machine}")
    return Target(binding.get_process_triple(), *_PROCESSORS[machine])

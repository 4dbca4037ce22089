"""Platforms that the library of kernels is built for, on any of them for each."""

from __future__ import annotations

import platform

from ....frozen import frozen


@frozen
class Target:
    """A system and a class of its processors.

    library              file name of the library
    triple, processor    in LLVM's words; the triple contains the oldest version of macOS
    features             named one by one although the processor implies them: kernels look for a feature by its name
    """

    system: str
    machine: str
    library: str
    triple: str
    processor: str
    features: str

    @property
    def name(self) -> str:
        """Name for users, for example linux-aarch64."""
        return f"{self.system}-{self.machine}"


# Processors since 2013 (Intel) and 2015 (AMD): no kernel is slower than if compiled for the exact model.
_X86_FEATURES = ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "popcnt")
_X86 = ("x86-64-v3", ",".join(f"+{name}" for name in _X86_FEATURES))
_ARM = ("generic", "+neon")

TARGETS = {
    target.name: target
    for target in (
        Target("linux", "x86_64", "kernels.so", "x86_64-unknown-linux-gnu", *_X86),
        Target("linux", "aarch64", "kernels.so", "aarch64-unknown-linux-gnu", *_ARM),
        Target("macos", "arm64", "kernels.dylib", "arm64-apple-macosx11.0.0", *_ARM),
        Target("macos", "x86_64", "kernels.dylib", "x86_64-apple-macosx10.13.0", *_X86),
        Target("windows", "x86_64", "kernels.dll", "x86_64-pc-windows-gnu", *_X86),
    )
}


def own_target() -> Target:
    """Return the target of this machine. Raises NotImplementedError for one without kernels."""
    system = platform.system().lower().replace("darwin", "macos")
    machine = platform.machine().lower().replace("amd64", "x86_64")
    return find_target(f"{system}-{machine}")


def find_target(name: str) -> Target:
    """Return the target of a name. Raises NotImplementedError if there is none."""
    if name not in TARGETS:
        raise NotImplementedError(f"there are no kernels for {name}; there are for {', '.join(TARGETS)}")
    return TARGETS[name]

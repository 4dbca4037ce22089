"""Rules for the library of kernels, and the platforms where it runs, in the words of wheels."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .binaries import Binary, read_binary

# Functions of the C library that kernels may call: none whose result could differ.
FUNCTIONS = frozenset({"free", "malloc", "memcpy", "memmove", "memset"})
# The C library of Windows 10 and later, which Python needs, too.
UNIVERSAL_C_LIBRARY = "ucrtbase.dll"

# In addition to these functions: forms of memset that LLVM prefers on macOS, and the binding of the others.
_SYSTEM_FUNCTIONS = {"macos": frozenset({"__bzero", "bzero", "dyld_stub_binder", "memset_pattern16"})}
# Names that zig's linker adds.
_LINKER_NAMES = {"macos": frozenset({"_mh_dylib_header", "__dso_handle"})}
_LIBRARIES = {
    "linux": frozenset[str](),  # those that the process has loaded
    "macos": frozenset({"/usr/lib/libSystem.B.dylib"}),
    "windows": frozenset({UNIVERSAL_C_LIBRARY}),
}
# pip names it manylinux2014; the functions above are older.
_OLDEST_GLIBC = (2, 17)


class NotPortable(Exception):
    """The library would not run on other machines; the message says why."""


def inspect(content: bytes, exported: Iterable[str]) -> str:
    """Check a library against the rules. Returns the platform part of its wheel's tag.

    exported  names that it has to export
    """
    binary = read_binary(content)
    system = binary.platform[0]
    expected = frozenset(exported)
    problems = {
        "lacks": expected - binary.exported,
        "exports": binary.exported - expected - _LINKER_NAMES.get(system, frozenset()),
        "calls": binary.undefined - FUNCTIONS - _SYSTEM_FUNCTIONS.get(system, frozenset()),
        "needs": binary.needed - _LIBRARIES[system],
    }
    found = [f"it {verb} {', '.join(sorted(names))}" for verb, names in problems.items() if names]
    if found:
        raise NotPortable(f"the library of kernels is not portable: {'; '.join(found)}")
    return name_platforms(binary)


def name_platforms(binary: Binary) -> str:
    """Platforms where a library runs, for the tag of a wheel.

    On Linux, versions of glibc and of musl: a library that asks for no versions of symbols and no other library takes
    whichever of the two the process has.
    """
    system, oldest, machine = binary.platform
    if system == "windows":
        return f"win_{machine}"
    if oldest is not None:
        return f"macosx_{oldest[0]}_{oldest[1]}_{machine}"
    wanted = [re.fullmatch(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?", version) for version in binary.versions]
    if None in wanted:
        raise NotPortable(f"the library of kernels needs {', '.join(sorted(binary.versions))}")
    major, minor = max([_OLDEST_GLIBC, *((int(match[1]), int(match[2])) for match in wanted if match)])
    names = [f"manylinux_{major}_{minor}"]
    if (major, minor) == _OLDEST_GLIBC:
        names.append("manylinux2014")
    if not binary.versions and not binary.needed:
        names.append("musllinux_1_1")
    return ".".join(f"{name}_{machine}" for name in names)

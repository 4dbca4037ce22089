"""Reader of shared libraries of Linux, macOS and Windows: names, needs and platform. For processors of 64 bits."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ....frozen import frozen

# Processors in the headers of the three formats, as wheels name them.
_ELF_MACHINES = {62: "x86_64", 183: "aarch64"}
_MACH_O_MACHINES = {0x01000007: "x86_64", 0x0100000C: "arm64"}
_PE_MACHINES = {0x8664: "amd64", 0xAA64: "arm64"}

_ELF_NEEDED = 1
_ELF_DYNAMIC, _ELF_DYNSYM, _ELF_VERNEED = 6, 11, 0x6FFFFFFE
_MACH_O_SYMBOLS, _MACH_O_LIBRARY, _MACH_O_MIN_VERSION, _MACH_O_BUILD_VERSION = 0x2, 0xC, 0x24, 0x32
_MACH_O_DEBUG, _MACH_O_KIND, _MACH_O_PRIVATE, _MACH_O_EXTERNAL = 0xE0, 0x0E, 0x10, 0x01


@frozen
class Binary:
    """Facts about a shared library.

    versions  versions of symbols that it asks for, for example GLIBC_2.29
    platform  system, oldest version of it in the file if there is one, and processor
    """

    exported: frozenset[str]
    undefined: frozenset[str]
    needed: frozenset[str]
    versions: frozenset[str]
    platform: tuple[str, tuple[int, int] | None, str]


def read_binary(content: bytes) -> Binary:
    """Read a shared library. Raises ValueError if it has another format."""
    if content[:6] == b"\x7fELF\x02\x01":
        return _read_elf(content)
    if content[:4] == b"\xcf\xfa\xed\xfe":
        return _read_mach_o(content)
    if content[:2] == b"MZ":
        return _read_pe(content)
    raise ValueError("not a shared library of Linux, macOS or Windows")


def _read_elf(content: bytes) -> Binary:
    exported: set[str] = set()
    undefined: set[str] = set()
    needed, versions = set(), set()
    (table,) = struct.unpack_from("<Q", content, 0x28)
    size, count = struct.unpack_from("<HH", content, 0x3A)
    sections = [struct.unpack_from("<IIQQQQII", content, table + i * size) for i in range(count)]
    for _, kind, _, _, start, length, link, info in sections:
        names = sections[link][4]
        if kind == _ELF_DYNSYM:
            for at in range(start + 24, start + length, 24):
                name, _, _, section = struct.unpack_from("<IBBH", content, at)
                (undefined if section == 0 else exported).add(_text(content, names + name))
        elif kind == _ELF_DYNAMIC:
            for at in range(start, start + length, 16):
                tag, value = struct.unpack_from("<qQ", content, at)
                if tag == _ELF_NEEDED:
                    needed.add(_text(content, names + value))
        elif kind == _ELF_VERNEED:
            versions |= {_text(content, names + name) for name in _elf_versions(content, start, info)}
    (machine,) = struct.unpack_from("<H", content, 0x12)
    platform = ("linux", None, _ELF_MACHINES[machine])
    return Binary(frozenset(exported), frozenset(undefined), frozenset(needed), frozenset(versions), platform)


def _elf_versions(content: bytes, at: int, files: int) -> Iterator[int]:
    """Names of the versions that are needed, as offsets in the table of strings."""
    for _ in range(files):
        _, count, _, first, next_file = struct.unpack_from("<HHIII", content, at)
        place = at + first
        for _ in range(count):
            _, _, _, name, next_version = struct.unpack_from("<IHHII", content, place)
            yield name
            place += next_version
        at += next_file


def _read_mach_o(content: bytes) -> Binary:
    exported: set[str] = set()
    undefined: set[str] = set()
    needed, oldest = set(), None
    machine, _, _, commands = struct.unpack_from("<IIII", content, 4)
    at = 32
    for _ in range(commands):
        command, size = struct.unpack_from("<II", content, at)
        command &= 0x7FFFFFFF
        if command == _MACH_O_SYMBOLS:
            table, count, names, _ = struct.unpack_from("<IIII", content, at + 8)
            for place in range(table, table + 16 * count, 16):
                name, kind = struct.unpack_from("<IB", content, place)
                if kind & _MACH_O_EXTERNAL and not kind & (_MACH_O_DEBUG | _MACH_O_PRIVATE):
                    found = _text(content, names + name).removeprefix("_")
                    (exported if kind & _MACH_O_KIND else undefined).add(found)
        elif command == _MACH_O_LIBRARY:
            needed.add(_text(content, at + struct.unpack_from("<I", content, at + 8)[0]))
        elif command in (_MACH_O_MIN_VERSION, _MACH_O_BUILD_VERSION):
            (version,) = struct.unpack_from("<I", content, at + (8 if command == _MACH_O_MIN_VERSION else 12))
            oldest = version >> 16, version >> 8 & 0xFF
        at += size
    platform = ("macos", oldest, _MACH_O_MACHINES[machine])
    return Binary(frozenset(exported), frozenset(undefined), frozenset(needed), frozenset(), platform)


def _read_pe(content: bytes) -> Binary:
    (header,) = struct.unpack_from("<I", content, 0x3C)
    machine, count = struct.unpack_from("<HH", content, header + 4)
    (optional,) = struct.unpack_from("<H", content, header + 20)
    directories = header + 24 + 112
    sections = [
        struct.unpack_from("<IIII", content, header + 24 + optional + 40 * i + 8) for i in range(count)
    ]  # size in memory, address, size in the file, place in the file

    def place(address: int) -> int:
        start, there = next((start, there) for size, start, _, there in sections if start <= address < start + size)
        return int(address - start + there)

    exports, _, imports, _ = struct.unpack_from("<IIII", content, directories)
    exported, undefined, needed = set(), set(), set()
    if exports:
        number, _, names = struct.unpack_from("<III", content, place(exports) + 24)
        for i in range(number):
            exported.add(_text(content, place(struct.unpack_from("<I", content, place(names) + 4 * i)[0])))
    at = place(imports) if imports else len(content)
    while at < len(content):
        lookups, _, _, name, _ = struct.unpack_from("<IIIII", content, at)
        if not name:
            break
        needed.add(_text(content, place(name)))
        entry = place(lookups)
        while (hint := struct.unpack_from("<Q", content, entry)[0]) != 0:
            undefined.add(_text(content, place(hint) + 2))
            entry += 8
        at += 20
    platform = ("windows", None, _PE_MACHINES[machine])
    return Binary(frozenset(exported), frozenset(undefined), frozenset(needed), frozenset(), platform)


def _text(content: bytes, at: int) -> str:
    return content[at : content.index(b"\0", at)].decode()

"""Reader of the dynamic symbols of an ELF file with 64 bits, little-endian."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_DYNAMIC, _DYNSYM, _NEEDED = 6, 11, 1


def read_symbols(content: bytes) -> tuple[set[str], set[str], set[str]]:
    """Names that a shared library exports, those that it leaves undefined, and the libraries that it needs."""
    assert content[:6] == b"\x7fELF\x02\x01"
    exported, undefined, needed = set(), set(), set()
    sections = list(_sections(content))
    for kind, start, size, link in sections:
        if kind == _DYNSYM:
            for at in range(start + 24, start + size, 24):
                name, _, _, section = struct.unpack_from("<IBBH", content, at)
                (undefined if section == 0 else exported).add(_text(content, sections[link][1] + name))
        elif kind == _DYNAMIC:
            for at in range(start, start + size, 16):
                tag, value = struct.unpack_from("<qQ", content, at)
                if tag == _NEEDED:
                    needed.add(_text(content, sections[link][1] + value))
    return exported, undefined, needed


def _sections(content: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Type, offset, size and linked section of each section."""
    (table,) = struct.unpack_from("<Q", content, 0x28)
    size, count = struct.unpack_from("<HH", content, 0x3A)
    for i in range(count):
        _, kind, _, _, offset, length, link = struct.unpack_from("<IIQQQQI", content, table + i * size)
        yield kind, offset, length, link


def _text(content: bytes, at: int) -> str:
    return content[at : content.index(b"\0", at)].decode()

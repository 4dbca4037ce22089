"""Damage to the bytes of a file of any kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Generator = np.random.Generator

# What counters, sizes and offsets of a header are replaced by.
_EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
_HEADER_BYTES = 256


def _place(random: Generator, size: int) -> int:
    """A position in a file; every other one is in its header."""
    end = min(size, _HEADER_BYTES) if random.random() < 0.5 else size
    return int(random.integers(max(1, end)))


def flip_bits(data: bytes, random: Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(int(random.integers(1, 9))):
        changed[_place(random, len(data))] ^= 1 << int(random.integers(8))
    return bytes(changed)


def cut_end(data: bytes, random: Generator) -> bytes:
    return data[: int(random.integers(len(data)))]


def cut_few(data: bytes, random: Generator) -> bytes:
    return data[: -int(random.integers(1, 16))]


def set_number(data: bytes, random: Generator) -> bytes:
    """Replace a number of 1, 2, 4 or 8 bytes by an extreme one, in either byte order."""
    size = int(random.choice([1, 2, 4, 8]))
    value = int(random.choice(np.array(_EXTREMES, dtype=object))) % (1 << 8 * size)
    order = "little" if random.random() < 0.5 else "big"
    at = _place(random, len(data)) // size * size
    return data[:at] + value.to_bytes(size, order) + data[at + size :]  # type: ignore[arg-type]


def blank(data: bytes, random: Generator) -> bytes:
    at, size = _place(random, len(data)), int(random.integers(1, 64))
    fill = bytes([int(random.choice([0, 0xFF, 0x20]))])
    return data[:at] + fill * len(data[at : at + size]) + data[at + size :]


def remove(data: bytes, random: Generator) -> bytes:
    at, size = _place(random, len(data)), int(random.integers(1, 64))
    return data[:at] + data[at + size :]


def repeat(data: bytes, random: Generator) -> bytes:
    at, size = _place(random, len(data)), int(random.integers(1, 512))
    return data[: at + size] + data[at:]


def change_digits(data: bytes, random: Generator) -> bytes:
    """Replace a run of decimal digits, as in headers that are text, by another number."""
    places = [i for i, byte in enumerate(data[:_HEADER_BYTES]) if 0x30 <= byte <= 0x39]
    if not places:
        return flip_bits(data, random)
    start = end = int(random.choice(places))
    while end < len(data) and 0x30 <= data[end] <= 0x39:
        end += 1
    number = str(random.choice(["0", "-1", "1", "3", "255", "256", "65536", "99999", "4294967296", "1e9", "9" * 30]))
    return data[:start] + number.encode("ascii") + data[end:]


DAMAGES: tuple[Callable[[bytes, Generator], bytes], ...] = (
    flip_bits,
    flip_bits,
    cut_end,
    cut_few,
    set_number,
    set_number,
    blank,
    remove,
    repeat,
    change_digits,
)


def damage(data: bytes, random: Generator) -> tuple[bytes, str]:
    """A damaged copy, and what was done."""
    if not data:
        return b"\0", "one byte"
    action = DAMAGES[int(random.integers(len(DAMAGES)))]
    return action(data, random), action.__name__

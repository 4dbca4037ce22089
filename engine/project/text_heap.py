"""HDF5's global heap, where variable-length strings are stored, read without libhdf5.

libhdf5 can loop forever on a corrupt global heap. So the strings of datasets are read here, and before libhdf5 reads
the string of an attribute, all heaps of the file are checked.

A hostile file can place thousands of heaps inside each other. All heaps together may therefore be only a few times as
long as the file, and each is read once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

SIGNATURE = b"GCOL\x01\0\0\0"
# Records of a heap are padded to this.
ALIGNMENT = 8
SCAN_BYTES = 1 << 24
# libhdf5 numbers the records of a heap with 16 bits; one more describes the free space.
MAX_RECORDS = 1 << 16
# Heaps do not overlap. All of them may be read twice (checked, then used), with an equal amount of former heaps.
MAX_READ_FACTOR = 4


class TextHeap:
    """Global heaps of one file. Invalid content raises ValueError.

    stream         file opened for reading
    base           offset of HDF5's address 0 in it
    address_bytes  width of an address
    length_bytes   width of a size
    """

    def __init__(
        self, stream: BinaryIO, size_bytes: int, base: int, address_bytes: int = 8, length_bytes: int = 8
    ) -> None:
        self.stream = stream
        self.size_bytes = size_bytes
        self.base = base
        self.address_bytes = address_bytes
        self.length_bytes = length_bytes
        self._heaps: dict[int, dict[int, bytes]] = {}
        self._bytes_left = MAX_READ_FACTOR * size_bytes

    @property
    def pointer_bytes(self) -> int:
        """Width of the entry that a dataset stores for each string: length, address of a heap, number in that heap."""
        return 4 + self.address_bytes + 4

    def read_pointers(self, offset: int, count: int) -> list[bytes]:
        """Read the strings of ``count`` pointers at an offset of the file. Equal strings may be one object."""
        raw = self._bytes(offset, count * self.pointer_bytes)
        texts = []
        for start in range(0, len(raw), self.pointer_bytes):
            length = int.from_bytes(raw[start : start + 4], "little")
            address = int.from_bytes(raw[start + 4 : start + 4 + self.address_bytes], "little")
            number = int.from_bytes(raw[start + 4 + self.address_bytes : start + self.pointer_bytes], "little")
            if length == 0 or address == 0:
                texts.append(b"")
                continue
            content = self._heap(address).get(number)
            if content is None or len(content) < length:
                raise ValueError(f"text {number} is not in the heap at {address}")
            texts.append(content if len(content) == length else content[:length])
        return texts

    def check_all(self) -> None:
        """Check every heap in the file, used or not."""
        start = 0
        while start < self.size_bytes:
            piece = self._bytes(start, min(SCAN_BYTES + len(SIGNATURE) - 1, self.size_bytes - start))
            found = piece.find(SIGNATURE)
            while found >= 0:
                for _ in self._records(start + found):
                    pass
                found = piece.find(SIGNATURE, found + 1)
            start += SCAN_BYTES

    def _heap(self, address: int) -> dict[int, bytes]:
        """Read the strings of the heap at an address, by number."""
        if address not in self._heaps:
            self._heaps[address] = dict(self._records(self.base + address))
        return self._heaps[address]

    def _records(self, start: int) -> Iterator[tuple[int, bytes]]:
        """Yield number and content of each string in the heap at an offset of the file."""
        header = self._bytes(start, len(SIGNATURE) + self.length_bytes)
        if not header.startswith(SIGNATURE):
            raise ValueError(f"there is no heap of texts at {start}")
        size = int.from_bytes(header[len(SIGNATURE) :], "little")
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise ValueError(f"the heap of texts at {start} overlaps others")
        heap = self._bytes(start, size)
        record_header = 8 + self.length_bytes
        at, count = _padded(len(header)), 0
        while at + record_header <= size:
            number = int.from_bytes(heap[at : at + 2], "little")
            length = int.from_bytes(heap[at + 8 : at + record_header], "little")
            needed = record_header + _padded(length) if number else length
            count += 1
            if needed < record_header or needed > size - at or count > MAX_RECORDS:
                raise ValueError(f"the heap of texts at {start} is damaged")
            if number:
                yield number, heap[at + record_header : at + record_header + length]
            at += needed

    def _bytes(self, start: int, count: int) -> bytes:
        if not 0 <= start <= start + count <= self.size_bytes:
            raise ValueError(f"{count} bytes at {start} are beyond the end of the file")
        self.stream.seek(start)
        found = self.stream.read(count)
        if len(found) != count:
            raise ValueError("the file has become shorter")
        return found


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT

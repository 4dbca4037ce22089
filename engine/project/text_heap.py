"""HDF5's global heap, where texts of variable length lie, read without HDF5.

A damaged heap sends the HDF5 library round in circles for ever. So the texts of datasets are taken from here, and
before HDF5 reads the text of an attribute, all heaps of the file are checked.
"""

from __future__ import annotations

from typing import BinaryIO

from ...records import dataclass

SIGNATURE = b"GCOL\x01\0\0\0"
# Records of a heap are padded to this.
ALIGNMENT = 8
SCAN_BYTES = 1 << 24


@dataclass(frozen=True)
class TextHeap:
    """The heaps of one file. Everything that cannot be right raises ValueError.

    stream         the file, opened for reading
    base           where in it HDF5's addresses begin
    address_bytes  width of an address
    length_bytes   width of a size
    """

    stream: BinaryIO
    size_bytes: int
    base: int
    address_bytes: int
    length_bytes: int

    @property
    def pointer_bytes(self) -> int:
        """Width of what a dataset stores for each text: its length, a heap's address, a number in that heap."""
        return 4 + self.address_bytes + 4

    def read_pointers(self, offset: int, count: int) -> list[bytes]:
        """The texts that ``count`` pointers at a place in the file stand for. Equal texts may be one object."""
        raw = self._bytes(offset, count * self.pointer_bytes)
        heaps: dict[int, dict[int, bytes]] = {}
        texts = []
        for start in range(0, len(raw), self.pointer_bytes):
            length = int.from_bytes(raw[start : start + 4], "little")
            address = int.from_bytes(raw[start + 4 : start + 4 + self.address_bytes], "little")
            number = int.from_bytes(raw[start + 4 + self.address_bytes : start + self.pointer_bytes], "little")
            if length == 0 or address == 0:
                texts.append(b"")
                continue
            if address not in heaps:
                heaps[address] = self._records(self.base + address)
            content = heaps[address].get(number)
            if content is None or len(content) < length:
                raise ValueError(f"text {number} is not in the heap at {address}")
            texts.append(content if len(content) == length else content[:length])
        return texts

    def check_all(self) -> None:
        """Look at every heap in the file, used or not."""
        start = 0
        while start < self.size_bytes:
            piece = self._bytes(start, min(SCAN_BYTES + len(SIGNATURE), self.size_bytes - start))
            found = piece.find(SIGNATURE)
            while found >= 0:
                self._records(start + found)
                found = piece.find(SIGNATURE, found + 1)
            start += SCAN_BYTES

    def _records(self, start: int) -> dict[int, bytes]:
        """The texts of the heap at a place in the file, by their numbers."""
        header = self._bytes(start, len(SIGNATURE) + self.length_bytes)
        if not header.startswith(SIGNATURE):
            raise ValueError(f"there is no heap of texts at {start}")
        size = int.from_bytes(header[len(SIGNATURE) :], "little")
        heap = self._bytes(start, size)
        record_header = 8 + self.length_bytes
        at = _padded(len(header))
        records = {}
        while at + record_header <= size:
            number = int.from_bytes(heap[at : at + 2], "little")
            length = int.from_bytes(heap[at + 8 : at + record_header], "little")
            needed = record_header + _padded(length) if number else length
            if needed < record_header or needed > size - at:
                raise ValueError(f"the heap of texts at {start} is damaged")
            if number:
                records[number] = heap[at + record_header : at + record_header + length]
            at += needed
        return records

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

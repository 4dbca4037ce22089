"""Code of the library for Windows in a process of Linux on x86-64, where it has to compute the same bits.

``python -m pytest -p support.windows_code`` runs tests with the library in the Windows wheel of the folder WHEELS. The
code is that of Windows; its few functions of the C library are Linux's. Nothing here is how Windows loads a library.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from pixelforest.kernels.cpu import loader

# Windows passes arguments in rcx, rdx, r8 and keeps rdi, rsi, xmm6 to xmm15; Linux passes them in rdi, rsi, rdx.
_SAVED = range(6, 16)
_SPACE = len(_SAVED) * 16 + 8
_IS_64_BIT_ADDRESS = 10


class WindowsLibrary:
    """Shared library of Windows, loaded from its bytes. Functions that it exports take at most one pointer."""

    def __init__(self, content: bytes) -> None:
        (header,) = struct.unpack_from("<I", content, 0x3C)
        (sections,) = struct.unpack_from("<H", content, header + 6)
        (optional,) = struct.unpack_from("<H", content, header + 20)
        self._header = header + 24
        (preferred,) = struct.unpack_from("<Q", content, self._header + 24)
        (size,) = struct.unpack_from("<I", content, self._header + 56)
        self._image = _executable(size)
        self._image[: self._header + optional] = content[: self._header + optional]
        for i in range(sections):
            at = self._header + optional + 40 * i
            there, length, start = struct.unpack_from("<III", content, at + 12)
            self._image[there : there + length] = content[start : start + length]
        self._base = _address(self._image)
        self._thunks = _executable(1 << 16)
        self._used = 0
        self._relocate(self._base - preferred)
        self._bind()
        self._addresses = self._read_exports()
        self.called: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.called.add(name)
        code = b"\x48\x89\xf9\x48\x83\xec\x28" + _call(self._base + self._addresses[name]) + b"\x48\x83\xc4\x28\xc3"
        return ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(self._place(code))

    def has_vectors(self) -> int:
        return int(self["has_vectors"](None))

    def _directory(self, index: int) -> tuple[int, int]:
        """Address and size of a table."""
        return struct.unpack_from("<II", self._image, self._header + 112 + 8 * index)

    def _relocate(self, distance: int) -> None:
        at, size = self._directory(5)
        end = at + size
        while at < end:
            page, length = struct.unpack_from("<II", self._image, at)
            for (entry,) in struct.iter_unpack("<H", self._image[at + 8 : at + length]):
                if entry >> 12 == _IS_64_BIT_ADDRESS:
                    place = page + (entry & 0xFFF)
                    (value,) = struct.unpack_from("<Q", self._image, place)
                    struct.pack_into("<Q", self._image, place, value + distance)
            at += length

    def _bind(self) -> None:
        at, _ = self._directory(1)
        library = ctypes.CDLL(None)
        while (imports := struct.unpack_from("<IIIII", self._image, at))[3]:
            entry = imports[4]
            while (hint := struct.unpack_from("<Q", self._image, entry)[0]) != 0:
                name = self._text(hint + 2)
                function = ctypes.cast(library[name], ctypes.c_void_p).value
                assert function is not None
                struct.pack_into("<Q", self._image, entry, self._place(_for_windows(function)))
                entry += 8
            at += 20

    def _read_exports(self) -> dict[str, int]:
        at, _ = self._directory(0)
        count, functions, names, ordinals = struct.unpack_from("<IIII", self._image, at + 24)
        found = {}
        for i in range(count):
            (name,) = struct.unpack_from("<I", self._image, names + 4 * i)
            (ordinal,) = struct.unpack_from("<H", self._image, ordinals + 2 * i)
            found[self._text(name)] = struct.unpack_from("<I", self._image, functions + 4 * ordinal)[0]
        return found

    def _text(self, at: int) -> str:
        return self._image[at : self._image.find(b"\0", at)].decode()

    def _place(self, code: bytes) -> int:
        """Address of a piece of code in executable memory."""
        at, self._used = self._used, self._used + len(code)
        self._thunks[at : self._used] = code
        return _address(self._thunks) + at


def _executable(size: int) -> mmap.mmap:
    return mmap.mmap(-1, size, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


def _address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _call(address: int) -> bytes:
    return b"\x48\xb8" + struct.pack("<Q", address) + b"\xff\xd0"


def _for_windows(function: int) -> bytes:
    """Machine code that calls a function of Linux from code of Windows."""
    save, restore = (b"".join(_move(opcode, i) for i in _SAVED) for opcode in (0x11, 0x10))
    arguments = b"\x48\x89\xcf\x48\x89\xd6\x4c\x89\xc2"
    start = b"\x57\x56\x48\x81\xec" + struct.pack("<I", _SPACE)
    end = b"\x48\x81\xc4" + struct.pack("<I", _SPACE) + b"\x5e\x5f\xc3"
    return start + save + arguments + _call(function) + restore + end


def _move(opcode: int, register: int) -> bytes:
    """Move a vector register to the stack or back."""
    prefix = b"\x44" if register >= 8 else b""
    place = struct.pack("<I", 16 * (register - _SAVED.start))
    return prefix + bytes([0x0F, opcode, 0x84 | (register & 7) << 3, 0x24]) + place


def read_windows_wheel() -> bytes:
    """Library in the wheel for Windows."""
    (path,) = Path(os.environ["WHEELS"]).glob("*-win_amd64.whl")
    with ZipFile(path) as wheel:
        (name,) = [each for each in wheel.namelist() if each.endswith("/kernels.dll")]
        return wheel.read(name)


def pytest_configure(config: pytest.Config) -> None:
    """Take the library of Windows instead of this machine's."""
    loaded = WindowsLibrary(read_windows_wheel())
    loader.load_library = lambda: loaded  # type: ignore[assignment, return-value]
    config.stash[_LIBRARY] = loaded


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say whether the code was called."""
    count = len(config.stash[_LIBRARY].called)
    terminalreporter.write_line(f"{count} functions of the library for Windows were called")


_LIBRARY = pytest.StashKey[WindowsLibrary]()

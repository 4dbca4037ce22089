"""Emulated GPUs below an installed CuPy, which stays as it is on disk. Imports as little as possible: it runs at start.

The driver is an ordinary library, libcuda.so.1, that is loaded before CuPy asks for it. CUDA's runtime is linked into
one of CuPy's extension modules and knows the driver's private interfaces, so its functions are replaced in memory:
where the module's symbol table has a function cuda…, a jump to emulated_cuda… is written.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib.util
import mmap
import os
import struct
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import ModuleType

LOAD_ADDRESS_OF_TEXT = b"\x48\xbf"  # mov rdi, …
LOAD_TARGET, JUMP = b"\x48\xb8", b"\xff\xe0"  # mov rax, …; jmp rax
SYMBOL_TABLE, FUNCTION = 2, 2  # types of an ELF section and of a symbol
READ_WRITE_EXECUTE = 7

_kept: list[object] = []  # what code in memory points to


def install(path: str) -> None:
    """Put the library of the emulated GPUs below CuPy, if it is installed. Only before CuPy is imported."""
    library = ctypes.CDLL(path)
    _kept.append(library)
    package = importlib.util.find_spec("cupy_backends")
    if package is None:
        return
    (folder,) = package.submodule_search_locations
    (runtime,) = (Path(folder) / "cuda" / "api").glob("runtime.*.so")
    redirect_runtime(runtime, library)
    remember_ptx(library)
    atexit.register(write_report, library)


def redirect_runtime(path: Path, library: ctypes.CDLL) -> None:
    """Let the runtime's functions in an extension module jump to the library's."""
    functions = find_functions(path)
    module = ctypes.CDLL(str(path))
    start = next(name for name in functions if name.startswith("PyInit_"))
    base = address_of(module, start) - functions[start]
    missing = address_of(library, "emulated_missing")
    for name, offset in functions.items():
        if not (name.startswith("cuda") and name[4:5].isupper()) or name.endswith(("_ptsz", "_ptds")):
            continue
        if hasattr(library, f"emulated_{name}"):
            code = LOAD_TARGET + struct.pack("<Q", address_of(library, f"emulated_{name}")) + JUMP
        else:
            text = ctypes.create_string_buffer(name.encode())
            _kept.append(text)
            code = LOAD_ADDRESS_OF_TEXT + struct.pack("<Q", ctypes.addressof(text))
            code += LOAD_TARGET + struct.pack("<Q", missing) + JUMP
        overwrite(base + offset, code)


def address_of(library: ctypes.CDLL, name: str) -> int:
    """Address of a library's function."""
    address = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
    assert address is not None
    return address


def find_functions(path: Path) -> dict[str, int]:
    """Offsets of all functions of a 64-bit ELF file, by name; those that it does not export too."""
    data = path.read_bytes()
    (table,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, table + size * i) for i in range(count)]
    found = {}
    for _, kind, _, _, first, length, link, _, _, _ in sections:
        if kind != SYMBOL_TABLE:
            continue
        names = sections[link][4]
        for at in range(first, first + length, 24):
            name, symbol_kind, _, _, value = struct.unpack_from("<IBBHQ", data, at)
            if symbol_kind & 15 == FUNCTION and value:
                found[data[names + name : data.index(b"\0", names + name)].decode()] = value
    return found


def overwrite(address: int, code: bytes) -> None:
    """Write machine code at an address."""
    libc = ctypes.CDLL(None, use_errno=True)
    first = address // mmap.PAGESIZE * mmap.PAGESIZE
    if libc.mprotect(ctypes.c_void_p(first), ctypes.c_size_t(address + len(code) - first), READ_WRITE_EXECUTE):
        raise OSError(ctypes.get_errno(), "CuPy's runtime cannot be replaced in memory")
    ctypes.memmove(address, code, len(code))


def remember_ptx(library: ctypes.CDLL) -> None:
    """Let CuPy's ``getCUBIN`` also store the PTX of a program, which the emulated driver runs instead of the cubin."""
    load = ExtensionFileLoader.exec_module

    def exec_module(self: ExtensionFileLoader, module: ModuleType) -> None:
        load(self, module)
        if module.__name__ == "cupy_backends.cuda.libs.nvrtc":
            get_cubin = module.getCUBIN

            def get_and_remember(program: int) -> bytes:
                cubin: bytes = get_cubin(program)
                library.emulated_remember(cubin, module.getPTX(program))
                return cubin

            module.getCUBIN = get_and_remember  # type: ignore[attr-defined]

    ExtensionFileLoader.exec_module = exec_module  # type: ignore[method-assign]


def write_report(library: ctypes.CDLL) -> None:
    """Append what the process used to the log."""
    if log := os.environ.get("EMULATED_LOG"):
        text = ctypes.create_string_buffer(4096)
        library.emulated_describe(text, len(text))
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"REPORT {text.value.decode()}\n")

"""Library of CPU kernels: what it exports and needs, and calls of its functions."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from pixelforest.engine.backends import open_backend
from pixelforest.engine.errors import BackendUnavailable
from pixelforest.kernels.contract import KernelError
from pixelforest.kernels.cpu import loader, signatures
from pixelforest.kernels.cpu.build import binaries, digest, inspection, library

# Forms of memset that LLVM prefers there, and the binding of functions.
MACOS = {"__bzero", "bzero", "dyld_stub_binder", "memset_pattern16"} if sys.platform == "darwin" else set()


def test_the_library_exports_its_entries_and_needs_only_named_functions() -> None:
    """Building ends in this inspection, too, which raises NotPortable."""
    loader.load_library()  # of the present sources
    binary = binaries.read_binary(loader.LIBRARY.read_bytes())
    assert binary.exported >= {f"call.{name}" for name in signatures.ENTRIES} | {"has_vectors", "sources"}
    assert binary.undefined <= {"free", "malloc", "memcpy", "memmove", "memset"} | MACOS
    assert inspection.inspect(loader.LIBRARY.read_bytes(), library.exported_names())


def test_a_library_with_other_names_or_needs_is_refused() -> None:
    content = loader.LIBRARY.read_bytes()
    with pytest.raises(inspection.NotPortable, match=r": it lacks call\.more; it exports call\..*, sources$"):
        inspection.inspect(content, ["call.more"])
    with pytest.raises(inspection.NotPortable, match=r" it calls NAME$"):
        inspection.inspect(content.replace(b"\0malloc\0", b"\0NAME\0\0\0"), library.exported_names())


@pytest.mark.parametrize(
    ("versions", "needed", "platforms"),
    [
        ((), (), "manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64"),
        (("GLIBC_2.2.5",), (), "manylinux_2_17_aarch64.manylinux2014_aarch64"),
        (("GLIBC_2.9", "GLIBC_2.29"), ("libm.so.6",), "manylinux_2_29_aarch64"),
    ],
)
def test_platforms_follow_from_what_a_library_needs(
    versions: Sequence[str], needed: Sequence[str], platforms: str
) -> None:
    binary = binaries.Binary(
        frozenset(), frozenset(), frozenset(needed), frozenset(versions), ("linux", None, "aarch64")
    )
    assert inspection.name_platforms(binary) == platforms


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs a library that was linked to glibc")
def test_versions_of_symbols_are_read() -> None:
    binary = binaries.read_binary(Path(np._core._multiarray_umath.__file__).read_bytes())
    assert any(version.startswith("GLIBC_2.") for version in binary.versions)
    assert "libm.so.6" in binary.needed
    assert {"malloc", "free"} <= binary.undefined


def test_the_library_contains_no_path_of_the_machine_that_built_it() -> None:
    content = loader.LIBRARY.read_bytes()
    for path in (loader._FOLDER, Path(sys.prefix), Path.home(), Path("/tmp")):
        assert os.fsencode(path) + b"/" not in content
    assert b".py" not in content


def test_every_entry_has_its_function() -> None:
    for entry in signatures.ENTRIES.values():
        source = Path(loader.__file__).parent.joinpath("loops", f"{entry.module}.py").read_text(encoding="utf-8")
        assert f"\ndef {entry.function}(" in source, entry.name
    assert set(signatures.all_units()) == {entry.unit for entry in signatures.ENTRIES.values()}


def test_arguments_of_other_types_are_refused() -> None:
    kernel = loader.kernel("add_label_sizes")
    sizes = np.zeros(3, np.int64)
    for labels in (np.zeros(4, np.int32), np.zeros((2, 2), np.uint32), np.zeros(8, np.uint32)[::2]):
        with pytest.raises(TypeError, match="a kernel takes"):
            kernel(labels, sizes)


def test_numbers_pass_whole() -> None:
    """64 unsigned bits, negative numbers and several results."""
    originals, ids = np.zeros(4, np.uint64), np.zeros(8, np.uint32)
    keys, out = np.zeros(8, np.uint64), np.zeros(2, np.uint32)
    values = np.array([2**64 - 1, 7], np.uint64)
    renumber = loader.kernel("renumber", values.dtype)
    assert renumber(values, 0, originals, 0, keys, ids, out) == (2, 2)
    assert originals.tolist() == [2**64 - 1, 7, 0, 0]
    assert out.tolist() == [1, 2]


def test_an_error_inside_a_kernel_is_raised() -> None:
    """A box of 2^62 voxels, for which there is no memory."""
    labels, boxes = np.zeros((1, 1, 1), np.uint32), np.array([[0, 0, 0, 2, 2**31 - 1, 2**31 - 1]], np.int32)
    with pytest.raises((KernelError, MemoryError), match="describe_hulls"):
        loader.kernel("describe_hulls")(
            labels, (0, 0, 0), boxes, np.zeros((1, 3)), np.zeros(1), 0, 1, np.zeros((1, 18))
        )


class OldProcessor:
    """Library on a processor without AVX2."""

    def __init__(self, path: str) -> None: ...

    def has_vectors(self) -> int:
        return 0


@pytest.fixture
def loads_anew() -> Iterator[None]:
    """The library is loaded again in the test, and after it."""
    loader.load_library.cache_clear()
    yield
    loader.load_library.cache_clear()


@pytest.mark.usefixtures("loads_anew")
def test_a_processor_without_the_vectors_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader.ctypes, "CDLL", OldProcessor)
    with pytest.raises(BackendUnavailable, match=r"^the CPU cannot be used: .* AVX2 and FMA .*"):
        open_backend("cpu")


@pytest.mark.usefixtures("loads_anew")
def test_stale_code_is_not_run_where_it_cannot_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "mark", lambda: b"of other sources")
    monkeypatch.setattr(loader, "find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match=r"^the CPU cannot be used: .* run make build in the checkout$"):
        open_backend("cpu")


@pytest.mark.usefixtures("loads_anew")
def test_a_missing_library_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in a damaged installation, which has no sources either."""
    monkeypatch.setattr(loader, "_FOLDER", tmp_path)
    monkeypatch.setattr(loader, "LIBRARY", tmp_path / "kernels.so")
    with pytest.raises(BackendUnavailable, match=r"^the CPU cannot be used: the library of kernels cannot be loaded: "):
        open_backend("cpu")

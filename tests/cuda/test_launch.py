"""Kernel files: compilation, caching, and runs without a writable cache."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.cuda_host.host_device import HostDevice

from pixelforest.kernels.contract import DeviceFailed
from pixelforest.kernels.cuda import launch
from pixelforest.kernels.cuda.launch import KernelFile, begin, compile_files, compile_options, prepare, read_source
from pixelforest.kernels.shared import cache

SOURCE = '#include "value.cuh"\nextern "C" __global__ void store(int* out) { out[0] = VALUE + value(); }\n'
VALUE = "#define VALUE_KNOWN\nstatic __device__ int value() { return 7; }\n"


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with two sources instead of the package's, and a cache folder."""
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "store.cu").write_text(SOURCE)
    (folder / "value.cuh").write_text(VALUE)
    monkeypatch.setattr(launch, "FOLDER", folder)
    monkeypatch.setenv("PIXELFOREST_CACHE_DIR", str(tmp_path / "cache"))
    forget_sources()
    yield folder
    forget_sources()


def forget_sources() -> None:
    read_source.cache_clear()
    launch._all_sources.cache_clear()


def kept(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())


def stored(device: HostDevice, define: str) -> int:
    out = device.zeros((1,), "int32")
    KernelFile("store.cu").kernel(device, "store", (define,))((1, 1, 1), (1, 1, 1), [out])
    return int(device.download(out)[0])


def test_included_files_are_taken_once_and_lines_keep_their_numbers(sources: Path) -> None:
    (sources / "twice.cu").write_text('#include "value.cuh"\n\n#include "value.cuh"\nint last;\n')
    lines = read_source("twice.cu").splitlines()
    assert lines.count("#define VALUE_KNOWN") == 1
    assert lines[0] == '#line 1 "twice.cu"'
    assert lines[-1] == "int last;"
    at = max(i for i, line in enumerate(lines) if line == '#line 2 "twice.cu"')
    assert len(lines) - 1 - at - 1 == 4 - 2  # the line after the mark is number 2


def test_options_forbid_contraction() -> None:
    options = compile_options(("A=1",))
    assert {"--fmad=false", "--prec-div=true", "--prec-sqrt=true", "--ftz=false", "--define-macro=A=1"} <= set(options)


def test_a_binary_is_compiled_once_for_each_define_and_kept(sources: Path, tmp_path: Path) -> None:
    first = HostDevice()
    assert [stored(first, "VALUE=1"), stored(first, "VALUE=1"), stored(first, "VALUE=2")] == [8, 8, 9]
    assert first.compiled == ["store.cu", "store.cu"]
    assert len(kept(tmp_path)) == 2, "nothing but whole binaries"
    second = HostDevice()
    assert stored(second, "VALUE=2") == 9
    assert second.compiled == []
    other = HostDevice(compiler="another version")
    assert stored(other, "VALUE=2") == 9
    assert other.compiled == ["store.cu"]


def test_a_changed_source_is_compiled_again(sources: Path) -> None:
    assert stored(HostDevice(), "VALUE=1") == 8
    (sources / "value.cuh").write_text(VALUE.replace("7", "70"))
    forget_sources()
    assert stored(HostDevice(), "VALUE=1") == 71


@pytest.mark.parametrize("damage", [b"", b"x" * 10_000])
def test_a_damaged_binary_is_made_anew(sources: Path, tmp_path: Path, damage: bytes) -> None:
    stored(HostDevice(), "VALUE=1")
    (file,) = kept(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(damage)
    device = HostDevice()
    assert stored(device, "VALUE=1") == 8
    assert device.compiled == ["store.cu"]
    assert file.read_bytes() == whole


def test_without_a_writable_folder_nothing_is_kept(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All cache folders are below a file, so that not even the superuser can make them."""
    (tmp_path / "file").write_text("")
    blocked = [tmp_path / "file" / "a", tmp_path / "file" / "b"]
    monkeypatch.setattr(cache, "folders", lambda: iter(blocked))
    assert stored(HostDevice(), "VALUE=1") == 8


def test_several_files_are_prepared_side_by_side(sources: Path) -> None:
    device = HostDevice()
    prepare(device, [(KernelFile("store.cu"), (f"VALUE={i}",)) for i in range(3)])
    assert device.compiled == ["store.cu"] * 3
    assert stored(device, "VALUE=2") == 9
    assert len(device.compiled) == 3
    assert begin(device, [(KernelFile("store.cu"), ("VALUE=0",))]) == []


def test_who_asks_while_it_is_compiled_waits_for_it(sources: Path) -> None:
    """Two devices of a kind, three threads each, begun before: one compilation."""
    devices = [SlowDevice(), SlowDevice()]
    wanted = [(KernelFile("store.cu"), ("VALUE=3",))]
    for device in devices:
        begin(device, wanted)
    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(lambda device: stored(device, "VALUE=3"), devices * 3)) == {10}
    assert [*devices[0].compiled, *devices[1].compiled] == ["store.cu"]


def test_an_error_is_not_kept(sources: Path) -> None:
    device = SlowDevice()
    with pytest.raises(DeviceFailed, match="does not compile"):
        prepare(device, [(KernelFile("store.cu"), ("VALUE=nothing",))] * 2)
    (sources / "value.cuh").write_text("#define nothing 4\n" + VALUE)
    forget_sources()
    assert stored(device, "VALUE=nothing") == 11


class SlowDevice(HostDevice):
    def compile(self, source: str, name: str, options: tuple[str, ...]) -> bytes:
        time.sleep(0.2)
        return super().compile(source, name, options)

    __hash__ = object.__hash__


@dataclass(frozen=True)
class Kind:
    """Compilation target without a device."""

    device: HostDevice
    architecture: str = "host"
    compiler: str = HostDevice.compiler

    def compile(self, source: str, name: str, options: tuple[str, ...]) -> bytes:
        return self.device.compile(source, name, options)


def test_files_are_compiled_ahead_for_a_kind_of_device(sources: Path, tmp_path: Path) -> None:
    maker, wanted = HostDevice(), [(KernelFile("store.cu"), (f"VALUE={i}",)) for i in (1, 2, 1)]
    assert compile_files(Kind(maker), wanted) == 2
    assert compile_files(Kind(maker), wanted) == 0
    assert len(kept(tmp_path)) == 2
    device = HostDevice()
    assert stored(device, "VALUE=2") == 9
    assert device.compiled == []
    other = HostDevice(architecture="another")
    assert stored(other, "VALUE=2") == 9
    assert other.compiled == ["store.cu"]


def test_compiling_ahead_needs_a_folder(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(cache, "folders", lambda: iter([tmp_path / "file" / "below"]))
    with pytest.raises(DeviceFailed, match="set PIXELFOREST_CACHE_DIR"):
        compile_files(Kind(HostDevice()), [(KernelFile("store.cu"), ("VALUE=1",))])


def test_a_compiler_error_names_the_file_and_the_line(sources: Path) -> None:
    (sources / "value.cuh").write_text("static __device__ int value() {\n    return nothing;\n}\n")
    with pytest.raises(DeviceFailed, match=r"store\.cu does not compile.*\n?.*value\.cuh:2"):
        stored(HostDevice(), "VALUE=1")

"""Kernel files: what is compiled, what the cache keeps, and that no cache is no error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cuda_host.host_device import HostDevice

from pixelforest.kernels.contract import DeviceFailed
from pixelforest.kernels.cuda import launch
from pixelforest.kernels.cuda.launch import KernelFile, compile_options, prepare, read_source

SOURCE = '#include "value.cuh"\nextern "C" __global__ void store(int* out) { out[0] = VALUE + value(); }\n'
VALUE = "#define VALUE_KNOWN\nstatic __device__ int value() { return 7; }\n"


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two sources instead of the package's; the cache lies beside it."""
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "store.cu").write_text(SOURCE)
    (folder / "value.cuh").write_text(VALUE)
    monkeypatch.setattr(launch, "FOLDER", folder)
    monkeypatch.setenv("PIXELFOREST_CACHE_DIR", str(tmp_path / "cache"))
    read_source.cache_clear()
    yield folder
    read_source.cache_clear()


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
    kept = sorted((tmp_path / "cache" / "kernels").iterdir())
    assert len(kept) == 2, "nothing but whole binaries"
    second = HostDevice()
    assert stored(second, "VALUE=2") == 9
    assert second.compiled == []
    other = HostDevice(compiler="another version")
    assert stored(other, "VALUE=2") == 9
    assert other.compiled == ["store.cu"]


def test_a_changed_source_is_compiled_again(sources: Path) -> None:
    assert stored(HostDevice(), "VALUE=1") == 8
    (sources / "value.cuh").write_text(VALUE.replace("7", "70"))
    read_source.cache_clear()
    assert stored(HostDevice(), "VALUE=1") == 71


@pytest.mark.parametrize("damage", [b"", b"x" * 10_000])
def test_a_damaged_binary_is_made_anew(sources: Path, tmp_path: Path, damage: bytes) -> None:
    stored(HostDevice(), "VALUE=1")
    (kept,) = (tmp_path / "cache" / "kernels").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(damage)
    device = HostDevice()
    assert stored(device, "VALUE=1") == 8
    assert device.compiled == ["store.cu"]
    assert kept.read_bytes() == whole


def test_without_a_writable_folder_nothing_is_kept(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever folder is asked for lies below a file: the superuser cannot make it either."""
    (tmp_path / "file").write_text("")
    blocked = [tmp_path / "file" / "a", tmp_path / "file" / "b"]
    monkeypatch.setattr(launch, "cache_folders", lambda: iter(blocked))
    assert stored(HostDevice(), "VALUE=1") == 8


def test_the_next_folder_is_taken_where_one_cannot_be_written(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PIXELFOREST_CACHE_DIR", str(tmp_path / "file"))
    stored(HostDevice(), "VALUE=5")
    assert len([*Path(os.environ["HOME"]).glob("**/pixelforest/kernels/store-*.bin")]) == 1
    second = HostDevice()
    stored(second, "VALUE=5")
    assert second.compiled == []


def test_several_files_are_prepared_side_by_side(sources: Path) -> None:
    device = HostDevice()
    prepare(device, [(KernelFile("store.cu"), (f"VALUE={i}",)) for i in range(3)])
    assert device.compiled == ["store.cu"] * 3
    assert stored(device, "VALUE=2") == 9
    assert len(device.compiled) == 3


def test_a_compiler_error_names_the_file_and_the_line(sources: Path) -> None:
    (sources / "value.cuh").write_text("static __device__ int value() {\n    return nothing;\n}\n")
    with pytest.raises(DeviceFailed, match=r"store\.cu does not compile.*\n?.*value\.cuh:2"):
        stored(HostDevice(), "VALUE=1")

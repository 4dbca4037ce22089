"""Kernels compiled ahead of use: compiled once, cached, checked, and called without the compiler."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest

from pixelforest import kernels
from pixelforest.kernels.contract import KernelError
from pixelforest.kernels.cpu import loader as library
from pixelforest.kernels.cpu.build import cache_key as fingerprint
from pixelforest.kernels.cpu.build import compiler
from pixelforest.kernels.cpu.build import signatures as entries
from pixelforest.kernels.shared import cache

pytestmark = pytest.mark.slow

UNIT = "sizes"  # the smallest one
ONLY = """
import pathlib, sys
from pixelforest.kernels.shared import cache
places = [pathlib.Path(sys.argv[1])]
cache.folders = lambda: iter(places)
"""
PROGRAM = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
import numpy as np
from pixelforest.kernels.cpu import loader as library
sizes = np.zeros(3, np.int64)
library.kernel("add_label_sizes")(np.array([0, 2, 2, 1], np.uint32), sizes)
assert sizes.tolist() == [1, 1, 2]
print("numba" if "numba" in sys.modules else "no compiler")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty cache that is searched first; the package's own and the user's are disabled."""
    monkeypatch.setattr(cache, "folders", lambda: iter([tmp_path]))
    return tmp_path


def run(program: str, places: Path, **variables: str) -> list[str]:
    """Run a program in a process that searches kernels only in ``places``. Returns the lines it prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    done = subprocess.run(
        [sys.executable, "-c", ONLY + program, str(places)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def kept(folder: Path) -> Path:
    (file,) = (path for path in folder.rglob(UNIT) if path.is_file())
    return file


def test_an_empty_cache_is_filled_once_and_says_so_once(tmp_path: Path) -> None:
    assert run(PROGRAM, tmp_path) == ["Compiling kernels, once", "no compiler"]
    before = kept(tmp_path).stat().st_mtime_ns
    assert run(PROGRAM, tmp_path) == ["no compiler"]
    assert kept(tmp_path).stat().st_mtime_ns == before


def test_two_processes_may_fill_an_empty_cache_at_once(tmp_path: Path) -> None:
    printed: list[list[str]] = []
    threads = [threading.Thread(target=lambda: printed.append(run(PROGRAM, tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [lines[-1] for lines in printed] == ["no compiler"] * 2
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [UNIT]


@pytest.mark.parametrize("damage", ["cut", "changed", "renamed"])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: str) -> None:
    run(PROGRAM, tmp_path)
    file = kept(tmp_path)
    whole = file.read_bytes()
    if damage == "cut":
        file.write_bytes(whole[: len(whole) // 2])
    elif damage == "changed":
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    else:
        assert cache._digest("elsewhere", whole[32:]) != whole[:32]
        file.write_bytes(cache._digest("elsewhere", whole[32:]) + whole[32:])
    assert run(PROGRAM, tmp_path) == ["Compiling kernels, once", "no compiler"]
    assert cache._digest(str(file.relative_to(tmp_path).as_posix()), file.read_bytes()[32:]) == file.read_bytes()[:32]


@pytest.mark.skipif(os.name == "nt", reason="folders are made read-only by their mode")
def test_a_folder_filled_beforehand_is_used_though_it_cannot_be_written(tmp_path: Path) -> None:
    run(PROGRAM, tmp_path)
    folders = [tmp_path, *(path for path in tmp_path.rglob("*") if path.is_dir())]
    for each in folders:
        each.chmod(0o555)
    try:
        assert run(PROGRAM, tmp_path) == ["no compiler"]
    finally:
        for each in folders:
            each.chmod(0o755)


@pytest.mark.skipif(os.name == "nt", reason="owners and modes as on POSIX")
def test_a_file_that_others_could_have_written_is_not_used(folder: Path) -> None:
    assert cache.write("cpu-version/file", b"code") == folder
    assert cache.read("cpu-version/file") == b"code"
    (folder / "cpu-version").chmod(0o777)
    assert cache.read("cpu-version/file") is None
    (folder / "cpu-version").chmod(0o755)
    (folder / "cpu-version" / "file").chmod(0o666)
    assert cache.read("cpu-version/file") is None


def test_what_cannot_be_written_goes_to_the_next_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    places = [tmp_path / "file" / "below", tmp_path / "second"]
    monkeypatch.setattr(cache, "folders", lambda: iter(places))
    assert cache.write("cpu-version/file", b"code") == places[1]
    assert cache.read("cpu-version/file") == b"code"
    monkeypatch.setattr(cache, "folders", lambda: iter(places[:1]))
    assert cache.write("cpu-version/file", b"code") is None


def test_places_follow_the_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELFOREST_CACHE_DIR", str(tmp_path / "ours"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "numbas"))
    assert [path.parent for path in cache.folders()][:2] == [tmp_path / "ours", tmp_path / "numbas"]


def test_changed_sources_have_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kernel.py").write_text("one")
    monkeypatch.setattr(fingerprint, "_FOLDERS", (tmp_path,))
    fingerprint.sources.cache_clear()
    try:
        before = fingerprint.sources()
        fingerprint.sources.cache_clear()
        (tmp_path / "kernel.py").write_text("two")
        assert fingerprint.sources() != before
    finally:
        fingerprint.sources.cache_clear()


def test_processors_are_told_apart_and_a_class_of_them_serves_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CPU_NAME", raising=False)
    monkeypatch.delenv("NUMBA_CPU_FEATURES", raising=False)
    fingerprint.processor.cache_clear()
    fingerprint.targets.cache_clear()
    own = fingerprint.targets()
    assert own[0] == fingerprint.processor()
    monkeypatch.setenv("NUMBA_CPU_NAME", "generic")
    monkeypatch.setenv("NUMBA_CPU_FEATURES", "")
    fingerprint.processor.cache_clear()
    fingerprint.targets.cache_clear()
    chosen = fingerprint.targets()
    monkeypatch.undo()
    fingerprint.processor.cache_clear()
    fingerprint.targets.cache_clear()
    assert chosen == (("generic", ""),)
    folders = [fingerprint.folder(target) for target in (*own, *chosen)]
    assert len(set(folders)) == len(folders)


def test_code_for_a_class_of_processors_is_used_by_each_of_it(tmp_path: Path) -> None:
    """As an image is filled, on another processor than that which runs it."""
    general = fingerprint.targets()[-1]
    run(PROGRAM, tmp_path, NUMBA_CPU_NAME=general[0], NUMBA_CPU_FEATURES=general[1])
    assert run(PROGRAM, tmp_path) == ["no compiler"]


def test_without_a_compiler_process_numba_does_the_same_in_this_one(tmp_path: Path) -> None:
    lines = run("import sys\nsys.frozen = True\n" + PROGRAM, tmp_path)
    assert lines[-1] == "numba"
    assert any("takes longer" in line for line in lines)


def test_arguments_of_other_types_are_refused() -> None:
    kernel = library.kernel("add_label_sizes")
    sizes = np.zeros(3, np.int64)
    for labels in (np.zeros(4, np.int32), np.zeros((2, 2), np.uint32), np.zeros(8, np.uint32)[::2]):
        with pytest.raises(TypeError, match="a kernel takes"):
            kernel(labels, sizes)


def test_numbers_pass_whole() -> None:
    """64 unsigned bits, negative numbers and several results."""
    originals, ids = np.zeros(4, np.uint64), np.zeros(8, np.uint32)
    keys, out = np.zeros(8, np.uint64), np.zeros(2, np.uint32)
    values = np.array([2**64 - 1, 7], np.uint64)
    renumber = library.kernel("renumber", values.dtype)
    assert renumber(values, 0, originals, 0, keys, ids, out) == (2, 2)
    assert originals.tolist() == [2**64 - 1, 7, 0, 0]
    assert out.tolist() == [1, 2]


def test_an_error_inside_a_kernel_is_raised() -> None:
    """A box of 2^62 voxels, for which there is no memory."""
    labels, boxes = np.zeros((1, 1, 1), np.uint32), np.array([[0, 0, 0, 2, 2**31 - 1, 2**31 - 1]], np.int32)
    with pytest.raises((KernelError, MemoryError), match="describe_hulls"):
        library.kernel("describe_hulls")(
            labels, (0, 0, 0), boxes, np.zeros((1, 3)), np.zeros(1), 0, 1, np.zeros((1, 18))
        )


def test_code_that_needs_numba_at_run_time_is_refused() -> None:
    module = llvm.parse_assembly("declare void @numba_attempt_nocopy_reshape()\ndeclare double @pow(double, double)")
    with pytest.raises(RuntimeError, match="inside numba: numba_attempt_nocopy_reshape"):
        compiler._refuse_symbols_of_numba(module)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_units_are_compiled_ahead_of_use() -> None:
    assert kernels.warm("cpu") == len(entries.all_units())


def test_every_entry_has_its_function() -> None:
    for entry in entries.ENTRIES.values():
        source = Path(library.__file__).parent.joinpath("loops", f"{entry.module}.py").read_text(encoding="utf-8")
        assert f"\ndef {entry.function}(" in source, entry.name
    assert set(entries.all_units()) == {entry.unit for entry in entries.ENTRIES.values()}

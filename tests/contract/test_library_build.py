"""Building of the library of CPU kernels: reproducible, and done again when its sources change."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import llvmlite.binding as llvm
import pytest
from support.golden import REPOSITORY
from support.wheels import PLATFORMS

from pixelforest.kernels.cpu import loader
from pixelforest.kernels.cpu.build import compiler, digest, targets

OBJECTS = Path("build", "kernel-objects")
BUILD = """
import sys
from pathlib import Path
from pixelforest.kernels.cpu.build import library, targets
units = ("sizes", "shape")
library.all_units = lambda: units
library.ENTRIES = {name: entry for name, entry in library.ENTRIES.items() if entry.unit in units}
print(library.build_if_needed(Path(sys.argv[1]), targets.find_target(sys.argv[2])))
"""
RUN = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
import numpy as np
from pixelforest.kernels.cpu.loader import kernel
sizes = np.zeros(3, np.int64)
kernel("add_label_sizes")(np.array([0, 2, 2, 1], np.uint32), sizes)
print(sizes.tolist(), "numba" in sys.modules)
"""


def copy_package(folder: Path) -> Path:
    """Copy what kernels need of this checkout to a package in a folder."""
    package = folder / "pixelforest"
    package.mkdir(parents=True)
    for name in ("__init__.py", "frozen.py"):
        shutil.copy(REPOSITORY / name, package)
    shutil.copytree(REPOSITORY / "kernels", package / "kernels", ignore=shutil.ignore_patterns("__pycache__", "cuda"))
    return package


def run(program: str, folder: Path, *words: str, **variables: str) -> list[str]:
    """Run a program that imports the package of a folder. Returns the lines it prints."""
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, **variables}
    command = [sys.executable, "-c", program, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("name", targets.TARGETS)
def test_two_checkouts_make_the_same_library(tmp_path: Path, name: str) -> None:
    """For this machine, and with the package ziglang for all others."""
    target = targets.TARGETS[name]
    if target != targets.own_target() and find_spec("ziglang") is None:
        pytest.skip("the package ziglang, which links for other platforms, is not installed; make wheels installs it")
    libraries = []
    for seed, folder in (("1", tmp_path / "here"), ("2", tmp_path / "somewhere-else")):
        package = copy_package(folder)
        assert run(BUILD, folder, str(package), name, PYTHONHASHSEED=seed) == [PLATFORMS[name]]
        libraries.append((package / target.library).read_bytes())
    assert libraries[0] == libraries[1]
    assert os.fsencode(tmp_path) not in libraries[0]


@pytest.mark.slow
def test_changed_sources_are_compiled_again_before_they_are_run(tmp_path: Path) -> None:
    package = copy_package(tmp_path)
    if (REPOSITORY / OBJECTS).is_dir():  # units that do not change need not be compiled for this test
        shutil.copytree(REPOSITORY / OBJECTS, package / OBJECTS)
    assert run(RUN, tmp_path)[-1] == "[1, 1, 2] False"
    source = package / "kernels" / "cpu" / "loops" / "threshold.py"
    text = source.read_text(encoding="utf-8")
    assert text.count("sizes[labels[i]] += 1") == 1
    source.write_text(text.replace("sizes[labels[i]] += 1", "sizes[labels[i]] += 3"), encoding="utf-8")
    assert run(RUN, tmp_path) == ["Compiling kernels: their sources have changed", "[3, 3, 6] False"]
    assert run(RUN, tmp_path) == ["[3, 3, 6] False"]


def test_the_library_of_this_checkout_is_current() -> None:
    """Whatever ran before has built it."""
    loader.load_library()
    assert digest.is_current(loader.LIBRARY)


def test_a_changed_source_has_another_mark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "kernel.py").write_text("one")
    monkeypatch.setattr(digest, "_FOLDERS", (tmp_path,))
    before = digest.mark()
    (tmp_path / "kernel.py").write_text("two")
    assert digest.mark() != before


def test_constants_that_kernels_contain_are_marked() -> None:
    """Kernels import nothing of kernels/shared but the files that the mark includes."""
    files = [path for folder in digest._FOLDERS for path in folder.glob("*.py")]
    imported = {found for path in files for found in digest._parse(path)[1] if found.parent.name == "shared"}
    assert {path.name for path in imported} == set(digest._SHARED)


def test_a_unit_depends_on_the_modules_it_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    target = targets.own_target()
    before = {unit: digest.digest_unit(unit, target) for unit in ("shape", "sizes")}
    real = digest._parse
    monkeypatch.setattr(digest, "_parse", lambda file: ("", set()) if file.name == "hypotenuse.py" else real(file))
    after = {unit: digest.digest_unit(unit, target) for unit in ("shape", "sizes")}
    assert after["shape"] != before["shape"]
    assert after["sizes"] == before["sizes"]


def test_a_machine_without_kernels_is_told_for_which_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(NotImplementedError, match=r"^there are no kernels for linux-riscv64; there are for linux-"):
        targets.own_target()


@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [("Linux", "aarch64", "linux-aarch64"), ("Darwin", "arm64", "macos-arm64"), ("Windows", "AMD64", "windows-x86_64")],
)
def test_machines_have_targets(monkeypatch: pytest.MonkeyPatch, system: str, machine: str, name: str) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert targets.own_target().name == name


def test_code_that_needs_numba_at_run_time_is_refused() -> None:
    module = llvm.parse_assembly("declare void @numba_attempt_nocopy_reshape()\ndeclare double @pow(double, double)")
    with pytest.raises(RuntimeError, match="inside numba: numba_attempt_nocopy_reshape"):
        compiler._refuse_symbols_of_numba(module)


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="asks CPUID of x86-64")
def test_the_library_knows_this_processor_as_llvm_does() -> None:
    features = llvm.get_host_cpu_features()
    has_all = all(features[name] for name in targets._X86_FEATURES)
    assert loader.load_library().has_vectors() == has_all

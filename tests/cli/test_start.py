"""Imports of a run: every run would pay for libraries and modules that it does not need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from support.golden import GOLDEN

from pixelforest.kernels.cpu.loader import load_library

PROJECT, RAW = GOLDEN / "px2d_gray" / "project.ilp", GOLDEN / "px2d_gray" / "raw.png"
RUN = """
import json, sys
from pixelforest.__main__ import main
status = main()
print(json.dumps([status, sorted(sys.modules)]))
"""
COLLECTIONS = """
import atexit, gc, os, sys
times = []
gc.callbacks.append(lambda phase, info: phase == "start" and times.append(1))
from pixelforest import __main__ as program
before = len(times)
atexit.register(lambda: os.write(1, f"collected {len(times) - before} times\\n".encode()))
program.start()
"""
# Of the standard library: what is slow to import and of no use to most runs.
SELDOM = {"argparse", "asyncio", "configparser", "difflib", "email", "http", "logging.handlers", "ssl"}
SELDOM |= {"multiprocessing", "secrets", "unittest", "urllib.request", "xml.etree.ElementTree", "importlib.metadata"}
SELDOM |= {"base64", "bz2", "decimal", "fractions", "lzma", "random", "shutil", "tempfile", "zipfile"}
SELDOM |= {"subprocess"}  # h5py would start uname
# Libraries, and what of ours leads to them.
NEVER = {
    "cupy",
    "dask",
    "distributed",
    "llvmlite",
    "matplotlib",
    "numba",
    "pandas",
    "pyarrow",
    "scipy",
    "skimage",
    "sklearn",
}
FORMATS = {"PIL", "imagecodecs", "tensorstore", "tifffile"}
OBJECTS = {"pixelforest.engine.objects", "pixelforest.engine.workflows.objects.frame"}
OBJECT_KERNELS = {"pixelforest.kernels.cpu.host.measure", "pixelforest.kernels.cpu.host.neighbourhood"}
# What only --resume, --blocks, --scheduler and clean need.
RESUME = {f"pixelforest.engine.run.{name}" for name in ("block_run", "cluster", "done_lanes", "fingerprint")}
RESUME |= {f"pixelforest.engine.storage.{name}" for name in ("ledger", "leftovers", "run_folder")}
KERNELS = {"pixelforest.kernels.cpu"}
OWN_WITHOUT_INPUTS, OWN_FOR_A_PICTURE = 115, 162  # a module of each input format is among the latter


def modules_of(*arguments: str, **variables: str) -> set[str]:
    """Modules that a run has imported when it is over."""
    load_library()  # the first run of an edited checkout compiles
    argv = [sys.executable, "-c", RUN, f"--project={PROJECT}", "--device=cpu", "--quiet", *arguments]
    environment = {**os.environ, **variables}
    done = subprocess.run(argv, check=True, capture_output=True, text=True, env=environment)
    status, names = json.loads(done.stdout.splitlines()[-1])
    assert status == 0
    return set(names)


def own(names: set[str]) -> int:
    return sum(name.split(".")[0] == "pixelforest" for name in names)


def test_a_run_without_inputs_reads_the_project_and_no_more() -> None:
    names = modules_of()
    assert not names & (SELDOM | NEVER | FORMATS | OBJECTS | KERNELS)
    assert [name for name in names if name.startswith("pixelforest.engine.formats.images.")] == [
        "pixelforest.engine.formats.images.hdf5"
    ]
    assert own(names) <= OWN_WITHOUT_INPUTS


def test_a_picture_takes_one_library_of_pictures(tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    names = modules_of("--output_format=compressed hdf5", f"--output_filename_format={out}", str(RAW))
    assert out.exists()
    assert names & FORMATS == {"imagecodecs"}
    assert not names & (SELDOM | NEVER | OBJECTS | OBJECT_KERNELS | RESUME)
    assert own(names) <= OWN_FOR_A_PICTURE


def test_an_environment_may_have_any_version_of_numba(tmp_path: Path) -> None:
    """Or one that cannot be imported with the NumPy that is installed."""
    for name in ("numba", "llvmlite"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('NumPy 1.26 or less is needed')", encoding="utf-8")
    out = tmp_path / "out.h5"
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    modules_of("--output_format=hdf5", f"--output_filename_format={out}", str(RAW), PYTHONPATH=path)
    assert out.exists()


def test_a_short_run_does_not_look_for_garbage(tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    arguments = ["--quiet", "--output_format=hdf5", f"--output_filename_format={out}", f"--project={PROJECT}", str(RAW)]
    done = subprocess.run([sys.executable, "-c", COLLECTIONS, *arguments], check=True, capture_output=True, text=True)
    assert out.exists()
    assert done.stdout.splitlines()[-1] == "collected 0 times"

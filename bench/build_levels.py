"""Builds of the CPU kernels for levels of x86-64 from the same sources.

``python bench/build_levels.py LEVEL UNIT...`` compiles units, ``... LEVEL FOLDER/`` links the library. A build has a
process of its own: units are compiled as for the package only if kernels were not imported before.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

if __name__ == "__main__":
    for variable in [name for name in os.environ if name.startswith("NUMBA_")]:
        del os.environ[variable]
    sys.modules["scipy"] = None  # type: ignore[assignment]  # as in kernels/cpu/build

from pixelforest.kernels.cpu.build import library
from pixelforest.kernels.cpu.build.digest import digest_unit
from pixelforest.kernels.cpu.build.targets import Target, find_target

V3 = find_target("linux-x86_64")
_AVX512 = ",".join(f"+avx512{part}" for part in ("f", "bw", "cd", "dq", "vl"))


def _v4(name: str, width: str) -> Target:
    features = f"{V3.features},{_AVX512},{width}"
    return replace(V3, machine=f"x86_64-{name}", processor="x86-64-v4", features=features)


# v4-256 has registers of 512 bits, too, where kernels name vectors as wide as that.
LEVELS = {"v3": V3, "v4": _v4("v4", "-prefer-256-bit"), "v4-256": _v4("v4-256", "+prefer-256-bit")}


def object_files(level: str, units: Sequence[str]) -> dict[str, Path]:
    """Compile units that have not been compiled from the present sources. Returns the object file of each."""
    folder = library._OBJECTS / LEVELS[level].name
    files = {unit: folder / f"{unit}-{digest_unit(unit, LEVELS[level])}.o" for unit in units}
    missing = [unit for unit, file in files.items() if not file.exists()]
    if missing:
        subprocess.run([sys.executable, __file__, level, *missing], check=True)
    return files


def link_library(level: str, folder: Path) -> Path:
    """Build the whole library of a level in a folder."""
    subprocess.run([sys.executable, __file__, level, folder], check=True)
    return folder / LEVELS[level].library


def _compile(target: Target, units: Sequence[str]) -> None:
    """Compile units as ``library.build`` does."""
    from pixelforest.kernels.cpu.build import compiler

    compiler.prepare()
    folder = library._OBJECTS / target.name
    folder.mkdir(parents=True, exist_ok=True)
    work = [(unit, target, folder / f"{unit}-{digest_unit(unit, target)}.o") for unit in units]
    with get_context("fork").Pool(os.cpu_count(), maxtasksperchild=1) as pool:
        pool.starmap(library._compile, work, chunksize=1)
    for _, _, file in work:
        library._partial(file).replace(file)


if __name__ == "__main__":
    target, given = LEVELS[sys.argv[1]], sys.argv[2:]
    if os.sep in given[0]:
        library.build_if_needed(Path(given[0]), target)
    else:
        _compile(target, given)

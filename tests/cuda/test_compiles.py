"""Compilation of every .cu for every architecture: no spills, no contracted operations. No GPU is needed."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from support.cuda_host.nvrtc import Compiled, CompileError, compile_kernels, library_path

from pixelforest.kernels.contract import OPERATIONS
from pixelforest.kernels.cuda.features import load_plan
from pixelforest.kernels.cuda.launch import FOLDER, read_source
from pixelforest.testing.kernel_inputs import make_plan

# Architecture -> major version of the CUDA whose compiler is taken; CUDA 13 no longer knows Volta.
ARCHITECTURES = {"sm_70": 12, **dict.fromkeys(("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"), 13)}
FILES = sorted(path.name for path in FOLDER.glob("*.cu"))


def feature_defines(scale: float, *, flat: bool, operations: Sequence[str] = OPERATIONS) -> list[tuple[str, ...]]:
    """Defines of the kernels of features.cu that a project with this scale takes."""
    plan = load_plan(make_plan([(scale, flat)], operations=operations))
    return [kernel.defines for kernel in plan.scales[0].kernels]


def one_kernel() -> list[tuple[str, ...]]:
    """A single 3-d kernel, which the bench compares with two kernels."""
    return [kernel.defines for kernel in load_plan(make_plan([(1.0, False)]), split_solid=False).scales[0].kernels]


# File -> the defines it is compiled with, one tuple a variant. Files that are not here need none.
VARIANTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "sources.cu": (("SOURCE=uint16",),),
    "stages.cu": (("SOURCE=uint8",), ("SOURCE=int64",)),
    "strided.cu": (("SOURCE=uint8",), ("SOURCE=float32",)),
    "features.cu": (*feature_defines(1.0, flat=True), *feature_defines(1.0, flat=False)),
    "forest.cu": (("ONLY=1",), ("ONLY=2", "LEAVES=1")),
    "labels.cu": (("VALUE=unsigned char",), ("VALUE=double",)),
    "results.cu": tuple((f"TARGET={target}",) for target in range(7)),
    "threshold.cu": (("VALUE=unsigned long long",), ("VALUE=double",)),
}
# The same, for variants that are compiled for one architecture only.
SOME_VARIANTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "sources.cu": tuple(
        (f"SOURCE={name}",)
        for name in ("bool", "uint8", "int8", "int16", "uint32", "int32", "uint64", "int64", "float16", "float64")
    ),
    "stages.cu": tuple(
        (f"SOURCE={name}",) for name in ("int8", "uint16", "int16", "uint32", "int32", "uint64", "float32", "float64")
    ),
    "strided.cu": tuple((f"SOURCE={name}",) for name in ("bool", "int32", "uint64", "float16", "float64")),
    "features.cu": (
        *one_kernel(),
        *(defines for scale in (0.3, 0.7) for defines in feature_defines(scale, flat=False)),
        *feature_defines(0.7, flat=True),
        *feature_defines(1.0, flat=False, operations=["gaussian", "hessian"]),
    ),
}
# (file, kernel) -> bytes of spills that are known and do not matter, with the reason beside it.
KNOWN_SPILLS: dict[tuple[str, str], int] = {}
# A multiply-add that is not asked for by name would appear in the code although these are defined away.
UNFUSED = ("__fmaf_rn(a,b,c)=((a)*(b)+(c))", "__fma_rn(a,b,c)=((a)*(b)+(c))")

JOBS = [
    pytest.param(file, defines, architecture, id=f"{file}-{architecture}-{i}")
    for file in FILES
    for i, defines in enumerate(VARIANTS.get(file, ((),)))
    for architecture in ARCHITECTURES
]
ROUNDED = [pytest.param(*job.values[:2], id=job.id) for job in JOBS if job.values[2] == "sm_90"]
JOBS += [
    pytest.param(file, defines, "sm_90", id=f"{file}-sm_90-some-{i}")
    for file, variants in SOME_VARIANTS.items()
    for i, defines in enumerate(variants)
]

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="there is no NVRTC for macOS")

Key = tuple[str, tuple[str, ...], str]


@pytest.fixture(scope="module")
def compiled() -> Iterator[dict[Key, Future[Compiled]]]:
    """All compilations of this module, running in the background."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        wanted = [tuple(job.values) for job in JOBS]
        for file, defines in (job.values for job in ROUNDED):
            wanted.append((file, (*defines, *UNFUSED), "compute_90"))
        yield {key: pool.submit(compile_one, *key) for key in wanted}
        pool.shutdown(cancel_futures=True)


def compile_one(file: str, defines: tuple[str, ...], architecture: str) -> Compiled:
    return compile_kernels(file, architecture, major=ARCHITECTURES.get(architecture, 13), defines=defines)


@pytest.mark.parametrize("major", [12, 13])
def test_the_compilers_are_installed(major: int) -> None:
    assert library_path(major), "pip install .[test] brings both"


@pytest.mark.parametrize(("file", "defines", "architecture"), JOBS)
def test_compiles_without_spills(
    compiled: dict[Key, Future[Compiled]], file: str, defines: tuple[str, ...], architecture: str
) -> None:
    result = compiled[file, defines, architecture].result()
    assert result.cubin.startswith(b"\x7fELF")
    assert result.kernels
    spills = {name: r.spills for name, r in result.kernels.items() if r.spills > KNOWN_SPILLS.get((file, name), 0)}
    assert not spills, "bytes spilled"


@pytest.mark.parametrize(("file", "defines"), ROUNDED)
def test_nothing_is_fused_but_what_is_asked_for(
    compiled: dict[Key, Future[Compiled]], file: str, defines: tuple[str, ...]
) -> None:
    fused = re.compile(r"\b(fma|mad)\.(rn|rz|rm|rp)[.\w]*\.f(32|64)\b")
    assert not fused.search(compiled[file, (*defines, *UNFUSED), "compute_90"].result().ptx)
    asks = "__fmaf_rn" in read_source(file) or "__fma_rn" in read_source(file)
    assert asks or not fused.search(compiled[file, defines, "sm_90"].result().ptx)


def test_a_wrong_source_is_refused() -> None:
    with pytest.raises(CompileError, match="error"):
        compile_kernels("filters.cu", "sm_90", major=13, defines=("void=nothing",))

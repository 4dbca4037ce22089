"""Bench of start-up with an empty cache: kernels one by one, all in parallel, and, with a GPU, whole processes.

Compiling needs NVRTC and CuPy, but no GPU: --architecture selects one. The kernels are those of a project with every
feature of ilastik's dialog for uint8 images and float32 probabilities. The goal is 2.5 s from the start of
the process to the end of the file, of which Python, NumPy, CuPy and the driver take a part that only a GPU can show.

Variants tried, with results (sm_90, NVRTC 13.5, CPU seconds of two busy cores; no whole process has run on a GPU yet):
- one kernel after the other: 2.2 in 2-D (7 files), 3.3 in 3-D (9); the longest 0.6
- in parallel in threads: as many CPU seconds, and no thread waits for another one: of 4 s of two threads only 0.1 were
  lost, and on a quiet machine 6.1 s of 16 files took 3.3. With a core for each, 0.6
- all started when the plan is known, the forest's when the forest is read: before, it came after the features (0.35),
  the results' after both (0.2)
- features and forest in one kernel, since removed: 2.5 in 2-D and 3.2 in 3-D for a single file, so 2 s more
- no CPU form of the forest for runs on a GPU: it started to compile kernels of its own
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from cases import Case, chosen_cases, list_cases, make_parser, parse
from data import prepare, selection
from measure import Report, Timing, join_timings, run_process, usable_processors

from pixelforest.engine.pixels.feature_plan import plan_features
from pixelforest.kernels.contract import Conversion, KernelError, ResultPlan, Wanted
from pixelforest.kernels.cuda.features import load_plan, plan_kernels
from pixelforest.kernels.cuda.filters import source_kernels
from pixelforest.kernels.cuda.forest import FILE as FOREST
from pixelforest.kernels.cuda.forest import VARIANTS, kernel_of
from pixelforest.kernels.cuda.launch import Compilation, KernelFile, Target, compile_options, read_source
from pixelforest.kernels.cuda.results import needed_kernels

GOAL_S = 2.5
# A run without cached GPU kernels; those of the CPU are cached as usual.
WITHOUT_CACHE = """
import sys
from pixelforest.kernels.shared import cache
read = cache.read
cache.read = lambda name: None if name.startswith("cuda-") else read(name)
from pixelforest.cli import main
sys.exit(main(sys.argv[1:]))
"""


def main(words: Sequence[str] | None = None, target: Target | None = None) -> int:
    """Run the bench. target: replaces the architecture in tests."""
    parser = make_parser(__doc__, defaults=("2d-512", "3d-64"), quick=("2d-quick",))
    parser.add_argument("--architecture", default="sm_90", metavar="SM", help="of the GPU that is compiled for")
    options = parse(parser, words)
    cases = chosen_cases(options)
    if options.dry_run:
        list_cases(cases)
        return 0
    try:
        target = target or _open_architecture(options.architecture)
    except (KernelError, ImportError) as error:
        print(f"there is nothing to measure without NVRTC: {error}", file=sys.stderr)
        return 1
    report = Report("cuda_startup", options.json)
    threads = options.threads or usable_processors()
    for case in cases:
        report.begin(
            f"{case.name}: all features, uint8 to float32 probabilities; {target.architecture}, {target.compiler}",
            name=case.name,
            architecture=target.architecture,
        )
        measure_compiling(report, case, target, threads=threads, repeats=options.repeats or 1)
        reason = _missing_gpu()
        if reason:
            report.note(f"whole processes: not measured, {reason}")
        else:
            measure_processes(report, case, options)
    return 0


def needed(dimensions: int) -> dict[str, Compilation]:
    """List the kernels of a run on an image with this number of dimensions, by name."""
    plan = load_plan(plan_features(selection(dimensions), channels=1, depth=1 if dimensions == 2 else 64))
    float32 = np.dtype(np.float32)
    results = ResultPlan((1, 2), 2, (Wanted("probabilities", (0, 2), Conversion(float32, float32)),))
    _, forest = kernel_of(VARIANTS["entered"], is_pure=True)
    files = [*plan_kernels(plan), *source_kernels(np.dtype(np.uint8)), (FOREST, forest), *needed_kernels(results)]
    return {
        f"{file.name}, {number} of {len(files)}": (file, defines) for number, (file, defines) in enumerate(files, 1)
    }


def measure_compiling(report: Report, case: Case, target: Target, *, threads: int, repeats: int) -> None:
    """Measure each kernel alone, then all in parallel as in a run; nothing is cached."""
    kernels = needed(case.dimensions)
    report.row("loading the compiler", _time(partial(target.compile, "", "nothing.cu", ()), 1))
    alone = {name: _time(partial(_compile, target, *kernel), repeats) for name, kernel in kernels.items()}
    for name, timing in alone.items():
        report.row(name, timing)
    together = Timing((sum(t.median for t in alone.values()),), (sum(min(t.cpu) for t in alone.values()),))
    report.row("one after the other", together, note=f"{len(kernels)} files")

    def all_of_them() -> None:
        with ThreadPoolExecutor(min(threads, len(kernels))) as pool:
            list(pool.map(lambda kernel: _compile(target, *kernel), kernels.values()))

    report.row("in parallel", _time(all_of_them, repeats), settings=f"{threads} threads")
    longest = max(alone, key=lambda name: alone[name].best)
    report.note(f"with a core for each as long as {longest}: {alone[longest].best:.2f} s")


def measure_processes(report: Report, case: Case, options: argparse.Namespace) -> None:
    """Measure whole processes, without and with GPU kernels in the cache."""
    material = prepare(case, options)
    repeats = options.repeats or 5
    with tempfile.TemporaryDirectory(prefix="pixelforest-bench-") as folder:
        words = [
            "--headless", "--quiet", f"--project={material.project.path}", f"--output_filename_format={folder}/out.h5",
            *material.images,
        ]  # fmt: skip
        start = [sys.executable, "-c"]
        cached = [*start, "import sys; from pixelforest.cli import main; sys.exit(main(sys.argv[1:]))"]
        goal = (GOAL_S, "the goal")
        for name, command in (
            ("whole process, empty cache", [*start, WITHOUT_CACHE]),
            ("whole process, kernels kept", cached),
        ):
            run_process([*command, "--device=cuda", *words])  # files and libraries are in memory afterwards
            runs = [run_process([*command, "--device=cuda", *words]) for _ in range(repeats)]
            report.row(name, join_timings(runs), voxels=case.voxels, floor=goal)
        own = join_timings([run_process([*cached, "--device=cpu", *words]) for _ in range(repeats)])
        report.row("the CPU, kernels kept", own, voxels=case.voxels)


def _compile(target: Target, file: KernelFile, defines: tuple[str, ...]) -> bytes:
    return target.compile(read_source(file.name), file.name, compile_options(defines))


def _time(work: Callable[[], object], repeats: int) -> Timing:
    wall, cpu = [], []
    for _ in range(repeats):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        work()
        cpu.append(time.process_time() - cpu_start)
        wall.append(time.perf_counter() - wall_start)
    return Timing(tuple(wall), tuple(cpu))


def _open_architecture(name: str) -> Target:
    from pixelforest.kernels.cuda.cupy_device import Architecture

    return Architecture(name)


def _missing_gpu() -> str:
    """Return the reason why there is no GPU, or an empty string."""
    try:
        from pixelforest.kernels.cuda.cupy_device import open_devices

        open_devices((0,))
    except KernelError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    sys.exit(main())

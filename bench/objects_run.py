"""Bench of object classification, whole processes from HDF5 to HDF5 and the table, with every object feature in 2-D.

The project is the recorded one of tests/golden/obj2d_seg: all standard features of objects and neighbourhoods, hulls
and skeletons, 233 values an object. Written are the table, Object Predictions and Object Probabilities. Stages are
measured in one process of one thread; "start and rest" is the whole process without them. --count, --pixels and --lanes
choose other work: a million objects, objects of one pixel in a checkerboard, and many small images in one process.

Variants tried:
- cells of a table: text of each different value by NumPy, 540 ns a cell; by a kernel, 20 to 75; in use
- three classes painted by indexing: 20 ns a pixel; by np.take: 4; in use
- an object cut out of its neighbourhood by comparing labels of its window; by its own runs: 30 % less; in use
- vectors to the boundary for all pixels of an object's box; for its own only: skeletons 16 % faster; in use
- pools of one thread, and ranges of fewer than 32 objects, for small images: calls by the lane's own thread; in use
- links of inputs resolved once a lane instead of once a result: 4 % less Python, 2 % less of a small lane; in use
- attributes of HDF5 files without h5py's ``attrs``: the same bytes, below 0.3 % of a small image
- a shorter or longer interval in which Python's threads switch, 0.3 to 50 ms: no difference for small images
- rows of all objects in memory, or in temporary files: 5 to 15 % more CPU for files; used where they do not fit
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import h5py
import numpy as np
from cases import make_parser, parse
from data import OBJECT_PROJECT, data_folder
from measure import Limits, Report, Timing, join_timings, measure_limits, run_process, usable_processors

SPACING = 28.8  # pixels from object to object: 5041 in 2048 x 2048
COUNT, QUICK_COUNT = 5041, 49
ILASTIK_CPU_S = 9.5  # 2048 x 2048 with 5041 objects; ilastik 1.4.3.dev28, 2 cores, 2026-11-29
GOAL = 20  # times as fast
RESULTS = "Object Predictions,Object Probabilities"
BARE_START = "import numpy, h5py"
# Stages: class or module, method or function.
STAGES = {
    "labels": ("pixelforest.engine.workflows.objects.frame", "Frame", "label"),
    "features": ("pixelforest.engine.workflows.objects.frame", "Frame", "measure"),
    "forest": ("pixelforest.engine.workflows.objects.frame", "Lane", "classify"),
    "table": ("pixelforest.engine.objects.rows", "TableRows", "add"),
    "images": ("pixelforest.engine.workflows.objects.frame", "Frame", "paint"),
}
# Parts of the features.
PARTS = {
    "statistics of objects": ("pixelforest.kernels.cpu.object_backend", "CpuObjects", "measure_slab"),
    "neighbourhoods": ("pixelforest.kernels.cpu.object_backend", "CpuObjects", "measure_neighbourhoods"),
    "axes, moments, quantiles": ("pixelforest.kernels.cpu.object_backend", "CpuObjects", "complete_pass"),
    "skeletons": ("pixelforest.kernels.cpu.object_backend", "CpuObjects", "skeleton_features"),
    "hulls": ("pixelforest.kernels.cpu.object_backend", "CpuObjects", "hull_features"),
}


@dataclass(frozen=True)
class Work:
    """Input of a run: an image (y, x) with its objects, as many times as there are lanes."""

    name: str
    shape: tuple[int, int]
    count: int
    raw: Path
    segmentation: Path
    lanes: int = 1

    @property
    def pixels(self) -> int:
        return self.shape[0] * self.shape[1] * self.lanes

    def arguments(self, folder: Path, threads: int, memory: str | None) -> list[str]:
        """Arguments of the command line; results are written to a folder."""
        return [
            *("--headless", "--quiet", "--no_progress", f"--project={OBJECT_PROJECT}", "--output_format=hdf5"),
            *(f"--threads={threads}", *([f"--memory={memory}"] if memory else []), f"--export_source={RESULTS}"),
            *(f"--output_filename_format={folder / '{nickname}_{result_type}.h5'}",),
            *(f"--table_filename={folder / '{nickname}.csv'}", "--raw_data", *self._copies(folder, self.raw)),
            *("--segmentation_image", *self._copies(folder, self.segmentation)),
        ]

    def _copies(self, folder: Path, path: Path) -> Iterator[str]:
        """Name an input once per lane, under as many names."""
        if self.lanes == 1:
            yield f"{path}/data" if path.suffix == ".h5" else str(path)
            return
        for i in range(self.lanes):
            copy = folder / f"{path.stem}_{i:04}{path.suffix}"
            if not copy.exists():
                copy.symlink_to(path)
            yield str(copy)


def main(words: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, defaults=(), quick=())
    parser.add_argument("--count", type=int, help=f"number of objects; default {COUNT}, about {SPACING}^2 pixels each")
    parser.add_argument("--spacing", type=float, default=SPACING, help="pixels from object to object")
    parser.add_argument("--pixels", action="store_true", help="objects of one pixel in a checkerboard")
    parser.add_argument("--lanes", type=int, default=0, help="so many times the recorded image instead")
    parser.add_argument("--memory", help="passed on to the runs")
    options = parse(parser, words)
    count = options.count or (QUICK_COUNT if options.quick else COUNT)
    name = "lanes" if options.lanes else "pixels" if options.pixels else "objects"
    name += "-quick" if options.quick else ""
    if options.dry_run:
        print(f"{name:18} {options.lanes or count}, every object feature, table and two images")
        return 0
    work = prepare(name, count, options)
    threads = options.threads or usable_processors()
    report = Report("objects_run", options.json)
    limits = measure_limits(threads, quick=options.quick)
    report.note(limits.describe())
    report.begin(
        f"{name}: {work.lanes} of {work.shape[0]} x {work.shape[1]}, {work.count} objects each",
        name=name, shape=work.shape, objects=work.count, lanes=work.lanes,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="pixelforest-bench-", dir=data_folder(options.data)) as folder:
        _measure(report, work, Path(folder), limits, options)
    return 0


def prepare(name: str, count: int, options: Any) -> Work:
    """Find or generate the image and its segmentation."""
    if options.lanes:
        folder = OBJECT_PROJECT.parent
        return Work(name, (200, 240), 45, folder / "raw.png", folder / "seg.png", options.lanes)
    cells = round(count**0.5 + 0.499)
    side = 2 * round((2 * count) ** 0.5 / 2 + 0.499) if options.pixels else int(cells * options.spacing + 3)
    folder = data_folder(options.data)
    kind = "pixels" if options.pixels else f"{options.spacing:g}"
    raw, segmentation = (folder / f"objects_{kind}_{count}_{part}.h5" for part in ("raw", "segmentation"))
    if not (raw.exists() and segmentation.exists()):
        image, mask = make_pixels(side, count) if options.pixels else make_objects(side, cells, count, options.spacing)
        for path, array in ((raw, image), (segmentation, mask)):
            with h5py.File(path, "w") as file:
                file.create_dataset("data", data=array)
    return Work(name, (side, side), count, raw, segmentation)


def make_objects(side: int, cells: int, count: int, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Make ellipses, rings, bars and angles on a lattice, and noise that is brighter inside them; both uint8."""
    rng = np.random.default_rng(5041)
    mask = np.zeros((side, side), np.uint8)
    largest = int(spacing) - 3
    y, x = np.ogrid[:largest, :largest]
    for i in range(count):
        row, column = (int(place * spacing) + 2 for place in divmod(i, cells))
        height, width = rng.uniform(0.35, 1, 2) * largest / 2
        squares = ((y - largest / 2) / height) ** 2 + ((x - largest / 2) / width) ** 2
        cut = mask[row : row + largest, column : column + largest]
        inside = squares <= 1
        if i % 4 == 1:
            inside &= squares > 0.3
        elif i % 4 == 2:
            inside = (abs(y - largest / 2) < height) & (abs(x - largest / 2) < width)
        elif i % 4 == 3:
            inside = (abs(y - largest / 2) < height) & (abs(x - largest / 2) < width) & ((y < height) | (x < width))
        inside[largest // 2, largest // 2] |= not inside.any()
        cut[:] = inside
    return np.clip(rng.poisson(50 + 90 * mask), 0, 255).astype(np.uint8), mask


def make_pixels(side: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Make a checkerboard of ``count`` pixels, and noise."""
    y, x = np.ogrid[:side, :side]
    mask = ((y + x) % 2).astype(np.uint8)
    places = np.flatnonzero(mask)
    mask.ravel()[places[count:]] = 0
    return np.random.default_rng(5041).integers(0, 256, (side, side), np.uint8), mask


def _measure(report: Report, work: Work, folder: Path, limits: Limits, options: Any) -> None:
    threads, repeats = limits.threads, options.repeats or (1 if options.quick or work.pixels > 1 << 24 else 5)
    command = [sys.executable, "-m", "pixelforest", *work.arguments(folder, threads, options.memory)]
    bare = [sys.executable, "-c", BARE_START]
    if repeats > 1:
        run_process(command)
        run_process(bare)
    own, starts = list[Timing](), list[Timing]()
    for _ in range(repeats):
        own.append(run_process(command))
        starts.append(run_process(bare))
    whole, start = join_timings(own), join_timings(starts)
    # Of every pixel: two images read, labels written and read four times, values read three times, results written.
    floor = limits.floor(moved_bytes=work.pixels * (2 + 5 * 4 + 3 * 4 + 1 + 12))
    floor = floor[0] + start.median, f"start and {floor[1]}"
    cpu = statistics.median(whole.cpu or whole.wall)
    note = f"{1e3 * cpu / work.lanes:.1f} CPU ms a lane" if work.lanes > 1 else ""
    if work.count == COUNT and not (options.pixels or options.lanes):
        note = f"ilastik, recorded: {ILASTIK_CPU_S} CPU s, {ILASTIK_CPU_S / cpu:.1f} times; goal {GOAL} times"
    settings = f"{threads} threads" + (f", --memory={options.memory}" if options.memory else "")
    report.row("pixelforest, whole process", whole, settings=settings, voxels=work.pixels, floor=floor, note=note)
    report.row(f"python -c '{BARE_START}'", start)
    stages = measure_stages(work, folder, options.memory)
    for name, seconds in stages.items():
        report.row(name, Timing((seconds[0],), (seconds[1],)), settings="1 thread")


def measure_stages(work: Work, folder: Path, memory: str | None) -> dict[str, tuple[float, float]]:
    """Measure wall and CPU seconds of the stages in another process of one thread."""
    done = folder / "stages.json"
    arguments = [str(done), *work.arguments(folder, 1, memory)]
    run_process([sys.executable, str(Path(__file__).resolve()), "--stages", *arguments])
    found: dict[str, tuple[float, float]] = json.loads(done.read_text(encoding="utf-8"))
    return found


def run_stages(done: Path, arguments: list[str]) -> int:
    """Run the command line in this process and store the seconds of each stage."""
    from importlib import import_module

    from pixelforest.cli import main as command_line

    spent: dict[str, list[float]] = {}
    with ExitStack() as stack:
        for name, (module, owner, method) in (STAGES | {f"  {name}": place for name, place in PARTS.items()}).items():
            spent[name] = [1e-9, 0.0]
            target = getattr(import_module(module), owner)
            plain = getattr(target, method)
            stack.enter_context(patch.object(target, method, _timed(plain, spent[name])))
        status = command_line(arguments)
    names = [*list(STAGES)[:2], *(f"  {name}" for name in PARTS), *list(STAGES)[2:]]
    done.write_text(json.dumps({name: spent[name] for name in names}), encoding="utf-8")
    return int(status or 0)


def _timed(plain: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    def timed(*arguments: Any, **options: Any) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            return plain(*arguments, **options)
        finally:
            spent[0] += time.perf_counter() - wall
            spent[1] += time.process_time() - cpu

    return timed


if __name__ == "__main__":
    if sys.argv[1:2] == ["--stages"]:
        sys.exit(run_stages(Path(sys.argv[2]), sys.argv[3:]))
    sys.exit(main())

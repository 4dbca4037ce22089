"""Measurements for the plots of docs/performance.md: threads, tiles, sizes of images, budgets of memory.

One row per point, in four series: seconds of whole processes against threads, CPU seconds against the size of tiles,
the maximum resident set against the size of the image and against --memory. ``draw.py`` plots the rows.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from cases import CASES, Case, list_cases, make_parser, parse
from data import Material, prepare
from measure import Report, Timing, join_timings, run_process, time_work, usable_processors
from stages import Stages, open_raw

from pixelforest.box import Box

SIZES = {2: ("2d-512", "2d-2048", "2d-4096", "2d-8192"), 3: ("3d-64", "3d-128", "3d-256")}
QUICK_SIZES = {2: ("2d-quick",), 3: ()}
ON = {2: "2d-2048", 3: "3d-128"}  # threads, tiles and budgets are measured on these
QUICK_ON = {2: "2d-quick"}
TILES = {2: ((64, 64), (64, 128), (128, 256), (256, 512), (512, 1024), (1024, 2048)), 3: (16, 32, 64, 128)}
BUDGETS_MB = (32, 64, 128, 256, 512, 1024, 2048)


def main(words: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, defaults=(), quick=())
    parser.add_argument("--series", action="append", choices=("threads", "tiles", "sizes", "budgets"))
    options = parse(parser, words)
    series = options.series or ["threads", "tiles", "sizes", "budgets"]
    on, sizes = (QUICK_ON, QUICK_SIZES) if options.quick else (ON, SIZES)
    if options.dry_run:
        list_cases([CASES[name] for name in sorted({*on.values(), *(n for names in sizes.values() for n in names)})])
        return 0
    repeats = options.repeats or (1 if options.quick else 5)
    threads = options.threads or usable_processors()
    report = Report("curves", options.json)
    if "threads" in series:
        for case in (CASES[name] for name in on.values()):
            _begin(report, "threads", case)
            points = [(f"--threads={n}", n) for n in _doubled(threads)]
            _whole(report, case, prepare(case, options), points, repeats=repeats)
    if "tiles" in series:
        for case in (CASES[name] for name in on.values()):
            _begin(report, "tiles", case)
            _tiles(report, case, prepare(case, options), repeats=repeats)
    if "sizes" in series:
        for names in sizes.values():
            for case in (CASES[name] for name in names):
                _begin(report, "sizes", case)
                _whole(report, case, prepare(case, options), [(f"--threads={threads}", case.voxels)], repeats=1)
    if "budgets" in series:
        for case in (CASES[name] for name in on.values()):
            _begin(report, "budgets", case)
            points = [(f"--memory={megabytes}M", megabytes) for megabytes in BUDGETS_MB]
            _whole(report, case, prepare(case, options), points[-1:] if options.quick else points, repeats=1)
    return 0


def _begin(report: Report, series: str, case: Case) -> None:
    report.begin(f"{series}: {case.describe()}", name=case.name, shape=case.shape, series=series)


def _doubled(most: int) -> Iterator[int]:
    count = 1
    while count < most:
        yield count
        count *= 2
    yield most


def _whole(report: Report, case: Case, material: Material, points: Sequence[tuple[str, int]], *, repeats: int) -> None:
    """Measure whole processes with one option each, in turn. A budget that does not suffice is reported and skipped."""
    with tempfile.TemporaryDirectory(prefix="pixelforest-bench-") as folder:
        result = Path(folder) / "result.h5"
        timings: dict[str, list[Timing]] = {option: [] for option, _ in points}
        for _ in range(repeats):
            for option, _ in points:
                command = [
                    *(sys.executable, "-m", "pixelforest", "--headless", f"--project={material.project.path}"),
                    *("--output_format=hdf5", f"--output_filename_format={result}", option, *material.images),
                ]
                result.unlink(missing_ok=True)
                try:
                    timings[option].append(run_process(command))
                except SystemExit as refusal:
                    if "does not hold" not in str(refusal):
                        raise
        for option, at in points:
            if timings[option]:
                timing = join_timings(timings[option])
                report.row("pixelforest, whole process", timing, settings=option, voxels=case.voxels, at=at)
            else:
                report.note(f"{option}: refused, too little for the smallest tiles")


def _tiles(report: Report, case: Case, material: Material, *, repeats: int) -> None:
    """Measure features and forest on one thread, in tiles of a size."""
    with open_raw(material) as raw:
        volume = np.ascontiguousarray(raw.read(Box.whole(raw.shape))[0].transpose(3, 0, 1, 2))
    stages = Stages(material.project, volume, threads=1, memory_bytes=4 << 30)
    for size in TILES[case.dimensions]:
        shape = (1, *size) if isinstance(size, tuple) else (size,) * 3
        shape = tuple(min(s, n) for s, n in zip(shape, stages.image, strict=True))
        stages.tiles = list(Box.whole(stages.image).split(shape))
        timing = time_work(partial(stages.features_and_forest), repeats=min(repeats, 3))
        name = "x".join(map(str, shape[1:] if case.dimensions == 2 else shape))
        report.row("features and forest", timing, settings=name, voxels=case.voxels, at=int(np.prod(shape)))


if __name__ == "__main__":
    raise SystemExit(main())

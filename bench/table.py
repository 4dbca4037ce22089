"""Table for users without a GPU: pixelforest compared with ilastik, whole processes, file to file, in one run.

The rows also have ilastik's recorded medians, the times of other libraries for features and forest alone, and the
floor, which is the sum of the stages' floors (see README.md) and the start of a Python that imports NumPy and h5py. The
stages follow, each with its own floor: optimisation is worth most where measured over floor is largest. The missed
goals and the rejected variants, from the heads of kernels/*.py, follow the table. Tried for whole processes:
- numba's own cache and call convention: 1.25 s to start; units of object code without numba: see the row "start"
- fewer of LLVM's passes (level 2) for a shorter first compilation: features 4.6 instead of 5.1 CPU seconds, runs 0 to
  1 % slower; votes 0.3 seconds less, runs 5 % slower; features use level 3 without LLVM's auto-vectorisation
- no cffi and no yaml for the compilers: less than the difference of two measurements
- attributes of an HDF5 result through h5py's lower level: 1.39 instead of 1.45 ms a file
- one thread per tile for small pictures: tiles are mostly halo; one thread per picture is in use
- tiles of 128x128 and less: halo; of 1024x1024 and more: uneven ends of threads, memory; see results/curves.jsonl
- chunks by zlib at level 1: 181 MB/s; by libdeflate 207; by zlib-ng at level 2: 300 while ISA-L, which is in use,
  reaches more than twice as much on one core (formats/images/hdf5.py)
"""

from __future__ import annotations

import ast
import json
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from against_ilastik import RECORDED
from cases import Case, chosen_cases, list_cases, make_parser, parse
from data import Material, prepare, prepare_objects
from kernels.objects import peer_statistics
from measure import Limits, Report, Timing, join_timings, measure_limits, run_process, time_work, usable_processors
from peers import feature_peers, scikit_image_features, scikit_learn_forest
from stages import Stages, cut_piece, measure_stages
from walks import rows_in_blocks

from pixelforest.engine.jobs import Request, resolve_job
from pixelforest.engine.pixels.results import PROBABILITIES

DEFAULTS = ("start", "2d-2048", "2d-4096", "3d-128", "3d-256", "2d-pictures-1000", "2d-2048-objects")
GOALS_S = {  # wall seconds on two cores; per picture if a process takes many
    "start": 0.25,
    "2d-2048": 1.5,
    "2d-4096": 4.5,
    "3d-128": 1.2,
    "3d-256": 5.5,
    "2d-pictures-1000": 0.015,
}
PEAK_GOAL_BYTES = {"2d-4096": 0.5e9, "3d-256": 0.5e9}
BARE_START = "import numpy, h5py"
FOREST_PEER = "scikit-learn"
BLOCK = {2: (1, 8, 8), 3: (4, 4, 4)}
NOT_SUMMED = ("features and forest", "assemble, every result")  # the sum of two others; more than requested


@dataclass
class Line:
    """One row of the table. Seconds are per picture if a process takes many.

    others   name of a peer -> wall and CPU seconds for the same work
    """

    case: Case
    own: Timing
    start: Timing
    floor_s: float | None = None
    others: dict[str, tuple[float, float]] = field(default_factory=dict)


def main(words: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, defaults=DEFAULTS, quick=("2d-quick",))
    options = parse(parser, words)
    cases = chosen_cases(options)
    if options.dry_run:
        list_cases(cases)
        return 0
    threads = options.threads or usable_processors()
    repeats = options.repeats or (1 if options.quick else 5)
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    report = Report("table", options.json)
    limits = measure_limits(threads, quick=options.quick)
    report.note(limits.describe())
    rates: dict[int, dict[str, tuple[float, float]]] = {}
    lines: list[Line] = []
    for case in cases:
        if case.dimensions not in rates and not options.no_peers and case.result == PROBABILITIES and case.shape:
            rates[case.dimensions] = measure_peers(report, case, prepare(case, options), threads=threads)
        limits = limits.best_of(measure_limits(threads, quick=options.quick))  # the machine may be busy
        with tempfile.TemporaryDirectory(prefix="pixelforest-bench-") as folder:
            line = _measure(report, case, options, Path(folder), limits, threads=threads, repeats=repeats)
        if case.result == PROBABILITIES and case.shape:
            line.others = {
                name: (wall * case.voxels, cpu * case.voxels)
                for name, (wall, cpu) in rates.get(case.dimensions, {}).items()
            }
        lines.append(line)
    print(f"\n{threads} threads; {recorded['program']}: {recorded['machine']}, {recorded['date']}")
    for text in (*make_table(lines, recorded), "", *find_misses(lines), "", *list_losers()):
        print(text)
    return 0


def _measure(
    report: Report, case: Case, options: Any, folder: Path, limits: Limits, *, threads: int, repeats: int
) -> Line:
    """Measure whole processes in turn with a bare start, and the stages if there are any."""
    is_objects = case.result.startswith("Object")
    inputs, project, checksum = _inputs(case, options, is_objects=is_objects)
    report.begin(
        f"{case.name}: {case.describe()}", name=case.name, shape=case.shape, files=case.files, checksum=checksum
    )
    template = str(folder / "{nickname}.h5")
    command = [
        *(sys.executable, "-m", "pixelforest", "--headless", f"--project={project}", "--output_format=hdf5"),
        *(f"--export_source={case.result}", f"--output_filename_format={template}", f"--threads={threads}"),
        *([f"--table_filename={folder / 'objects.csv'}"] if is_objects else []),
        *inputs,
    ]
    bare = [sys.executable, "-c", BARE_START]
    if repeats > 1:
        run_process(command)  # fills the file cache, compiles kernels if necessary
        run_process(bare)
    own, starts = list[Timing](), list[Timing]()
    for _ in range(repeats):
        for path in folder.iterdir():
            path.unlink()
        own.append(run_process(command))
        starts.append(run_process(bare))
    line = Line(case, join_timings(own), join_timings(starts))
    settings = f"{threads} threads"
    report.row("pixelforest, whole process", line.own, settings=settings, voxels=case.voxels)
    report.row(f"python -c '{BARE_START}'", line.start)
    if not case.shape:
        line.floor_s = line.start.median
    elif is_objects:
        if not options.no_peers:
            line.others = _object_peer(report, case, Path(inputs[1][: -len("/data")]), Path(inputs[3][: -len("/data")]))
    else:
        one = Case(case.name, case.shape)
        request = Request(
            project=str(project),
            inputs=(inputs[0],),
            output_format="hdf5",
            output_filename_format=template,
            export_source=case.result,
            threads=threads,
        )
        material = Material(prepare(case, options).project, (inputs[0],))
        stages = measure_stages(
            report, one, material, resolve_job(request), limits, settings=settings, repeats=min(3, repeats)
        )
        floors = sum(stage.floor[0] for stage in stages if stage.name not in NOT_SUMMED)
        line.floor_s = line.start.median + case.files * floors
    return line


def _inputs(case: Case, options: Any, *, is_objects: bool) -> tuple[list[str], Path, int]:
    """Return the arguments that name the images, the project, and a checksum of the first image."""
    if is_objects:
        project, raw, segmentation = prepare_objects(case, options)
        return ["--raw_data", f"{raw}/data", "--segmentation_image", f"{segmentation}/data"], project, 0
    material = prepare(case, options)
    return list(material.images), material.project.path, material.checksum


# --------------------------------------------------------------------------------------------------------------- peers


def measure_peers(report: Report, case: Case, material: Material, *, threads: int) -> dict[str, tuple[float, float]]:
    """Measure wall and CPU seconds a voxel of features and forest by peer, on a piece in memory."""
    piece, ours = cut_piece(material)
    image = (piece[0, 0] if ours.image[0] == 1 else piece[0]).astype(np.float32)
    forest = scikit_learn_forest(material.project.classifier)
    if forest is None:
        return {}
    forest.n_jobs = threads
    rows = rows_in_blocks(_all_features(ours, piece), BLOCK[image.ndim])
    size = "x".join(map(str, image.shape))
    report.begin(f"Peers, {size} in memory: features, and the same trees", name=case.name, shape=image.shape)

    def rate(name: str, work: Callable[[], object], voxels: int) -> tuple[float, float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            timing = time_work(work, repeats=1)
        report.row(name, timing, settings=f"{threads} threads", voxels=voxels)
        return timing.median / voxels, statistics.median(timing.cpu) / voxels

    trees = rate(f"forest: {FOREST_PEER}", lambda: forest.predict_proba(rows), len(rows))
    found: dict[str, tuple[float, float]] = {}
    own_choice = scikit_image_features()
    if own_choice is not None:
        made = rate("features: scikit-image multiscale_basic", lambda: own_choice(image, threads), image.size)
        found["scikit-image"] = (made[0] + trees[0], made[1] + trees[1])
    for peer in feature_peers():
        if image.ndim in peer.dimensions:
            if peer.set_threads is not None:
                peer.set_threads(threads)
            made = rate(f"features: {peer.name}", lambda peer=peer: peer.features(image, ours.feature_plan), image.size)
            found[peer.name.split()[0]] = (made[0] + trees[0], made[1] + trees[1])
    return found


def _all_features(ours: Stages, piece: np.ndarray) -> np.ndarray:
    """Compute features (z, y, x, f) of a piece (c, z, y, x)."""
    stack = ours.backend.pixels.feature_stack(
        ours.backend.pixels.to_device(piece), (0, 0, 0), ((0, 0, 0), ours.image), ours.image, ours.plan
    )
    return np.asarray(ours.backend.pixels.to_host(ours.backend.pixels.features(stack)))


def _object_peer(report: Report, case: Case, raw: Path, segmentation: Path) -> dict[str, tuple[float, float]]:
    """Measure the columns that SciPy and scikit-image have, from arrays in memory: no table, no forest, no file."""
    import h5py

    statistics_of = peer_statistics()
    if statistics_of is None:
        return {}
    from scipy import ndimage

    with h5py.File(raw, "r") as file, h5py.File(segmentation, "r") as other:
        pixels, inside = (np.squeeze(f["data"][...]) for f in (file, other))
    timing = time_work(lambda: statistics_of(ndimage.label(inside)[0], pixels), repeats=1)
    report.row(
        "scipy.ndimage + scikit-image, the columns that they have", timing, settings="1 thread", voxels=case.voxels
    )
    return {"scikit-image": (timing.median, statistics.median(timing.cpu))}


# --------------------------------------------------------------------------------------------------------------- table


def make_table(lines: Sequence[Line], recorded: dict[str, Any]) -> Iterator[str]:
    """Format the table as Markdown, one row per case."""
    peers = sorted({name for line in lines for name in line.others})
    heads = ["work", "ours: wall s (min - max)", "CPU s", "peak GB", "ilastik: wall s", "peak GB", "ratio", "goal s"]
    heads += ["floor s", "over floor", *(f"{name}: wall / CPU s" for name in peers)]
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for line in lines:
        case, own = line.case, line.own
        files = max(1, case.files)
        wall, cpu = own.median / files, statistics.median(own.cpu) / files if own.cpu else None
        row = next((r for r in recorded["rows"] if r["case"] == case.name), None)
        goal = GOALS_S.get(case.name)
        cells = [
            case.describe() + (" (each)" if files > 1 else ""),
            f"{_seconds(wall)} ({_seconds(own.best / files)} - {_seconds(max(own.wall) / files)})",
            "" if cpu is None else _seconds(cpu),
            "" if own.peak_bytes is None else f"{own.peak_bytes / 1e9:.2f}",
            "" if row is None else f"{row['median']:.1f}",
            "" if row is None else f"{row['peak_gb']:.1f}",
            "" if row is None else f"{row['median'] / wall:.1f}",
            "" if goal is None else f"{goal:g}",
            "" if line.floor_s is None else _seconds(line.floor_s / files),
            "" if line.floor_s is None else f"{wall * files / line.floor_s:.1f}",
            *(_pair(line.others.get(name), files) for name in peers),
        ]
        yield "| " + " | ".join(cells) + " |"


def find_misses(lines: Sequence[Line]) -> Iterator[str]:
    """List the cases that took longer, or more memory, than their goals."""
    for line in lines:
        name, files = line.case.name, max(1, line.case.files)
        wall, goal = line.own.median / files, GOALS_S.get(name)
        if goal is not None and wall > goal:
            cpu = f", {_seconds(statistics.median(line.own.cpu) / files)} s of CPU" if line.own.cpu else ""
            yield f"missed: {name} takes {_seconds(wall)} s{cpu}; the goal is {goal:g} s ({wall / goal:.1f} times)"
        most, peak = PEAK_GOAL_BYTES.get(name), line.own.peak_bytes
        if most is not None and peak is not None and peak > most:
            yield f"missed: {name} takes {peak / 1e9:.2f} GB; the goal is {most / 1e9:g} GB"


def list_losers() -> Iterator[str]:
    """List the variants tried, from the heads of the kernels' benches."""
    for path in sorted((Path(__file__).parent / "kernels").glob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        _, found, variants = text.partition("Variants tried")
        if found:
            yield f"kernels/{path.name}: variants tried{variants}"


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"


def _pair(found: tuple[float, float] | None, files: int) -> str:
    return "" if found is None else f"{_seconds(found[0] / files)} / {_seconds(found[1] / files)}"


if __name__ == "__main__":
    sys.exit(main())

"""Bench of forests on a GPU: every traversal variant of forest.cu, and nvForest, on the same features.

Times are device events; features and results stay on the device. Each prediction is compared with the CPU backend's
before it is timed. The limit is reading features and writing predictions at the speed of a copy, measured here.

Variants tried, with results. None has run on a GPU yet: expected costs were counted, see kernels/cuda/forest.py;
the slower ones leave forest.cu.
- in use: the bounds of a patch's features move all of its voxels down at once as far as they decide, then each lane
  traverses for its voxel (entered); features are read from global memory, without bounds (direct)
- removed by the model of 2026-11-30 (results/2026-11-30-gpu-model.md, 10^9 pixels a second in 2-D on T4, RTX 4090, A100
  and H100; entered, called entered_lanes there, has 0.09, 0.54, 0.51, 1.55 and direct 0.15, 0.95, 0.64, 0.98):
  lanes without bounds 0.06, 0.36, 0.51, 1.04
  a warp that visits each node once for 32 voxels (masks) 0.04, 0.23, 0.33, 0.67, for 64 (masks_wide) 0.05, 0.29, 0.14,
  0.42; both after the bounds (entered_masks, entered_wide) 0.05, 0.30, 0.29, 0.87 and 0.07, 0.39, 0.19, 0.57
  nodes in shared memory (lanes_staged, entered_staged) 0.14, 0.82, 0.39, 1.06 and 0.17, 1.01, 0.48, 1.42
- features and forest in one kernel: estimated for an H100, 0.3 to 0.5 ns a pixel against 0.17 + 0.16 in two kernels,
  and 1.9 against 0.6 in 3-D; removed
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent / "kernels"))

import numpy as np
from cases import chosen_cases, list_cases, make_parser, parse
from data import grow_tree, prepare
from forest import load_features
from measure import Report, Timing

from pixelforest.engine.project import Project
from pixelforest.engine.project.tree_arrays import unpack_trees
from pixelforest.kernels import load
from pixelforest.kernels.contract import DeviceFailed, DeviceUnavailable, ForestArrays
from pixelforest.kernels.cuda import nvforest
from pixelforest.kernels.cuda.device import Device, DeviceArray
from pixelforest.kernels.cuda.forest import VARIANTS, load_forest
from pixelforest.kernels.shared.nodes import pack_forest

MAX_VOXELS, MAX_QUICK = 1 << 22, 1 << 12  # 0.8 GB of features in 2-D
CHECKED_ROWS = 20_000
# The deep forest: samples, how many of them have the wrong label; trees that are grown, how often each is taken.
SAMPLES, WRONG, GROWN, TIMES = 6000, 0.15, 20, 5
CHUNKS = (1, 2, 4, 8, 16, 32)  # rows per step of nvForest; the best one counts


@dataclass(frozen=True)
class Stack:
    """Features on the device in the layout of the feature kernels."""

    values: DeviceArray
    shape: tuple[int, int, int, int]
    column_stride: int


def main(words: Sequence[str] | None = None, device: Device | None = None, *, place: nvforest.Place = "gpu") -> int:
    """Run the bench. device, place: replace the first GPU in tests."""
    parser = make_parser(__doc__, defaults=("2d-2048", "3d-128"), quick=("2d-quick",))
    parser.add_argument("--variant", action="append", choices=VARIANTS, help="only this one; repeatable")
    options = parse(parser, words)
    cases = chosen_cases(options)
    if options.dry_run:
        list_cases(cases)
        return 0
    try:
        device = device or _open_device()
        bandwidth = measure_bandwidth(device)
    except DeviceUnavailable as error:
        print(f"there is nothing to measure without a GPU: {error}", file=sys.stderr)
        return 1
    report = Report("cuda_forest", options.json)
    report.note(f"{device.name}: copies move {bandwidth / 1e9:.0f} GB/s", device=device.name, bandwidth=bandwidth)
    for case in cases:
        material = prepare(case, options)
        largest = MAX_QUICK if options.quick else MAX_VOXELS
        features = load_features(material, largest=largest)
        for name, forests in (
            ("project", project_forests(material.project)),
            ("deep", grow_deep(features, project_forests(material.project), quick=options.quick)),
        ):
            leaves = np.mean([(tree.feature < 0).sum() for forest in forests for tree in forest.trees])
            trees = sum(len(forest.trees) for forest in forests)
            report.begin(
                f"{case.name}, {name}: {trees} trees of {leaves:.0f} leaves, {features.shape[3]} columns",
                name=case.name,
                forest=name,
                shape=features.shape,
                device=device.name,
            )
            _measure(report, device, features, forests, bandwidth, options, place)
    return 0


def project_forests(project: Project) -> list[ForestArrays]:
    """Read the project's stored forests."""
    c = project.classifier
    return [ForestArrays(f.trees, f.class_count, f.is_weighted, c.averages) for f in c.forests]


def grow_deep(features: np.ndarray, forests: Sequence[ForestArrays], *, quick: bool) -> list[ForestArrays]:
    """Grow trees of about 600 leaves from the project's predictions with some wrong labels."""
    rng = np.random.default_rng(0)
    rows = features.reshape(-1, features.shape[3])
    rows = rows[rng.choice(len(rows), 500 if quick else SAMPLES, replace=False)]
    labels = predict_on_host(rows, forests).argmax(axis=1)
    labels = np.where(rng.random(len(labels)) < WRONG, 1 - labels, labels)
    drawn = [rng.integers(len(rows), size=len(rows)) for _ in range(3 if quick else GROWN)]
    grown = [grow_tree(rows[some], labels[some], rng) for some in drawn]
    topologies, parameters = zip(*grown, strict=True)
    trees = unpack_trees(topologies, parameters, class_count=2, column_count=features.shape[3])
    return [ForestArrays(tuple(trees) * TIMES, 2, False)]


def predict_on_host(rows: np.ndarray, forests: Sequence[ForestArrays]) -> np.ndarray:
    """Predict with the CPU backend."""
    backend = load("cpu")
    return backend.pixels.predict_rows(rows, backend.pixels.load_forest(forests, use="rows"))


def make_stack(device: Device, features: np.ndarray) -> Stack:
    """Upload features (z, y, x, f) column by column."""
    voxels, columns = int(np.prod(features.shape[:3])), features.shape[3]
    stride = -(-voxels // 32) * 32
    values = np.zeros((columns, stride), np.float32)
    values[:, :voxels] = features.reshape(-1, columns).T
    z, y, x = features.shape[:3]
    return Stack(device.upload(values), (z, y, x, columns), stride)


def measure_bandwidth(device: Device) -> float:
    """Measure the bytes a second that a copy reads and writes on a GPU; on the tests' stand-in any number."""
    try:
        import cupy
    except ImportError:
        return 1e9
    if not cupy.is_available():
        return 1e9
    with cupy.cuda.Device(device.index):
        a = cupy.zeros(1 << 28, cupy.float32)
        b = cupy.empty_like(a)
        best = min(_event_seconds(cupy, lambda: cupy.copyto(b, a)) for _ in range(10))
        return 2 * a.nbytes / best


def _event_seconds(cupy: Any, work: Callable[[], object]) -> float:
    start, stop = cupy.cuda.Event(), cupy.cuda.Event()
    start.record()
    work()
    stop.record()
    stop.synchronize()
    return float(cupy.cuda.get_elapsed_time(start, stop)) / 1000


def _open_device() -> Device:
    from pixelforest.kernels.cuda.cupy_device import open_devices

    return open_devices((0,))[0]


def _measure(
    report: Report,
    device: Device,
    features: np.ndarray,
    forests: Sequence[ForestArrays],
    bandwidth: float,
    options: argparse.Namespace,
    place: nvforest.Place,
) -> None:
    stack = make_stack(device, features)
    voxels, columns = int(np.prod(features.shape[:3])), features.shape[3]
    floor = (4 * voxels * (columns + forests[0].classes) / bandwidth, "memory")
    repeats = options.repeats or (1 if options.quick else 20)
    chosen = np.random.default_rng(1).choice(voxels, min(CHECKED_ROWS, voxels), replace=False)
    expected = predict_on_host(features.reshape(-1, columns)[chosen], forests)
    packed = pack_forest(forests)

    def check(name: str, answer: DeviceArray) -> None:
        found = device.download(answer).reshape(voxels, -1)[chosen]
        if not np.array_equal(found.view(np.uint32), expected.view(np.uint32)):
            report.note(f"{name}: NOT THE SAME as the CPU", name=name, differs=True)

    times: dict[str, float] = {}
    default = load_forest(device, forests).launch(columns).variant.name
    for name in options.variant or VARIANTS:
        forest = load_forest(device, forests, variant=name)
        try:
            check(name, forest.predict(stack))
        except (DeviceFailed, ValueError) as error:
            report.note(f"{name}: {error}", name=name)
            continue
        timing = time_on_device(device, partial(forest.predict, stack), repeats)
        launch = forest.launch(columns)
        times[name] = timing.median
        note = f"{launch.warps} warps, {launch.shared_bytes >> 10} KB a block{', the default' * (name == default)}"
        report.row(name, timing, voxels=voxels, floor=floor, note=note)
    if not options.no_peers:
        _measure_nvforest(report, device, stack, forests, check, repeats, floor, times, place)
    if times:
        best = min(times, key=lambda name: times[name])
        losers = ", ".join(f"{n} {times[n] / times[best]:.2f}" for n in sorted(times, key=lambda n: times[n])[1:])
        report.note(f"fastest: {best}, {voxels / times[best] / 1e6:.0f} Mvoxel/s; times as long: {losers or 'none'}")
        if packed.is_pure and "nvForest" in times and default in times:
            report.note(f"nvForest takes {times['nvForest'] / times[default]:.1f} times as long as {default}")


def _measure_nvforest(
    report: Report,
    device: Device,
    stack: Stack,
    forests: Sequence[ForestArrays],
    check: Callable[[str, DeviceArray], None],
    repeats: int,
    floor: tuple[float, str],
    times: dict[str, float],
    place: nvforest.Place,
) -> None:
    """Measure the adapter, and nvForest alone on prepared rows, with the best of its chunk sizes."""
    voxels = int(np.prod(stack.shape[:3]))
    try:
        forest = nvforest.load_forest(device, forests, place=place)
    except DeviceUnavailable as error:
        report.note(str(error))
        return
    check("nvForest", forest.predict(stack))
    timing = time_on_device(device, partial(forest.predict, stack), repeats)
    times["nvForest, with rows made"] = timing.median
    report.row("nvForest, with rows made", timing, voxels=voxels, floor=floor)
    rows = device.upload(np.ascontiguousarray(device.download(stack.values)[: forest.columns, :voxels].T))
    device.synchronize()
    chunks = (None, *(CHUNKS if place == "gpu" else ()))
    walks = {chunk: partial(forest.sum_leaves, rows, chunk_size=chunk) for chunk in chunks}
    timings = {chunk: time_on_device(device, walk, repeats) for chunk, walk in walks.items()}
    best = min(timings, key=lambda chunk: timings[chunk].median)
    times["nvForest"] = timings[best].median
    report.row("nvForest", timings[best], voxels=voxels, floor=floor, note=f"alone, chunks of {best or 'its choice'}")


def time_on_device(device: Device, work: Callable[[], object], repeats: int) -> Timing:
    """Measure seconds by the device's events, after two warm-up runs."""
    seconds = []
    for run in range(repeats + 2):
        with device.timer() as timer:
            work()
        if run >= 2:
            seconds.append(timer.milliseconds / 1000)
    return Timing(tuple(seconds))


if __name__ == "__main__":
    sys.exit(main())

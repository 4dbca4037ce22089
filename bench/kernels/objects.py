"""Workbench of the object statistics: compares them with other libraries, then times frames with many objects.

The columns are area, box, centroid, mean, variance, skewness, kurtosis, minimum, maximum, 64-bin histogram, quantiles,
radii and axes. The libraries measure 1/16 of a large frame; their time is multiplied by 16, as the row says.

Variants tried, with results (CPU ns a voxel of the frame, 35 % of it objects of 23 voxels, one busy core):
- runs along x, each added to its object's tables, labels divided among threads in groups of 32; in use
- bounds with branches: 10.6; without: 4.7; in use. Branches after the end of a run are mispredicted
- tables unpacked at every run: 19, since numba counts references to each; unpacked once: 11; in use
- third and fourth power by pow: 31; by product and error, pow in doubtful cases: 13; in use
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from cases import Case, chosen_cases, list_cases, make_parser, parse
from measure import Limits, Report, Timing, measure_limits, time_work, usable_processors

from pixelforest.box import Box
from pixelforest.engine.objects.label import LabelFrame, label_components
from pixelforest.engine.objects.measure import ObjectFeatures, measure_frame
from pixelforest.engine.resources import Resources
from pixelforest.engine.storage.scratch import Scratch
from pixelforest.kernels import load

STANDARD = "Standard Object Features"
COLUMNS = (
    "Count", "Coord<Minimum>", "Coord<Maximum>", "RegionCenter", "Mean", "Variance", "Skewness", "Kurtosis", "Minimum",
    "Maximum", "Histogram", "Quantiles", "RegionRadii", "RegionAxes",
)  # fmt: skip
SPACING = 8.192  # voxels from object to object: a million of them in 8192 x 8192
PEER_SHARE = 16  # of the frame's voxels
MAX_PEER_VOXELS = 1 << 22  # of a frame that peers measure whole
BUDGET_BYTES = 1 << 30


def main(words: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, defaults=("2d-8192",), quick=("2d-quick",))
    options = parse(parser, words)
    cases = chosen_cases(options)
    if options.dry_run:
        list_cases(cases)
        return 0
    report = Report("kernels/objects", options.json)
    threads = options.threads or usable_processors()
    limits = [measure_limits(n, quick=options.quick) for n in sorted({1, threads})]
    for limit in limits:
        report.note(limit.describe())
    for case in cases:
        if case.dimensions != 2:
            report.note(f"{case.name}: only flat frames are made here")
            continue
        labels, raw = make_frame(case)
        title = f"{case.name}: {labels.count} objects, {np.count_nonzero(labels.labels) / raw.size:.0%} of the voxels"
        report.begin(title, name=case.name, shape=case.shape, objects=labels.count)
        repeats = options.repeats or (1 if options.quick else 3)
        _measure(report, labels, raw, limits, repeats=repeats, with_peers=not options.no_peers)
    return 0


def make_frame(case: Case) -> tuple[LabelFrame, np.ndarray]:
    """Make discs of various sizes on a grid, (1, y, x), and noise, (1, y, x, 1) uint8."""
    rng = np.random.default_rng(31)
    height, width = case.shape
    rows, columns = (np.minimum((np.arange(n) / SPACING).astype(np.intp), int(n / SPACING) - 1) for n in case.shape)
    radius = rng.uniform(1.5, 3.8, (rows[-1] + 1, columns[-1] + 1)).astype(np.float32) ** 2
    y, x = (np.arange(n) + 0.5 - (cell + 0.5) * SPACING for n, cell in ((height, rows), (width, columns)))
    inside = np.zeros((1, height, width), np.bool_)
    for i in range(height):
        inside[0, i] = y[i] ** 2 + x**2 <= radius[rows[i], columns]
    with Scratch(1 << 34) as scratch:
        labels = label_components(
            lambda box: inside[box.slices()],
            inside.shape,
            inside.dtype,
            resources=Resources(load("cpu"), 1, scratch.memory_bytes),
            scratch=scratch,
        )
        return labels, rng.integers(0, 256, (1, height, width, 1), np.uint8)


def measure(labels: LabelFrame, raw: np.ndarray, threads: int) -> ObjectFeatures:
    """Measure all columns, reading the image slab by slab."""

    def read(box: Box) -> np.ndarray:
        return raw[box.slices()].astype(np.float32)

    wanted = {STANDARD: dict.fromkeys(COLUMNS)}
    return measure_frame(read, labels, 1, wanted, resources=Resources(load("cpu"), threads, BUDGET_BYTES))


def _measure(
    report: Report, labels: LabelFrame, raw: np.ndarray, limits: Sequence[Limits], *, repeats: int, with_peers: bool
) -> None:
    before = _peak_bytes()
    found = measure(labels, raw, limits[-1].threads)
    growth = _peak_bytes() - before
    held = sum(values.nbytes for features in found.values.values() for values in features.values())
    memory = f"{growth / 1e9:.2f} GB more than the frame, of it {held / 1e9:.2f} results"
    for limit in limits:
        timing = time_work(lambda threads=limit.threads: measure(labels, raw, threads), repeats=repeats)
        floor = limit.floor(moved_bytes=2 * (labels.labels.nbytes + 4 * raw.size))
        settings = f"{limit.threads} thread{'s' if limit.threads > 1 else ''}"
        report.row("pixelforest", timing, settings=settings, voxels=raw.size, floor=floor, note=memory)
    peer = peer_statistics()
    if not with_peers or peer is None:
        return
    share = PEER_SHARE if raw.size > MAX_PEER_VOXELS else 1
    small, pixels = _part(labels, raw, share)
    start, start_cpu = time.perf_counter(), time.process_time()
    table = peer(small.labels[0], pixels[0, :, :, 0])  # once: it takes minutes
    timing = Timing((share * (time.perf_counter() - start),), (share * (time.process_time() - start_cpu),))
    expected = measure(small, pixels, 1).values[STANDARD]
    is_same = all(np.allclose(table[name], expected[name], rtol=1e-4, atol=1e-4, equal_nan=True) for name in table)
    answer = "same numbers" if is_same else "NOT THE SAME numbers"
    note = f"{answer}; measured on 1/{share}, multiplied" if share > 1 else answer
    report.row("scipy.ndimage + scikit-image", timing, settings="1 thread", voxels=raw.size, note=note)


def _part(labels: LabelFrame, raw: np.ndarray, share: int) -> tuple[LabelFrame, np.ndarray]:
    """Crop the frame's upper left part to 1 / share of its voxels and relabel it."""
    side = int(share**0.5)
    cut = (slice(None), slice(labels.labels.shape[1] // side), slice(labels.labels.shape[2] // side))
    inside = labels.labels[cut] > 0
    with Scratch(1 << 34) as scratch:
        found = label_components(
            lambda box: inside[box.slices()],
            inside.shape,
            inside.dtype,
            resources=Resources(load("cpu"), 1, scratch.memory_bytes),
            scratch=scratch,
        )
        return found, np.ascontiguousarray(raw[cut])


def peer_statistics() -> Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]] | None:
    """Measure the same columns with SciPy and scikit-image as their manuals suggest; None if one is missing."""
    try:
        from scipy import ndimage
        from scipy.stats import kurtosis, skew
        from skimage.measure import regionprops_table
    except ImportError:
        return None

    def table(labels: np.ndarray, raw: np.ndarray) -> dict[str, np.ndarray]:
        shape = ("area", "bbox", "centroid", "inertia_tensor_eigvals", "orientation")
        rows = regionprops_table(labels, raw, properties=(*shape, "intensity_mean", "intensity_min", "intensity_max"))
        index = np.arange(1, len(rows["area"]) + 1)
        inside = raw[labels > 0]
        lowest, highest = float(inside.min()), float(inside.max())

        def per_object(function: Callable[[np.ndarray], float]) -> np.ndarray:
            with np.errstate(all="ignore"):
                return ndimage.labeled_comprehension(raw, labels, index, function, float, np.nan)

        np.stack(ndimage.histogram(raw, lowest, highest, 64, labels, index))
        for level in (0.1, 0.25, 0.5, 0.75, 0.9):
            per_object(lambda values, level=level: np.quantile(values, level))
        return {
            "Count": rows["area"][:, None],
            "Coord<Minimum>": np.stack([rows["bbox-1"], rows["bbox-0"]], axis=1),
            "Coord<Maximum>": np.stack([rows["bbox-3"], rows["bbox-2"]], axis=1),
            "RegionCenter": np.stack([rows["centroid-1"], rows["centroid-0"]], axis=1),
            "Mean": rows["intensity_mean"][:, None],
            "Minimum": rows["intensity_min"][:, None],
            "Maximum": rows["intensity_max"][:, None],
            "Variance": ndimage.variance(raw.astype(np.float64), labels, index)[:, None],
            "Skewness": per_object(skew)[:, None],
            "Kurtosis": per_object(kurtosis)[:, None],
        }

    return table


def _peak_bytes() -> int:
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    raise SystemExit(main())

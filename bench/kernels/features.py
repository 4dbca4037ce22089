"""Workbench of the feature kernels: compares them with SciPy on the same filters, then times them on one thread.

Variants tried, with results (2-D, 2 shared cores with AVX2):
- fold symmetric taps, one multiply-add for each pair: in use
- taps and offsets in registers for radius 1 and 2 instead of a loop over them: 0.49 to 0.33 ns a voxel and pass; in use
- smoothing and both derivatives of the same voxels in one pass: 0.30 to 0.21 ns a sum, 85 to 75 ns a voxel for all
  columns in 2-D, 375 to 355 in 3-D; in use
- several rows along y or z at once, so that neighbours are loaded once: for radius 2 0.30 to 0.26 ns, not worth it; for
  pre-smoothing 36 to 30 ns a voxel in 2-D, 67 to 58 in 3-D with three rows, which is in use (two: 64, four: 62)
- 3x3 eigenvalues in three loops over 64 vectors instead of one with two vectors interleaved: 11 against 9 ns
- loops left to LLVM's vectoriser: it gives up beyond a few buffers, so vectors are explicit (kernels/cpu/simd/lanes.py)
- 3-D plane by plane, the planes that later filters need held in rings, so that intermediates stay in the L2 cache:
  414 to 441 CPU ns a voxel against 379 to 428 for whole cells; the filters are not waiting for memory
- one z after the other inside a row, so that the rows above and below stay in the L1 cache: 0.52 to 0.48 ns a voxel
  for one sum of radius 2, but 0.65 to 0.67 for two sums and 0.78 to 1.3 for three; rows of 64 voxels are too short
- eigenvalues row by row, copied to the stack after each row instead of after all of them: 11.8 to 11.5 ns
- lines of the stack prefetched before a column is written: no difference; buffers aligned to cache lines: features 2 to
  4 % slower, forests as before
- 3x3 eigenvalues, 9.5 ns: their constants read from memory and the arc tangent of four vectors at once 8.8; one
  division and multiply-adds that round it correctly instead of six 8.6 to 9.5, without the check for tiny entries;
  other orders of LLVM's scheduler 9.1 to 11. Independent instructions of this kind need 5.4, so instruction
  scheduling is the limit; not worth twice the code
- the x pass near the image's right edge, whose plain sums and padded lines take 0.8 instead of 0.5 ns a voxel and sum:
  only the last eight voxels padded 0.9; four vectors of plain sums at once no difference
- rows without gaps summed as one long row: a row of 64 voxels costs 27 instructions beside its sums; symmetric sums
  5 % fewer instructions, features and forest together 2 %; in use
- 3-D cells of 8x16x64 instead of 16x32x64 (Zen 3, L2 512 KB, busy machine): features 0.92, forest 1.08 of the time;
  8x32x32 about the same; products of the structure tensor smoothed one after the other: no difference
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from cases import Case, chosen_cases, list_cases, make_parser, parse
from data import MAX_SIZES, enlarge, make_cells, selection
from measure import Limits, Report, Timing, measure_limits, time_work
from peers import feature_peers

from pixelforest.engine.pixels.feature_plan import plan_features
from pixelforest.kernels import load
from pixelforest.kernels.contract import OPERATIONS, FeaturePlan, ForestArrays, TreeArrays
from pixelforest.kernels.shared.plan import PackedPlan, pack_plan
from pixelforest.kernels.shared.program import OP, PARITIES, RADIUS, SUMS, Op, Sums

# Largest difference to SciPy, in units of the image's or the column's largest magnitude, whichever is larger. SciPy
# sums in double and rounds once a pass, the kernels round at every addition, as ilastik does; closed-form 3x3
# eigenvalues lose half of the digits near equal ones.
TOLERANCE = {2: 3e-6, 3: 5e-4}
CHECKED = {2: (96, 128), 3: (40, 44, 48)}
# Vector operations a voxel of the formulas; filters are counted from their radius.
_FORMULA_OPERATIONS = {
    Op.ADD: 1,
    Op.ADD_THREE: 2,
    Op.SUBTRACT: 1,
    Op.MULTIPLY: 1,
    Op.MAGNITUDE_2D: 4,
    Op.MAGNITUDE_3D: 6,
    Op.EIGENVALUES_2X2: 10,
    Op.EIGENVALUES_3X3: 150,
    Op.EMIT: 0,
}


@dataclass(frozen=True)
class FeatureWork:
    """Work of a voxel's features, whatever computes them: vector operations, and float32 values to keep."""

    presmoothing: float
    derived: float
    columns: int

    @property
    def operations(self) -> float:
        return self.presmoothing + self.derived


def count_work(packed: PackedPlan) -> FeatureWork:
    """Count the work: a symmetric sum of radius r is a product and r multiply-adds; sums of a parity share r adds."""
    passes = np.where(packed.slicewise, 2, 3)
    presmoothing = float((passes * (2 * packed.pre_radius + 1)).sum())
    derived = 0.0
    for row in packed.instructions:
        op = Op(int(row[OP]))
        if op > Op.FILTER_Z:
            derived += _FORMULA_OPERATIONS[op]
            continue
        parities, radius = PARITIES[Sums(int(row[SUMS]))], int(row[RADIUS])
        derived += len(parities) * (1 + radius) + len(set(parities)) * radius
    return FeatureWork(presmoothing * packed.channels, derived * packed.channels, packed.width)


def one_leaf(classes: int = 2) -> ForestArrays:
    """Make a forest that reads no feature: predicting with it costs as much as the features alone."""
    nothing, share = np.array([-1], np.int32), np.eye(classes)[:1]
    tree = TreeArrays(nothing, np.zeros(1), nothing, nothing, share, np.ones(1))
    return ForestArrays((tree,), classes, is_weighted=False)


def main(words: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, defaults=("2d-512", "3d-64"), quick=("2d-quick",))
    options = parse(parser, words)
    cases = chosen_cases(options)
    if options.dry_run:
        list_cases(cases)
        return 0
    report = Report("kernels/features", options.json)
    limits = measure_limits(1, quick=options.quick)
    report.note(limits.describe())
    for dimensions in (2, 3):
        _check(report, dimensions)
    for case in cases:
        _time_case(report, case, limits, repeats=options.repeats or (1 if options.quick else 5))
    return 0


def _plan(dimensions: int, depth: int) -> FeaturePlan:
    return plan_features(selection(dimensions), channels=1, depth=depth)


def _check(report: Report, dimensions: int) -> None:
    """Compare every column with SciPy's. Ends the bench if they differ."""
    shape = CHECKED[dimensions]
    image = make_cells(shape, seed=1)[0].astype(np.float32)
    volume = image.reshape((1,) * (3 - dimensions) + shape)
    plan = _plan(dimensions, volume.shape[0])
    references = [peer for peer in feature_peers() if peer.name.startswith("SciPy")]
    if not references:
        report.note("SciPy is not installed, so the kernels are not compared with it")
        return
    expected = references[0].features(image, plan).reshape(*volume.shape, plan.width)
    found = _Features(volume, plan).compute()
    scale = np.maximum(np.abs(expected).max(axis=(0, 1, 2)), image.max())
    worst = float((np.abs(found - expected).max(axis=(0, 1, 2)) / scale).max())
    if worst > TOLERANCE[dimensions]:
        raise SystemExit(f"{dimensions}-D features differ from SciPy's by {worst:.1e} of their range")
    report.note(f"{dimensions}-D: {plan.width} columns equal SciPy's up to {worst:.1e} of their range")


class _Features:
    """Features of an image, as the backend computes them for a single tile."""

    def __init__(self, volume: np.ndarray, plan: FeaturePlan) -> None:
        self.backend, z, y, x = load("cpu"), *volume.shape
        self.image = (z, y, x)
        self.source = self.backend.pixels.to_device(volume[np.newaxis])
        self.plan = self.backend.pixels.load_plan(plan)
        self.forest = self.backend.pixels.load_forest([one_leaf()], use="tiles")

    def presmooth(self) -> object:
        return self.backend.pixels.feature_stack(self.source, (0, 0, 0), ((0, 0, 0), self.image), self.image, self.plan)

    def derive(self) -> object:
        return self.backend.pixels.predict(self.presmooth(), self.forest)

    def compute(self) -> np.ndarray:
        return np.asarray(self.backend.pixels.to_host(self.backend.pixels.features(self.presmooth())))


def _time_case(report: Report, case: Case, limits: Limits, *, repeats: int) -> None:
    base = tuple(min(a, b) for a, b in zip(case.shape, MAX_SIZES[case.dimensions], strict=True))
    image = enlarge(make_cells(base, seed=7 + case.dimensions)[0], case.shape)
    volume = image.reshape((1,) * (3 - case.dimensions) + case.shape)
    plan = _plan(case.dimensions, volume.shape[0])
    work = count_work(pack_plan(plan))
    report.begin(
        f"{case.name}: {case.describe()}; {plan.width} columns, {work.operations:.0f} vector operations a voxel",
        name=case.name,
        shape=case.shape,
    )

    def row(name: str, timing: Timing, operations: float, columns: int) -> None:
        moved = case.voxels * (1 + 4 * columns)
        floor = limits.floor(moved_bytes=moved, operations=case.voxels * operations)
        seconds = timing.median
        rates = f"{case.voxels * operations / seconds / 1e9:.1f} G operations/s, {moved / seconds / 1e9:.2f} GB/s"
        report.row(name, timing, settings="1 thread", voxels=case.voxels, floor=floor, note=rates)

    features = _Features(volume, plan)
    presmoothing = time_work(features.presmooth, repeats=repeats)
    derived = time_work(features.derive, repeats=repeats)
    row("pre-smoothing, all scales", presmoothing, work.presmoothing, len(plan.scales))
    row("features of the smoothed images", derived.minus(presmoothing), work.derived, plan.width)
    row("both", derived, work.operations, plan.width)
    for number, scale in enumerate(plan.scales):
        some = _Features(volume, replace(plan, scales=(replace(scale, columns={"gaussian": 0}),), width=1))
        operations = float(pack_plan(replace(plan, scales=(scale,))).pre_radius[0] * 2 + 1) * case.dimensions
        name = f"pre-smoothing, scale {selection(case.dimensions).scales[number]}"
        row(name, time_work(some.presmooth, repeats=repeats), operations, 1)
    last = plan.scales[-1]
    for operation in OPERATIONS:
        width = {"structure_tensor": case.dimensions, "hessian": case.dimensions}.get(operation, 1)
        some_plan = FeaturePlan((replace(last, columns={operation: 0}),), 1, width)
        some = _Features(volume, some_plan)
        alone = time_work(some.derive, repeats=repeats).minus(time_work(some.presmooth, repeats=repeats))
        row(operation.replace("_", " "), alone, count_work(pack_plan(some_plan)).derived, width)


if __name__ == "__main__":
    sys.exit(main())

"""Bench of reading, features, forest, assembly, writing and the whole, with other libraries for the same work.

Stages and "whole, in this process" run here, warm; "whole process" is the command line from its start to its end, file
to file. Peers process a piece of the image (their rates do not depend on its size) with one thread each, and
pixelforest does the same for comparison; results with more threads are separate rows.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from cases import Case, chosen_cases, list_cases, make_parser, parse
from data import Material, prepare
from kernels.features import TOLERANCE, count_work
from kernels.forest import BLOCKS
from measure import Limits, Report, Timing, measure_limits, time_process, time_work, usable_processors
from peers import FeaturePeer, feature_peers, scikit_image_features, scikit_learn_forest
from stages import Stages, cut_piece, measure_stages
from walks import arrange, predict_stack, rows_in_blocks, visits_per_block

from pixelforest.engine.jobs import Request, resolve_job
from pixelforest.engine.pixels.results import PROBABILITIES
from pixelforest.engine.run.batch import run_batch
from pixelforest.kernels.shared.plan import pack_plan


def main(words: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, defaults=("2d-2048", "3d-128"), quick=("2d-quick",))
    options = parse(parser, words)
    cases = chosen_cases(options)
    if options.dry_run:
        list_cases(cases)
        return 0
    threads = options.threads or usable_processors()
    repeats = options.repeats or (1 if options.quick else 5)
    report = Report("pipeline", options.json)
    limits = {n: measure_limits(n, quick=options.quick) for n in sorted({1, threads})}
    for limit in limits.values():
        report.note(limit.describe())
    for case in cases:
        material = prepare(case, options)
        with tempfile.TemporaryDirectory(prefix="pixelforest-bench-") as folder:
            _measure_case(report, case, material, Path(folder), limits, threads=threads, repeats=repeats)
        if not options.no_peers and case.shape:
            _measure_peers(report, material, limits, repeats=min(repeats, 3), threads=threads)
    return 0


def _measure_case(
    report: Report,
    case: Case,
    material: Material,
    folder: Path,
    limits: dict[int, Limits],
    *,
    threads: int,
    repeats: int,
) -> None:
    project = material.project
    report.begin(
        f"{case.name}: {case.describe()}; {project.classifier.column_count} columns, "
        f"{project.classifier.tree_count} trees",
        name=case.name,
        shape=case.shape,
        files=case.files,
        result=case.result,
        checksum=material.checksum,
        project=str(project.path),
    )
    settings = f"{threads} thread{'s' if threads > 1 else ''}"
    request = Request(
        project=str(project.path),
        inputs=material.images,
        output_format="hdf5",
        output_filename_format=str(folder / "{nickname}_result.h5"),
        export_source=case.result,
        threads=threads,
    )
    if case.files == 1 and case.shape and case.result == PROBABILITIES:
        measure_stages(
            report, case, material, resolve_job(request), limits[threads], settings=settings, repeats=repeats
        )

    def whole() -> None:
        _empty(folder)
        run = run_batch(resolve_job(request))
        if run.failed:
            raise SystemExit(run.message)

    if case.shape:
        timing = time_work(whole, repeats=repeats)
        report.row("whole, in this process", timing, settings=settings, voxels=case.voxels)
    command = [
        *(sys.executable, "-m", "pixelforest", "--headless", f"--project={project.path}", "--output_format=hdf5"),
        *(f"--export_source={case.result}", f"--output_filename_format={folder / '{nickname}_process.h5'}"),
    ]
    rows = [([], "default settings"), (["--threads=1"], "1 thread")][: 1 if repeats == 1 else 2]
    for words, name in rows:
        process = time_process([*command, *words, *material.images], repeats=repeats)
        report.row("whole process", process, settings=name, voxels=case.voxels)


def _measure_peers(
    report: Report, material: Material, limits: dict[int, Limits], *, repeats: int, threads: int
) -> None:
    piece, ours = cut_piece(material)
    flat = piece.shape[1] == 1
    if len(piece) > 1 or any(s.slicewise != flat for s in ours.feature_plan.scales):
        report.note("No peers: they filter one channel, in 2-D or in 3-D")
        return
    image = piece[0, 0].astype(np.float32) if flat else piece[0].astype(np.float32)
    operations = image.size * count_work(pack_plan(ours.feature_plan)).operations
    floor = limits[1].floor(operations=operations)
    own = time_work(ours.features, repeats=repeats)
    size = "x".join(map(str, image.shape))
    report.note(f"\nPeers, {size}; the same features unless noted, the same trees")
    report.row("features: pixelforest", own, settings="1 thread", voxels=image.size, floor=floor)
    whole = ours.backend.pixels.feature_stack(
        ours.backend.pixels.to_device(piece), (0, 0, 0), ((0, 0, 0), ours.image), ours.image, ours.plan
    )
    features = ours.backend.pixels.to_host(ours.backend.pixels.features(whole))
    for peer in feature_peers():
        if image.ndim in peer.dimensions:
            for count in sorted({1, threads} if peer.set_threads else {1}):
                _measure_feature_peer(report, peer, image, ours, features, own, floor, threads=count, repeats=repeats)
    other = scikit_image_features()
    if other is not None:
        for count in sorted({1, threads}):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                columns = other(image, count).shape[-1]
                timing = time_work(partial(other, image, count), repeats=1)
            note = f"{timing.compared_with(own)}, for {columns} columns of its own choice"
            name = "features: scikit-image multiscale_basic"
            report.row(name, timing, settings=_threads(count), voxels=image.size, note=note)
    _measure_forest_peer(report, ours, features, limits[1], repeats=repeats, threads=threads)


def _measure_feature_peer(
    report: Report,
    peer: FeaturePeer,
    image: np.ndarray,
    ours: Stages,
    features: np.ndarray,
    own: Timing,
    floor: tuple[float, str],
    *,
    threads: int,
    repeats: int,
) -> None:
    if peer.set_threads is not None:
        peer.set_threads(threads)
    plan = ours.feature_plan
    found = peer.features(image, plan).reshape(features.shape)
    scale = np.maximum(np.abs(features).max(axis=(0, 1, 2)), image.max())
    difference = float((np.abs(found - features).max(axis=(0, 1, 2)) / scale).max())
    timing = time_work(lambda: peer.features(image, plan), repeats=repeats)
    note = f"{timing.compared_with(own)}; differs by {difference:.0e} of the range"
    if difference > TOLERANCE[image.ndim]:
        note += ": NOT THE SAME FEATURES"
    name = f"features: {peer.name}"
    report.row(name, timing, settings=_threads(threads), voxels=image.size, floor=floor, note=note)


def _measure_forest_peer(
    report: Report, ours: Stages, features: np.ndarray, limits: Limits, *, repeats: int, threads: int
) -> None:
    """Measure our kernel on its own layout, and the peer on rows."""
    block = BLOCKS[2 if ours.image[0] == 1 else 3][0]
    stack = arrange(features, block)
    own = time_work(lambda: predict_stack(stack, ours.packed), repeats=repeats)
    compared = visits_per_block(stack, ours.packed)[1] * stack.voxels
    floor = limits.floor(operations=compared)
    report.row("forest: pixelforest", own, settings="1 thread", voxels=stack.voxels, floor=floor)
    forest = scikit_learn_forest(ours.project.classifier)
    if forest is None:
        return
    rows = rows_in_blocks(features, block)[: stack.voxels]
    expected = predict_stack(stack, ours.packed).reshape(len(rows), -1)
    for count in sorted({1, threads}):
        forest.n_jobs = count
        difference = float(np.abs(forest.predict_proba(rows) - expected).max())
        timing = time_work(lambda: forest.predict_proba(rows), repeats=repeats)
        note = f"{timing.compared_with(own)}; differs by {difference:.0e}"
        if difference > 1e-6:  # float32 against float64
            note += ": NOT THE SAME FOREST"
        name = "forest: scikit-learn RandomForest"
        report.row(name, timing, settings=_threads(count), voxels=len(rows), floor=floor, note=note)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


if __name__ == "__main__":
    sys.exit(main())

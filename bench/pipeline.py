"""Times reading, features, forest, assembling, writing and the whole, beside other libraries doing the same work.

Stages and "whole, in this process" run here, warm; "whole process" is the command line from its start to its end, file
to file. Peers work on a piece of the image (their rates do not depend on its size) with one thread each, and ours
beside them with one thread on that piece; what they do with more threads is a row of its own.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from cases import Case, chosen_cases, list_cases, make_parser, parse
from data import Material, prepare
from kernels.features import TOLERANCE, count_work, one_leaf
from kernels.forest import BLOCKS, load_forests
from measure import Limits, Report, Timing, measure_limits, time_process, time_work, usable_processors
from peers import FeaturePeer, feature_peers, scikit_image_features, scikit_learn_forest
from walks import arrange, predict_stack, rows_in_blocks, visits_per_block

from pixelforest.engine.box import Box
from pixelforest.engine.export.images import open_export, plan_export
from pixelforest.engine.inputs import InputImage, InputOptions, open_image
from pixelforest.engine.jobs import Job, Request, resolve_job
from pixelforest.engine.pixels.feature_plan import plan_features
from pixelforest.engine.pixels.results import PROBABILITIES
from pixelforest.engine.project import Project
from pixelforest.engine.tiling.halo import source_box
from pixelforest.engine.tiling.plan import TileCost, plan_tiles
from pixelforest.engine.tiling.stream import stream_tiles
from pixelforest.engine.workflows.batch import run_batch
from pixelforest.engine.workflows.pixel_classification import result_infos
from pixelforest.kernels import load
from pixelforest.kernels.shared.plan import pack_plan
from pixelforest.kernels.shared.results import MADE_OF_PROBABILITIES, spread_classes

PIECE = {2: (1, 512, 512), 3: (64, 64, 64)}  # voxels along z, y, x that the peers work on


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


class Stages:
    """The stages of one image that is in memory, tile by tile, on a number of threads."""

    def __init__(self, project: Project, volume: np.ndarray, *, threads: int, memory_bytes: int) -> None:
        """``volume``: (c, z, y, x)."""
        channels, z, y, x = volume.shape
        self.project, self.volume, self.image, self.threads = project, volume, (z, y, x), threads
        self.backend = load("cpu")
        self.feature_plan = plan_features(project.features, channels=channels, depth=z)
        self.plan = self.backend.load_plan(self.feature_plan)
        self.margin = self.backend.source_margin(self.plan)
        self.packed = load_forests(project)
        self.nothing = self.backend.load_forest([one_leaf(self.packed.classes)])
        backend, plan, classes = self.backend, self.plan, self.packed.classes
        cost = TileCost(
            channels * volume.itemsize, 0.0, worker=lambda tile, source: backend.tile_bytes(plan, classes, tile, source)
        )
        self.tiles = plan_tiles(
            Box.whole(self.image), self.image, self.margin, cost, threads=threads, memory_bytes=memory_bytes
        )

    def read(self, raw: InputImage) -> None:
        """Every tile with its halo, from the file."""
        self._stream(lambda tile, source: None, read=lambda tile: raw.read(self._source(tile)))

    def features(self) -> None:
        """Every feature, with a forest that asks for none."""
        self._stream(lambda tile, source: self._predict(tile, source, self.nothing))

    def features_and_forest(self) -> dict[Box, np.ndarray]:
        """The forest's answer for every tile."""
        answers: dict[Box, np.ndarray] = {}

        def keep(tile: Box, source: np.ndarray) -> None:
            answers[tile] = self._predict(tile, source, self.packed)

        self._stream(keep)
        return answers

    def assemble(self, answers: dict[Box, np.ndarray]) -> None:
        """All results that are made of the forest's answers."""
        classes = len(self.project.classifier.label_names)
        known = self.project.classifier.known_labels

        def make(tile: Box, source: np.ndarray) -> None:
            probabilities = spread_classes(answers[tile], known, classes)
            for make_result in MADE_OF_PROBABILITIES.values():
                make_result(probabilities)

        self._stream(make)

    def write(self, raw: InputImage, job: Job, answers: dict[Box, np.ndarray]) -> None:
        """The probabilities into the file that the job names."""
        plan = plan_export(result_infos(self.project, {"Raw Data": raw})[PROBABILITIES], raw, job.export[0])
        plan.path.unlink(missing_ok=True)
        export = open_export(plan)

        def put(tile: Box, source: np.ndarray) -> None:
            data = answers[tile][np.newaxis]
            export.write(Box((0, *tile.start, 0), (1, *tile.stop, data.shape[4])), data)

        self._stream(put)
        export.finish()

    def _source(self, tile: Box) -> Box:
        box = source_box(tile, self.margin, self.image)
        return Box((0, *box.start, 0), (1, *box.stop, len(self.volume)))

    def _predict(self, tile: Box, source: np.ndarray, forest: object) -> np.ndarray:
        start = source_box(tile, self.margin, self.image).start
        corners = tile.start, tile.stop
        stack = self.backend.feature_stack(self.backend.to_device(source), start, corners, self.image, self.plan)
        return np.asarray(self.backend.to_host(self.backend.predict(stack, forest)))

    def _stream(
        self,
        process: Callable[[Box, np.ndarray], object],
        *,
        read: Callable[[Box], np.ndarray] | None = None,
    ) -> None:
        def in_memory(tile: Box) -> np.ndarray:
            box = source_box(tile, self.margin, self.image)
            return self.volume[(slice(None), *box.slices())]

        def done(tile: Box, source: np.ndarray) -> None:
            process(tile, source)

        stream_tiles(self.tiles, read or in_memory, done, threads=self.threads)


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
        _measure_stages(
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


def _measure_stages(
    report: Report, case: Case, material: Material, job: Job, limits: Limits, *, settings: str, repeats: int
) -> None:
    with _open(material) as raw:
        volume = np.ascontiguousarray(raw.read(Box.whole(raw.shape))[0].transpose(3, 0, 1, 2))
        stages = Stages(material.project, volume, threads=limits.threads, memory_bytes=job.memory_bytes)
        report.note(f"{len(stages.tiles)} tiles of up to {'x'.join(map(str, stages.tiles[0].shape))}")
        operations = case.voxels * count_work(pack_plan(stages.feature_plan)).operations
        compared = case.voxels * _visits(material.project, volume)
        answers = stages.features_and_forest()
        bytes_out = sum(a.nbytes for a in answers.values())

        def row(name: str, timing: Timing, floor: tuple[float, str], note: str = "") -> None:
            report.row(name, timing, settings=settings, voxels=case.voxels, floor=floor, note=note)

        row("read", time_work(lambda: stages.read(raw), repeats=repeats), limits.floor(moved_bytes=volume.nbytes))
        features = time_work(stages.features, repeats=repeats)
        both = time_work(stages.features_and_forest, repeats=repeats)
        row("features", features, limits.floor(operations=operations, moved_bytes=volume.nbytes))
        visits = compared / case.voxels / len(stages.packed.roots)
        note = f"{visits:.1f} visits a tree and block"
        row("forest", both.minus(features), limits.floor(operations=compared, moved_bytes=bytes_out), note)
        row("features and forest", both, limits.floor(operations=operations + compared, moved_bytes=bytes_out))
        assembled = time_work(lambda: stages.assemble(answers), repeats=repeats)
        row("assemble, every result", assembled, limits.floor(moved_bytes=2 * bytes_out))
        written = time_work(lambda: stages.write(raw, job, answers), repeats=repeats)
        row("write", written, limits.floor(moved_bytes=2 * bytes_out), f"{bytes_out / 1e6:.0f} MB")


def _measure_peers(
    report: Report, material: Material, limits: dict[int, Limits], *, repeats: int, threads: int
) -> None:
    piece, ours = _piece(material)
    flat = piece.shape[1] == 1
    if len(piece) > 1 or any(s.slicewise != flat for s in ours.feature_plan.scales):
        report.note("No peers: they filter one channel, in 2-D or in 3-D")
        return
    image = piece[0, 0].astype(np.float32) if flat else piece[0].astype(np.float32)
    operations = image.size * count_work(pack_plan(ours.feature_plan)).operations
    floor = limits[1].floor(operations=operations)
    own = time_work(ours.features, repeats=repeats)
    size = "x".join(map(str, image.shape))
    report.note(f"\nPeers, {size}; the same features where nothing else is said, the same trees")
    report.row("features: pixelforest", own, settings="1 thread", voxels=image.size, floor=floor)
    whole = ours.backend.feature_stack(
        ours.backend.to_device(piece), (0, 0, 0), ((0, 0, 0), ours.image), ours.image, ours.plan
    )
    features = ours.backend.to_host(ours.backend.features(whole))
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
    """Ours on its own layout, the other on the rows it is made for."""
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
        if difference > 1e-6:  # float32 beside float64
            note += ": NOT THE SAME FOREST"
        name = "forest: scikit-learn RandomForest"
        report.row(name, timing, settings=_threads(count), voxels=len(rows), floor=floor, note=note)


def _piece(material: Material) -> tuple[np.ndarray, Stages]:
    """A piece (c, z, y, x) of the first image, as an image of its own on one thread."""
    with _open(material) as raw:
        wanted = PIECE[2 if raw.shape[1] == 1 else 3]
        z, y, x = (min(n, p) for n, p in zip(raw.shape[1:4], wanted, strict=True))
        piece = np.ascontiguousarray(raw.read(Box((0,) * 5, (1, z, y, x, raw.shape[4])))[0].transpose(3, 0, 1, 2))
    return piece, Stages(material.project, piece, threads=1, memory_bytes=4 << 30)


def _visits(project: Project, volume: np.ndarray) -> float:
    """Comparisons a voxel, all trees together, on a piece of the image."""
    wanted = PIECE[2 if volume.shape[1] == 1 else 3]
    piece = np.ascontiguousarray(volume[(slice(None), *(slice(n) for n in wanted))])
    stages = Stages(project, piece, threads=1, memory_bytes=4 << 30)
    stack = stages.backend.feature_stack(
        stages.backend.to_device(piece), (0, 0, 0), ((0, 0, 0), stages.image), stages.image, stages.plan
    )
    features = stages.backend.to_host(stages.backend.features(stack))
    return visits_per_block(arrange(features, BLOCKS[2 if volume.shape[1] == 1 else 3][0]), stages.packed)[1]


def _open(material: Material) -> InputImage:
    lanes = material.project.lanes
    training = lanes[-1].images.get("Raw Data") if lanes else None
    return open_image(material.images[0], role_index=0, training=training, options=InputOptions())


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


if __name__ == "__main__":
    sys.exit(main())

"""Stages of one image in memory, each measured alone with its floor; and the piece for peers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from cases import Case
from data import Material
from kernels.features import count_work, one_leaf
from kernels.forest import BLOCKS, load_forests, stored_forests
from measure import Limits, Report, Timing, time_work
from walks import arrange, visits_per_block

from pixelforest.box import Box
from pixelforest.engine.export.images import plan_export
from pixelforest.engine.export.tile_sinks import open_export
from pixelforest.engine.inputs.images import InputImage, open_image
from pixelforest.engine.inputs.lanes import InputOptions
from pixelforest.engine.jobs import Job
from pixelforest.engine.pixels.feature_plan import plan_features
from pixelforest.engine.pixels.results import PROBABILITIES
from pixelforest.engine.project import Project
from pixelforest.engine.resources import Resources
from pixelforest.engine.tiling.halo import source_box
from pixelforest.engine.tiling.plan import TileCost, plan_tiles
from pixelforest.engine.tiling.stream import stream_tiles
from pixelforest.engine.workflows.pixel.flow import result_infos
from pixelforest.kernels import load
from pixelforest.kernels.shared.plan import pack_plan
from pixelforest.kernels.shared.results import MADE_OF_PROBABILITIES, spread_classes

PIECE = {2: (1, 512, 512), 3: (64, 64, 64)}  # voxels along z, y, x for the peers


@dataclass(frozen=True)
class Stage:
    """Time of one stage, with its minimum time and the resource that limits it (see ``Limits.floor``)."""

    name: str
    timing: Timing
    floor: tuple[float, str]


class Stages:
    """Stages of one image in memory, tile by tile, on a number of threads."""

    def __init__(self, project: Project, volume: np.ndarray, *, threads: int, memory_bytes: int) -> None:
        """Prepare the stages of ``volume`` (c, z, y, x)."""
        channels, z, y, x = volume.shape
        self.project, self.volume, self.image, self.threads = project, volume, (z, y, x), threads
        self.backend = load("cpu")
        self.feature_plan = plan_features(project.features, channels=channels, depth=z)
        self.plan = self.backend.pixels.load_plan(self.feature_plan)
        self.halo = self.backend.pixels.source_halo(self.plan)
        self.packed = load_forests(project)
        self.forest = self.backend.pixels.load_forest(stored_forests(project), use="tiles")
        self.nothing = self.backend.pixels.load_forest([one_leaf(self.packed.classes)], use="tiles")
        backend, plan, classes = self.backend, self.plan, self.packed.classes
        cost = TileCost(
            channels * volume.itemsize,
            0.0,
            worker=lambda tile, source: backend.pixels.tile_bytes(plan, classes, tile, source),
        )
        self.tiles = plan_tiles(
            Box.whole(self.image),
            self.image,
            self.halo,
            cost,
            resources=Resources(backend, threads, memory_bytes),
        )

    def read(self, raw: InputImage) -> None:
        """Read every tile with its halo from the file."""
        self._stream(lambda tile, source: None, read=lambda tile: raw.read(self._source(tile)))

    def features(self) -> None:
        """Compute every feature, with a forest that reads none."""
        self._stream(lambda tile, source: self._predict(tile, source, self.nothing))

    def features_and_forest(self) -> dict[Box, np.ndarray]:
        """Predict every tile."""
        answers: dict[Box, np.ndarray] = {}

        def keep(tile: Box, source: np.ndarray) -> None:
            answers[tile] = self._predict(tile, source, self.forest)

        self._stream(keep)
        return answers

    def assemble(self, answers: dict[Box, np.ndarray]) -> None:
        """Compute all results from the predictions."""
        classes = len(self.project.classifier.label_names)
        known = self.project.classifier.known_labels

        def make(tile: Box, source: np.ndarray) -> None:
            probabilities = spread_classes(answers[tile], known, classes)
            for make_result in MADE_OF_PROBABILITIES.values():
                make_result(probabilities)

        self._stream(make)

    def write(self, raw: InputImage, job: Job, answers: dict[Box, np.ndarray]) -> None:
        """Write the probabilities to the job's file."""
        plan = plan_export(result_infos(self.project, {"Raw Data": raw})[PROBABILITIES], raw, job.export[0])
        plan.path.unlink(missing_ok=True)
        export = open_export(plan)

        def put(tile: Box, source: np.ndarray) -> None:
            data = answers[tile][np.newaxis]
            export.write(Box((0, *tile.start, 0), (1, *tile.stop, data.shape[4])), data)

        self._stream(put)
        export.finish()

    def _source(self, tile: Box) -> Box:
        box = source_box(tile, self.halo, self.image)
        return Box((0, *box.start, 0), (1, *box.stop, len(self.volume)))

    def _predict(self, tile: Box, source: np.ndarray, forest: object) -> np.ndarray:
        start = source_box(tile, self.halo, self.image).start
        corners = tile.start, tile.stop
        stack = self.backend.pixels.feature_stack(
            self.backend.pixels.to_device(source), start, corners, self.image, self.plan
        )
        return np.asarray(self.backend.pixels.to_host(self.backend.pixels.predict(stack, forest)))

    def _stream(
        self,
        process: Callable[[Box, np.ndarray], object],
        *,
        read: Callable[[Box], np.ndarray] | None = None,
    ) -> None:
        def in_memory(tile: Box) -> np.ndarray:
            box = source_box(tile, self.halo, self.image)
            return self.volume[(slice(None), *box.slices())]

        def done(tile: Box, source: np.ndarray) -> None:
            process(tile, source)

        stream_tiles(self.tiles, read or in_memory, done, threads=self.threads)


def measure_stages(
    report: Report, case: Case, material: Material, job: Job, limits: Limits, *, settings: str, repeats: int
) -> list[Stage]:
    """Time every stage, print its row, and return them; "features and forest" is the sum of two of them."""
    found: list[Stage] = []
    with open_raw(material) as raw:
        volume = np.ascontiguousarray(raw.read(Box.whole(raw.shape))[0].transpose(3, 0, 1, 2))
        stages = Stages(material.project, volume, threads=limits.threads, memory_bytes=job.memory_bytes)
        report.note(f"{len(stages.tiles)} tiles of up to {'x'.join(map(str, stages.tiles[0].shape))}")
        operations = case.voxels * count_work(pack_plan(stages.feature_plan)).operations
        compared = case.voxels * visits(material.project, volume)
        answers = stages.features_and_forest()
        bytes_out = sum(a.nbytes for a in answers.values())

        def row(name: str, timing: Timing, floor: tuple[float, str], note: str = "") -> None:
            report.row(name, timing, settings=settings, voxels=case.voxels, floor=floor, note=note)
            found.append(Stage(name, timing, floor))

        row("read", time_work(lambda: stages.read(raw), repeats=repeats), limits.floor(moved_bytes=volume.nbytes))
        features = time_work(stages.features, repeats=repeats)
        both = time_work(stages.features_and_forest, repeats=repeats)
        row("features", features, limits.floor(operations=operations, moved_bytes=volume.nbytes))
        each = compared / case.voxels / len(stages.packed.roots)
        note = f"{each:.1f} visits a tree and block"
        row("forest", both.minus(features), limits.floor(operations=compared, moved_bytes=bytes_out), note)
        row("features and forest", both, limits.floor(operations=operations + compared, moved_bytes=bytes_out))
        assembled = time_work(lambda: stages.assemble(answers), repeats=repeats)
        row("assemble, every result", assembled, limits.floor(moved_bytes=2 * bytes_out))
        written = time_work(lambda: stages.write(raw, job, answers), repeats=repeats)
        row("write", written, limits.floor(moved_bytes=2 * bytes_out), f"{bytes_out / 1e6:.0f} MB")
    return found


def cut_piece(material: Material) -> tuple[np.ndarray, Stages]:
    """Cut a piece (c, z, y, x) of the first image, as an image of its own on one thread."""
    with open_raw(material) as raw:
        wanted = PIECE[2 if raw.shape[1] == 1 else 3]
        z, y, x = (min(n, p) for n, p in zip(raw.shape[1:4], wanted, strict=True))
        piece = np.ascontiguousarray(raw.read(Box((0,) * 5, (1, z, y, x, raw.shape[4])))[0].transpose(3, 0, 1, 2))
    return piece, Stages(material.project, piece, threads=1, memory_bytes=4 << 30)


def visits(project: Project, volume: np.ndarray) -> float:
    """Count the comparisons per voxel, over all trees, on a piece of the image."""
    wanted = PIECE[2 if volume.shape[1] == 1 else 3]
    piece = np.ascontiguousarray(volume[(slice(None), *(slice(n) for n in wanted))])
    stages = Stages(project, piece, threads=1, memory_bytes=4 << 30)
    stack = stages.backend.pixels.feature_stack(
        stages.backend.pixels.to_device(piece), (0, 0, 0), ((0, 0, 0), stages.image), stages.image, stages.plan
    )
    features = stages.backend.pixels.to_host(stages.backend.pixels.features(stack))
    return visits_per_block(arrange(features, BLOCKS[2 if volume.shape[1] == 1 else 3][0]), stages.packed)[1]


def open_raw(material: Material) -> InputImage:
    """Open the first image of a case as a lane would."""
    lanes = material.project.lanes
    training = lanes[-1].images.get("Raw Data") if lanes else None
    return open_image(material.images[0], role_index=0, training=training, options=InputOptions())

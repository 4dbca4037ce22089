"""Tiles and frames of a lane computed by another process, which gets nothing but bytes."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context

import numpy as np

from pixelforest.box import Box
from pixelforest.engine.backends import open_backend
from pixelforest.engine.export.images import ExportPlan
from pixelforest.engine.inputs.images import ImageRef, reopen_images
from pixelforest.engine.objects.classify import ObjectClasses
from pixelforest.engine.objects.label import LabelFrame
from pixelforest.engine.objects.measure import ObjectFeatures
from pixelforest.engine.pixels.tiles import ComputedTile, TileWork
from pixelforest.engine.project import ObjectProject
from pixelforest.engine.resources import Resources
from pixelforest.engine.tiling.groups import ChunkGrid
from pixelforest.engine.workflows.objects.flow import classify_frame
from pixelforest.engine.workflows.objects.frame import Lane

MEMORY_BYTES = 1 << 30


@dataclass
class Parts:
    """The parts of a result in the order in which they were made; see export.tile_sinks.TileSink."""

    region: Box
    bytes_per_voxel: int
    held_bytes: int
    grid: ChunkGrid | None
    conversion: None = None
    found: list[tuple[Box, np.ndarray]] = field(default_factory=list)

    def write(self, box: Box, data: np.ndarray) -> None:
        self.found.append((box, np.array(data)))

    def write_converted(self, box: Box, data: np.ndarray, overflow_count: int) -> None:
        raise AssertionError("nothing is converted for a sink without a conversion")


@dataclass
class Rows:
    """The objects of a frame; see objects.rows.ObjectSink."""

    found: list[tuple[int, LabelFrame, ObjectFeatures, ObjectClasses]] = field(default_factory=list)

    def add(self, time: int, labels: LabelFrame, measured: ObjectFeatures, objects: ObjectClasses) -> None:
        self.found.append((time, replace(labels, labels=labels.labels.copy()), measured, objects))


@dataclass(frozen=True)
class Tiles:
    """Tiles of a lane to compute."""

    work: TileWork
    images: Mapping[str, ImageRef]
    tiles: tuple[Box, ...]

    def compute(self) -> list[ComputedTile]:
        with reopen_images(self.images) as images:
            opened = self.work.open(images, open_backend("cpu"))
            return [opened.compute(tile, opened.read(tile)) for tile in self.tiles]


@dataclass(frozen=True)
class Frame:
    """A frame of a lane to compute."""

    project: ObjectProject
    images: Mapping[str, ImageRef]
    exports: Mapping[str, ExportPlan]
    time: int

    def compute(self) -> tuple[dict[str, list[tuple[Box, np.ndarray]]], Rows]:
        sinks = {
            name: Parts(plan.region, plan.bytes_per_voxel, plan.held_bytes, plan.grid)
            for name, plan in self.exports.items()
        }
        rows = Rows()
        with reopen_images(self.images) as images:
            lane = Lane(self.project, images, Resources(open_backend("cpu"), 1, MEMORY_BYTES))
            classify_frame(lane, self.time, sinks, rows, on_progress=lambda voxels: None)
        return {name: sink.found for name, sink in sinks.items()}, rows


def compute_elsewhere(works: list[Tiles] | list[Frame]) -> list:
    """Compute the first in a process that was started for it, the others in a second one."""
    results = []
    for group in filter(None, (works[:1], works[1:])):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            for pid, answer in pool.map(_answer, map(pickle.dumps, group)):
                assert pid != os.getpid()
                results.append(pickle.loads(answer))
    return results


def _answer(description: bytes) -> tuple[int, bytes]:
    os.chdir(os.path.abspath(os.sep))  # relative paths are those of the process that wrote the description
    work: Tiles | Frame = pickle.loads(description)
    compute: Callable[[], object] = work.compute
    return os.getpid(), pickle.dumps(compute())

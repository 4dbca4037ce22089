"""The CPU backend: compiled kernels that run without Python's lock, one tile a thread."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..contract import (
    DeviceUnavailable,
    FeaturePlan,
    ForestArrays,
    MapPlan,
    MeasurePlan,
    ResultPlan,
    Storage,
    TileResult,
    Voxels,
)
from ..shared.forest_by_feature import ColumnForest, column_forest
from ..shared.nodes import PackedForest, pack_forest
from ..shared.plan import PackedPlan, pack_plan
from .build.cache_key import missing_features
from .host import labels as labelling
from .host import threshold
from .host.labels import SlabRuns
from .host.pure_forest_buffers import BLOCK, TOGETHER, bundle_memory, voting_memory
from .host.results import tile_results
from .loader import kernel, prepare
from .loader import warm as warm_library

if TYPE_CHECKING:
    from .host.measure import Measurement

# Voxels of a cell, voxels of a block of 64, and blocks of a bundle that enters the trees together, along z, y, x.
# Chosen by bench/kernels; results do not depend on them.
_FLAT = ((1, 32, 256), (1, 8, 8), (1, 4, 8))
_SOLID = ((16, 32, 64), (4, 4, 4), (2, 4, 4))
_BATCH_NODES = 4096  # inner nodes whose answers for four blocks, 32 bytes each, stay in the second cache
_PADDED_FLOATS = 4096  # lines that are padded together

_presmooth_tile, _feature_tile = kernel("presmooth_tile"), kernel("feature_tile")
_predict_tile_pure, _predict_tile_mixed = kernel("predict_tile_pure"), kernel("predict_tile_mixed")
_predict_rows_pure, _predict_rows_mixed = kernel("predict_rows_pure"), kernel("predict_rows_mixed")
_unite_pairs, _number_components = kernel("unite_pairs"), kernel("number_components")
_add_run_sizes, _drop_components = kernel("add_run_sizes"), kernel("drop_components")
_mark_overlaps, _write_runs = kernel("mark_overlaps"), kernel("write_runs")
_add_label_sizes, _drop_labels = kernel("add_label_sizes"), kernel("drop_labels")
_describe_hulls, _describe_skeletons = kernel("describe_hulls"), kernel("describe_skeletons")


@dataclass(frozen=True)
class TileFeatures:
    """A tile whose pre-smoothed volumes are ready; its features are derived cell by cell when they are asked for."""

    plan: PackedPlan
    image: Voxels
    start: Voxels
    extent: Voxels
    smoothed: np.ndarray
    places: np.ndarray
    boxes: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(z, y, x, f) of the tile."""
        return (*self.extent, self.plan.width)

    @property
    def shapes(self) -> tuple[Voxels, Voxels, Voxels]:
        """Voxels of a cell and of a block, blocks of a bundle, along z, y, x."""
        return _FLAT if self.image[0] == 1 else _SOLID


@dataclass(frozen=True)
class CpuForest:
    """A classifier, and the other form of it that forests of pure leaves are predicted with."""

    packed: PackedForest
    votes: ColumnForest | None

    @property
    def kernel_arguments(self) -> tuple[Any, ...]:
        """What the kernels that predict take of a forest."""
        f, v = self.packed, self.votes
        if v is not None:
            return v.arrays, (f.groups, f.vote_value, f.divisor)
        shares = (f.probabilities, f.weights, f.forests, f.averages, f.divisor)
        return f.roots, (f.records, f.leaf_column, f.offset_bits), shares, f.depth


class _Workspace(threading.local):
    """Buffers of one thread, kept between tiles and only ever grown."""

    def __init__(self) -> None:
        self._buffers: dict[str, np.ndarray] = {}
        self._voting: tuple[tuple[int, ...], tuple[Any, Any]] | None = None

    def buffer(self, name: str, size: int, dtype: Any = np.float32) -> np.ndarray:
        """A flat buffer of at least ``size`` elements; its content is whatever was left there."""
        if name not in self._buffers or self._buffers[name].size < size:
            self._buffers.pop(name, None)  # the smaller one goes before the larger one comes
            self._buffers[name] = np.empty(size, dtype)
        return self._buffers[name]

    def voting(self, forest: CpuForest, votes: ColumnForest, columns: int, quads: int) -> tuple[Any, Any]:
        """The memory and the bundles of ``voting.py`` for a forest; kept while the same are asked for."""
        packed = forest.packed
        sizes = (columns, votes.first.shape[1] - 1, packed.vote_value.shape[1], votes.most_nodes, quads)
        if self._voting is None or self._voting[0] != (packed.classes, *sizes):
            self._voting = None  # the one before goes first
            memory = voting_memory(packed.classes, *sizes), bundle_memory(packed.classes, quads)
            self._voting = (packed.classes, *sizes), memory
        return self._voting[1]


def _between_passes(source: Sequence[int]) -> int:
    """Floats between the passes of pre-smoothing: a plane after x and all after y, or all after x and no pass more."""
    return int(np.prod(source[1:])) * (1 + source[0])


class CpuBackend:
    """Feature filters and forests on the host's processors. See ``contract.Backend`` for the methods."""

    name = "cpu"

    def __init__(self) -> None:
        self._space = _Workspace()
        self._classifies_pixels = False

    def describe(self) -> str:
        return "CPU"

    def warm(self) -> None:
        warm_library()

    def load_plan(self, plan: FeaturePlan) -> PackedPlan:
        self._classifies_pixels = True
        prepare("features")
        return pack_plan(plan)

    def source_margin(self, plan: PackedPlan) -> Voxels:
        return plan.source_margin

    def tile_bytes(self, plan: PackedPlan, classes: int, tile: Voxels, source: Voxels) -> int:
        float32 = 4
        cell, block, _ = _FLAT if source[0] == 1 else _SOLID
        smoothed = plan.channels * sum(_volume(tile, margin) for margin in plan.margin.tolist())
        cell_volumes = plan.slots * _volume(cell, plan.reach) + plan.width * _column_stride(cell, block)
        floats = plan.channels * _volume(source) + _between_passes(source) + smoothed + cell_volumes
        return int(float32 * (floats + classes * _volume(tile)))

    def tile_wish(self, plan: PackedPlan, results: ResultPlan, image: Voxels, threads: int) -> None:
        return None

    def tile_results(
        self,
        source: np.ndarray,
        start: Voxels,
        tile: tuple[Voxels, Voxels],
        image: Voxels,
        active: np.ndarray | None,
        plan: PackedPlan,
        forest: CpuForest,
        results: ResultPlan,
    ) -> tuple[TileResult, ...]:
        return tile_results(self, source, start, tile, image, active, plan, forest, results)

    def to_device(self, source: np.ndarray) -> np.ndarray:
        """Into a buffer of this thread: the system hands out new memory only after it has cleared it."""
        if source.dtype == np.float32 and source.flags.c_contiguous:
            return source
        copy = self._space.buffer("source", source.size)[: source.size].reshape(source.shape)
        with np.errstate(over="ignore"):
            copy[...] = source
        return copy

    def to_host(self, array: np.ndarray) -> np.ndarray:
        return array

    def feature_stack(
        self, source: np.ndarray, start: Voxels, tile: tuple[Voxels, Voxels], image: Voxels, plan: PackedPlan
    ) -> TileFeatures:
        first, stop = tile
        boxes = np.array([_grow(first, stop, margin, image) for margin in plan.margin.tolist()], np.int64).reshape(
            -1, 6
        )
        volumes = np.prod(boxes[:, 3:] - boxes[:, :3], axis=1)
        places = np.cumsum(np.concatenate([[0], np.tile(volumes, plan.channels)])).astype(np.int64)
        smoothed = self._space.buffer("smoothed", int(places[-1]))
        work = self._space.buffer("between", _between_passes(source.shape[1:]))
        plane = int(np.prod(source.shape[2:]))
        source_box = (*start, *(a + n for a, n in zip(start, source.shape[1:], strict=True)))
        table = places[:-1].reshape(plan.channels, len(plan.pre_radius))
        _presmooth_tile(
            source.reshape(-1), source_box, smoothed, table, boxes, image, plan.pre_taps, plan.pre_radius,
            plan.slicewise, plan.channels, work, 0, plane, self._lines(plan, source.shape[3]),
        )  # fmt: skip
        extent = (stop[0] - first[0], stop[1] - first[1], stop[2] - first[2])
        return TileFeatures(plan, image, first, extent, smoothed, table, boxes)

    def features(self, stack: TileFeatures) -> np.ndarray:
        out = np.empty(stack.shape, np.float32)
        _feature_tile(*self._tile_arguments(stack), out)
        return out

    def load_forest(self, forests: Sequence[ForestArrays]) -> CpuForest:
        packed = pack_forest(forests)
        # The first forest after a plan is the pixels'; objects' forests are asked for rows.
        prepare(f"{'predict' if self._classifies_pixels else 'rows'}_{'pure' if packed.is_pure else 'mixed'}")
        self._classifies_pixels = False
        return CpuForest(packed, column_forest(packed, batch_nodes=_BATCH_NODES) if packed.is_pure else None)

    def predict(self, stack: TileFeatures, forest: CpuForest) -> np.ndarray:
        out = np.empty((*stack.extent, forest.packed.classes), np.float32)
        arguments = (*self._tile_arguments(stack), stack.plan.width, *forest.kernel_arguments)
        if forest.votes is None:
            _predict_tile_mixed(*arguments, out)
        else:
            quads = int(np.prod(stack.shapes[2])) // TOGETHER
            _predict_tile_pure(*arguments, *self._space.voting(forest, forest.votes, stack.plan.width, quads), out)
        return out

    def predict_rows(self, rows: np.ndarray, forest: CpuForest) -> np.ndarray:
        rows = np.ascontiguousarray(rows, np.float32)
        out = np.empty((len(rows), forest.packed.classes), np.float32)
        if forest.votes is None:
            _predict_rows_mixed(rows, *forest.kernel_arguments, out)
        else:
            columns = rows.shape[1]
            stack = self._space.buffer("rows", columns * TOGETHER * BLOCK)
            memory, bundles = self._space.voting(forest, forest.votes, columns, 1)
            _predict_rows_pure(rows, *forest.kernel_arguments, memory, bundles, stack, out)
        return out

    def _tile_arguments(self, stack: TileFeatures) -> tuple[Any, ...]:
        """What every kernel that goes through a tile's cells needs, with this thread's scratch."""
        plan = stack.plan
        cell, block, _ = stack.shapes
        slot = int(np.prod([n + 2 * reach for n, reach in zip(cell, plan.reach, strict=True)]))
        columns = self._space.buffer("columns", plan.width * _column_stride(cell, block))
        work = self._space.buffer("work", plan.slots * slot)
        scratch = (work, slot, self._lines(plan, cell[2] + 2 * plan.reach[2]))
        smoothed = (stack.smoothed, stack.places, stack.boxes)
        program = (plan.instructions, plan.first, plan.taps, plan.channels)
        return smoothed, program, stack.image, stack.start, stack.extent, stack.shapes, columns, scratch

    def _lines(self, plan: PackedPlan, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scratch of the filters: padded lines, and the neighbours' places."""
        reach = max(plan.pre_taps.shape[1], 3)
        size = max(_PADDED_FLOATS, width + 2 * reach)
        plus, minus = self._space.buffer("plus", reach, np.int64), self._space.buffer("minus", reach, np.int64)
        return self._space.buffer("padded", size), plus, minus

    def label_slab(self, values: np.ndarray, storage: Storage) -> SlabRuns:
        return labelling.label_slab(values, storage)

    def join_slabs(
        self, a: SlabRuns, b: SlabRuns, axis: int, values_a: np.ndarray, values_b: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return labelling.join_slabs(a, b, axis, values_a, values_b)

    def unite(
        self, parents: np.ndarray, base_a: int, numbers_a: np.ndarray, base_b: int, numbers_b: np.ndarray
    ) -> None:
        _unite_pairs(parents, base_a, numbers_a, base_b, numbers_b)

    def number_components(self, parents: np.ndarray) -> int:
        return int(_number_components(parents))

    def add_sizes(self, slab: SlabRuns, ids: np.ndarray, base: int, sizes: np.ndarray) -> None:
        _add_run_sizes(slab.start, slab.stop, slab.component, ids, base, sizes)

    def drop_ids(self, ids: np.ndarray, keep: np.ndarray) -> None:
        _drop_components(ids, keep)

    def mark_overlaps(
        self,
        a: SlabRuns,
        ids_a: np.ndarray,
        base_a: int,
        b: SlabRuns,
        ids_b: np.ndarray,
        base_b: int,
        marks: np.ndarray,
    ) -> None:
        _mark_overlaps(a.runs, ids_a, base_a, b.runs, ids_b, base_b, marks)

    def write_labels(self, slab: SlabRuns, ids: np.ndarray, base: int, out: np.ndarray) -> None:
        _write_runs(*slab.runs, ids, base, out.reshape(-1, out.shape[2]))

    def new_value_table(self) -> labelling.ValueTable:
        return labelling.ValueTable()

    def smooth_maps(
        self, source: np.ndarray, start: Voxels, tile: tuple[Voxels, Voxels], image: Voxels, plan: MapPlan
    ) -> tuple[np.ndarray, ...]:
        return threshold.smooth_maps(source, start, tile, image, plan)

    def seed_minima(self, cost: np.ndarray, labels: np.ndarray) -> int:
        return threshold.seed_minima(cost, labels)

    def grow_regions(self, cost: np.ndarray, labels: np.ndarray, limit: float, storage: Storage) -> None:
        threshold.grow_regions(cost, labels, limit, storage)

    def add_label_sizes(self, labels: np.ndarray, sizes: np.ndarray) -> None:
        _add_label_sizes(labels.reshape(-1), sizes)

    def drop_labels(self, labels: np.ndarray, keep: np.ndarray) -> None:
        _drop_labels(labels.reshape(-1), keep)

    def start_measuring(self, plan: MeasurePlan) -> Measurement:
        from .host.measure import (
            Measurement,  # not for pixels: its tables alone take as long as the rest of this module
        )

        return Measurement(plan)

    def measure_slab(
        self,
        measurement: Measurement,
        labels: np.ndarray,
        raw: np.ndarray,
        start: tuple[int, int],
        part: int,
        parts: int,
    ) -> None:
        measurement.add(labels, raw, start, part, parts)

    def measure_neighbourhoods(
        self,
        measurement: Measurement,
        labels: np.ndarray,
        raw: np.ndarray,
        start: tuple[int, int],
        objects: np.ndarray,
        boxes: np.ndarray,
        margin: Voxels,
        *,
        includes_object: bool,
    ) -> None:
        from .host.neighbourhood import measure_neighbourhoods

        measure_neighbourhoods(measurement, labels, raw, start, objects, boxes, margin, includes_object=includes_object)

    def complete_pass(self, measurement: Measurement, first: int, stop: int) -> None:
        measurement.complete(first, stop)

    def begin_second_pass(self, measurement: Measurement) -> None:
        measurement.begin_second_pass()

    def object_boxes(self, measurement: Measurement) -> np.ndarray:
        return measurement.boxes()

    def measured(self, measurement: Measurement) -> dict[str, np.ndarray]:
        return measurement.results()

    def hull_features(
        self,
        labels: np.ndarray,
        boxes: np.ndarray,
        centres: np.ndarray,
        counts: np.ndarray,
        first: int,
        stop: int,
        out: np.ndarray,
    ) -> None:
        centres, counts = np.ascontiguousarray(centres, np.float64), np.ascontiguousarray(counts, np.float64)
        _describe_hulls(labels, boxes, centres, counts, first, stop, out)

    def skeleton_features(self, labels: np.ndarray, boxes: np.ndarray, first: int, stop: int, out: np.ndarray) -> None:
        _describe_skeletons(labels[0], boxes, first, stop, out)


def _column_stride(shape: Voxels, block: Voxels) -> int:
    """As ``features.column_stride``."""
    blocks = int(np.prod([-(-n // b) for n, b in zip(shape, block, strict=True)]))
    return (blocks + 1) * BLOCK


def _volume(shape: Sequence[int], margin: Sequence[int] = (0, 0, 0)) -> int:
    z, y, x = (n + 2 * m for n, m in zip(shape, margin, strict=True))
    return z * y * x


def _grow(first: Voxels, stop: Voxels, margin: list[int], image: Voxels) -> list[int]:
    low = [max(a - m, 0) for a, m in zip(first, margin, strict=True)]
    high = [min(b + m, n) for b, m, n in zip(stop, margin, image, strict=True)]
    return low + high


def warm() -> int:
    """Compile and keep all kernels that no cache holds yet; how many parts there are. Raises KernelError."""
    return warm_library()


def open_backend() -> CpuBackend:
    """The backend of this folder. Raises DeviceUnavailable where its kernels are compiled for another processor."""
    missing = missing_features()
    if missing:
        raise DeviceUnavailable(
            f"NUMBA_CPU_FEATURES turns on {', '.join(missing)}, which this processor lacks; unset it, or name features "
            "that all processors have which run the kernels"
        )
    return CpuBackend()

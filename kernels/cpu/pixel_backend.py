"""Features and forests on the CPU: compiled kernels that release the GIL, one tile per thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from ...frozen import frozen
from ..contract import (
    RESULTS,
    FeaturePlan,
    ForestArrays,
    ForestUse,
    ResultPlan,
    StagedSource,
    TileJob,
    TileResult,
    Voxels,
)
from ..shared.forest_by_feature import column_forest
from ..shared.nodes import pack_forest
from ..shared.plan import PackedPlan, pack_plan
from ..shared.results import MADE_OF_PROBABILITIES, assemble_probabilities, finish_result
from ..shared.stages import stack_stages
from .host.pure_forest_buffers import BLOCK, BLOCKS_PER_VECTOR
from .host.workspace import CpuForest, Workspace
from .loader import kernel

# Voxels of a cell, voxels of a block of 64, and blocks of a bundle that descends the trees together, along z, y, x.
# Chosen by bench/kernels; results do not depend on them.
_FLAT = ((1, 32, 256), (1, 8, 8), (1, 4, 8))
_SOLID = ((16, 32, 64), (4, 4, 4), (2, 4, 4))
_BATCH_NODES = 4096  # inner nodes whose answers for four blocks, 32 bytes each, stay in the L2 cache
_PADDED_FLOATS = 4096  # lines that are padded together

_presmooth_tile, _feature_tile = kernel("presmooth_tile"), kernel("feature_tile")
_predict_tile_pure, _predict_tile_mixed = kernel("predict_tile_pure"), kernel("predict_tile_mixed")
_LOOPS = {"segmentation": kernel("number_best"), "uncertainty": kernel("subtract_lead")}
_count_classes, _sample_classes = kernel("count_classes"), kernel("sample_classes")
_predict_rows_pure, _predict_rows_mixed = kernel("predict_rows_pure"), kernel("predict_rows_mixed")


@frozen
class TileFeatures:
    """Tile with its pre-smoothed volumes; its features are derived cell by cell on demand."""

    plan: PackedPlan
    image: Voxels
    start: Voxels
    extent: Voxels
    smoothed: np.ndarray
    places: np.ndarray
    boxes: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Size (z, y, x, f) of the feature stack."""
        return (*self.extent, self.plan.width)

    @property
    def shapes(self) -> tuple[Voxels, Voxels, Voxels]:
        """Number of voxels of a cell and of a block, and of blocks of a bundle, along z, y, x."""
        return _FLAT if self.image[0] == 1 else _SOLID


class CpuPixels:
    """Feature filters and forests on the host's processors. See ``contract.PixelBackend`` for the methods.

    to_device, feature_stack, features, predict and to_host are the single steps, for tests and benchmarks.
    """

    def __init__(self) -> None:
        self._space = Workspace()

    def __reduce__(self) -> tuple[Callable[[], CpuPixels], tuple[()]]:
        """Unpickle as one backend per process, which all unpickled ones share: it holds only buffers."""
        return _of_this_process, ()

    def describe(self) -> str:
        return "CPU"

    def warm(self) -> None:
        """Do nothing: the kernels are part of the package."""

    def load_plan(self, plan: FeaturePlan) -> PackedPlan:
        return pack_plan(plan)

    def source_halo(self, plan: PackedPlan) -> Voxels:
        return plan.source_halo

    def tile_bytes(self, plan: PackedPlan, classes: int, tile: Voxels, source: Voxels) -> int:
        float32 = 4
        cell, block, _ = _FLAT if source[0] == 1 else _SOLID
        smoothed = plan.channels * sum(_volume(tile, halo) for halo in plan.halo.tolist())
        cell_volumes = plan.slots * _volume(cell, plan.reach) + plan.width * _column_stride(cell, block)
        floats = plan.channels * _volume(source) + _between_passes(source) + smoothed + cell_volumes
        return int(float32 * (floats + classes * _volume(tile)))

    def preferred_tiles(
        self, plan: PackedPlan, results: ResultPlan, image: Voxels, threads: int, *, first: PackedPlan | None = None
    ) -> None:
        return None

    def tile_results(self, job: TileJob[PackedPlan, CpuForest]) -> tuple[TileResult, ...]:
        """See ``contract.PixelBackend``. A tile that is masked out costs nothing if no features are wanted."""
        results, predicts = job.results, job.wants_classes and not job.is_masked_out
        features = probabilities = np.zeros((*job.extent, results.classes), np.float32)
        if job.wants_features or predicts:
            source = job.source
            if isinstance(source, StagedSource):
                source = stack_stages(source, self.tile_results)
            stack = self.feature_stack(self.to_device(source), job.start, job.tile, job.image, job.plan)
            if job.wants_features:
                features = self.features(stack)
            if predicts:
                probabilities = assemble_probabilities(self.predict(stack, job.forest), job.active, results)
        return tuple(
            finish_result(features if w.result == "features" else _make_result(w.result, probabilities), w)
            for w in results.wanted
        )

    def count_classes(self, probabilities: np.ndarray, first: int, every: int) -> tuple[np.ndarray, np.ndarray]:
        """See ``contract.ClassCounter``."""
        counts, levels = np.zeros(probabilities.shape[3] + 1, np.int64), np.zeros(256, np.int64)
        _count_classes(np.ascontiguousarray(probabilities), first, every, counts, levels)
        return counts, levels

    def sample_classes(self, plane: np.ndarray, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
        """See ``contract.ClassCounter``."""
        shape = tuple(len(range(*taken.indices(n))) for taken, n in zip((rows, columns), plane.shape, strict=False))
        numbers, uncertainties = np.empty(shape, np.uint8), np.empty(shape, np.float32)
        places = ((taken.start, taken.step) for taken in (rows, columns))
        _sample_classes(np.ascontiguousarray(plane), *places, numbers, uncertainties)
        return numbers, uncertainties

    def to_device(self, source: np.ndarray) -> np.ndarray:
        """Convert a tile's source (c, z, y, x) to float32. Valid until the calling thread's next ``to_device`` call.

        The buffer is reused, because the operating system clears new memory first.
        """
        if source.dtype == np.float32 and source.flags.c_contiguous:
            return source
        copy = self._space.buffer("source", source.size)[: source.size].reshape(source.shape)
        with np.errstate(over="ignore"):
            copy[...] = source
        return copy

    def to_host(self, array: np.ndarray) -> np.ndarray:
        """Return a result of ``features`` or ``predict`` as a NumPy array."""
        return array

    def feature_stack(
        self, source: np.ndarray, start: Voxels, tile: tuple[Voxels, Voxels], image: Voxels, plan: PackedPlan
    ) -> TileFeatures:
        """Pre-smooth a source from ``to_device`` for one tile. Valid until the calling thread's next call.

        start, tile, image   as in ``contract.TileJob``
        """
        first, stop = tile
        boxes = np.array([_grow(first, stop, halo, image) for halo in plan.halo.tolist()], np.int64).reshape(-1, 6)
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
        """Compute the feature stack (z, y, x, f) float32."""
        out = np.empty(stack.shape, np.float32)
        _feature_tile(*self._tile_arguments(stack), out)
        return out

    def load_forest(self, forests: Sequence[ForestArrays], *, use: ForestUse) -> CpuForest:
        packed = pack_forest(forests)
        return CpuForest(packed, column_forest(packed, batch_nodes=_BATCH_NODES) if packed.is_pure else None)

    def predict(self, stack: TileFeatures, forest: CpuForest) -> np.ndarray:
        """Predict class probabilities (z, y, x, k) float32 of a tile."""
        out = np.empty((*stack.extent, forest.packed.classes), np.float32)
        arguments = (*self._tile_arguments(stack), stack.plan.width, *forest.kernel_arguments)
        if forest.votes is None:
            _predict_tile_mixed(*arguments, out)
        else:
            quads = int(np.prod(stack.shapes[2])) // BLOCKS_PER_VECTOR
            _predict_tile_pure(*arguments, *self._space.voting(forest, forest.votes, stack.plan.width, quads), out)
        return out

    def predict_rows(self, rows: np.ndarray, forest: CpuForest) -> np.ndarray:
        rows = np.ascontiguousarray(rows, np.float32)
        out = np.empty((len(rows), forest.packed.classes), np.float32)
        if forest.votes is None:
            _predict_rows_mixed(rows, *forest.kernel_arguments, out)
        else:
            columns = rows.shape[1]
            stack = self._space.buffer("rows", columns * BLOCKS_PER_VECTOR * BLOCK)
            memory, bundles = self._space.voting(forest, forest.votes, columns, 1)
            _predict_rows_pure(rows, *forest.kernel_arguments, memory, bundles, stack, out)
        return out

    def _tile_arguments(self, stack: TileFeatures) -> tuple[Any, ...]:
        """Arguments of the kernels that process a tile's cells, with this thread's scratch."""
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
        """Scratch of the filters: padded lines, and the offsets of neighbours."""
        reach = max(plan.pre_taps.shape[1], 3)
        size = max(_PADDED_FLOATS, width + 2 * reach)
        plus, minus = self._space.buffer("plus", reach, np.int64), self._space.buffer("minus", reach, np.int64)
        return self._space.buffer("padded", size), plus, minus


def _make_result(name: str, probabilities: np.ndarray) -> np.ndarray:
    """Make a result (z, y, x, c) of probabilities (z, y, x, classes)."""
    classes = probabilities.shape[3]
    if name not in _LOOPS or classes < 2 or not probabilities.flags.c_contiguous:
        return np.asarray(MADE_OF_PROBABILITIES[name](probabilities))
    made = np.empty((*probabilities.shape[:3], 1), RESULTS[name])
    _LOOPS[name](probabilities.reshape(-1, classes), made.reshape(-1))
    return made


@cache
def _of_this_process() -> CpuPixels:
    return CpuPixels()


def _between_passes(source: Sequence[int]) -> int:
    """Floats between the passes of pre-smoothing: a plane after x and all after y, or all after x if it is the last."""
    return int(np.prod(source[1:])) * (1 + source[0])


def _column_stride(shape: Voxels, block: Voxels) -> int:
    """Floats between the columns of a cell's stack, as ``features.column_stride``."""
    blocks = int(np.prod([-(-n // b) for n, b in zip(shape, block, strict=True)]))
    return (blocks + 1) * BLOCK


def _volume(shape: Sequence[int], halo: Sequence[int] = (0, 0, 0)) -> int:
    z, y, x = (n + 2 * m for n, m in zip(shape, halo, strict=True))
    return z * y * x


def _grow(first: Voxels, stop: Voxels, halo: list[int], image: Voxels) -> list[int]:
    low = [max(a - m, 0) for a, m in zip(first, halo, strict=True)]
    high = [min(b + m, n) for b, m, n in zip(stop, halo, image, strict=True)]
    return low + high

"""The CPU backend: numba kernels that run without Python's lock, one tile a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from ..contract import FeaturePlan, ForestArrays, Voxels
from ..shared.nodes import PackedForest, pack_forest
from ..shared.plan import PackedPlan, pack_plan
from .features import BLOCK, derive_cell, gather, place_blocks, presmooth_tile
from .forest import predict_mixed, predict_pure

# Voxels of a cell along z, y, x, and of a block of 64. Chosen by bench/kernels; results do not depend on them.
_FLAT_CELL, _FLAT_BLOCK = (1, 32, 128), (1, 8, 8)
_SOLID_CELL, _SOLID_BLOCK = (8, 16, 32), (4, 4, 4)
_ALL_VOXELS = np.uint64(0xFFFFFFFFFFFFFFFF)

Box6 = tuple[int, int, int, int, int, int]


@dataclass(frozen=True)
class Cell:
    """A part of a tile whose feature stack is computed at once. ``box`` counts in the image, ``at`` in the tile."""

    box: Box6
    at: Voxels
    shape: Voxels
    blocks: tuple[int, int, int, int, int]
    count: int


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
    def block(self) -> Voxels:
        """Voxels of a block along z, y, x."""
        return _FLAT_BLOCK if self.image[0] == 1 else _SOLID_BLOCK

    def cells(self) -> Iterator[Cell]:
        """The tile cut into cells, whole blocks each except at the far faces."""
        size = _FLAT_CELL if self.image[0] == 1 else _SOLID_CELL
        block = self.block
        for at in product(*(range(0, n, s) for n, s in zip(self.extent, size, strict=True))):
            shape = tuple(min(s, n - a) for a, s, n in zip(at, size, self.extent, strict=True))
            first = tuple(o + a for o, a in zip(self.start, at, strict=True))
            counts = [-(-n // b) for n, b in zip(shape, block, strict=True)]
            yield Cell(
                box=(*first, *(f + n for f, n in zip(first, shape, strict=True))),  # type: ignore[arg-type]
                at=at,  # type: ignore[arg-type]
                shape=shape,  # type: ignore[arg-type]
                blocks=(*block, counts[1], counts[2]),
                count=counts[0] * counts[1] * counts[2],
            )


class _Workspace(threading.local):
    """Buffers of one thread, kept between tiles and only ever grown."""

    def __init__(self) -> None:
        self._buffers: dict[str, np.ndarray] = {}

    def buffer(self, name: str, size: int, dtype: Any = np.float32) -> np.ndarray:
        """A flat buffer of at least ``size`` elements; its content is whatever was left there."""
        found = self._buffers.get(name)
        if found is None or found.size < size:
            found = self._buffers[name] = np.empty(size, dtype)
        return found


class CpuBackend:
    """Feature filters and forests on the host's processors. See ``contract.Backend`` for the methods."""

    name = "cpu"

    def __init__(self) -> None:
        self._space = _Workspace()

    def describe(self) -> str:
        return "CPU"

    def load_plan(self, plan: FeaturePlan) -> PackedPlan:
        return pack_plan(plan)

    def source_margin(self, plan: PackedPlan) -> Voxels:
        return plan.source_margin

    def bytes_per_voxel(self, plan: PackedPlan, classes: int) -> tuple[float, float]:
        per_source = plan.channels * 4.0 + 8.0  # the float32 source; two volumes between the passes
        per_tile = 4.0 * plan.channels * len(plan.pre_radius) + 4.0 * classes * 3
        return per_source, per_tile

    def to_device(self, source: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(source, dtype=np.float32)

    def to_host(self, array: np.ndarray) -> np.ndarray:
        return array

    def feature_stack(
        self, source: np.ndarray, start: Voxels, tile: tuple[Voxels, Voxels], image: Voxels, plan: PackedPlan
    ) -> TileFeatures:
        first, stop = tile
        boxes = np.array([_grow(first, stop, margin, image) for margin in plan.margin.tolist()], np.int64).reshape(-1, 6)
        volumes = np.prod(boxes[:, 3:] - boxes[:, :3], axis=1)
        places = np.cumsum(np.concatenate([[0], np.tile(volumes, plan.channels)])).astype(np.int64)
        smoothed = self._space.buffer("smoothed", int(places[-1]))
        between = int(np.prod(source.shape[1:]))
        work = self._space.buffer("between", 2 * between)
        line, steps, plus, minus = self._lines(plan, source.shape[3])
        source_box = (*start, *(a + n for a, n in zip(start, source.shape[1:], strict=True)))
        table = places[:-1].reshape(plan.channels, len(plan.pre_radius))
        presmooth_tile(
            source.reshape(-1), source_box, smoothed, table, boxes, image, plan.pre_taps, plan.pre_radius,
            plan.slicewise, plan.channels, work, 0, between, line, steps, plus, minus,
        )  # fmt: skip
        extent = (stop[0] - first[0], stop[1] - first[1], stop[2] - first[2])
        return TileFeatures(plan, image, first, extent, smoothed, table, boxes)

    def features(self, stack: TileFeatures) -> np.ndarray:
        out = np.empty(stack.shape, np.float32)
        for cell in stack.cells():
            columns = self._derive(stack, cell)
            gather(columns, stack.plan.width, cell.blocks, *cell.shape, out, *cell.at)
        return out

    def load_forest(self, forests: Sequence[ForestArrays]) -> PackedForest:
        return pack_forest(forests)

    def predict(self, stack: TileFeatures, forest: PackedForest) -> np.ndarray:
        out = np.empty((*stack.extent, forest.classes), np.float32)
        for cell in stack.cells():
            columns = self._derive(stack, cell)
            values = self._space.buffer("values", cell.count * BLOCK * forest.classes)
            values = values[: cell.count * BLOCK * forest.classes].reshape(cell.count, BLOCK, forest.classes)
            masks = _valid_voxels(cell.shape, stack.block)
            f = forest
            if f.is_pure:
                digits = int(f.vote_value.shape[1] - 1).bit_length()
                predict_pure(
                    columns, masks, stack.plan.width, f.feature, f.threshold, f.left, f.right, f.roots, f.leaf_class,
                    f.groups, f.vote_value, f.divisor, f.depth, digits, values,
                )  # fmt: skip
            else:
                predict_mixed(
                    columns, masks, stack.plan.width, f.feature, f.threshold, f.left, f.right, f.roots, f.probabilities,
                    f.weights, f.forests, f.averages, f.divisor, f.depth, values,
                )  # fmt: skip
            place_blocks(values, cell.blocks, *cell.shape, out, *cell.at)
        return out

    def _derive(self, stack: TileFeatures, cell: Cell) -> np.ndarray:
        plan = stack.plan
        columns = self._space.buffer("columns", cell.count * plan.width * BLOCK)
        slot = int(np.prod([n + 2 * reach for n, reach in zip(cell.shape, plan.reach, strict=True)]))
        work = self._space.buffer("work", plan.slots * slot)
        line, steps, plus, minus = self._lines(plan, cell.shape[2] + 2 * plan.reach[2])
        derive_cell(
            stack.smoothed, stack.places, stack.boxes, cell.box, stack.image, plan.instructions, plan.first, plan.taps,
            plan.channels, plan.width, columns, cell.blocks, work, slot, line, steps, plus, minus,
        )  # fmt: skip
        return columns

    def _lines(self, plan: PackedPlan, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Scratch for one padded line and for the neighbours' places."""
        reach = max(plan.pre_taps.shape[1], 3)
        line = self._space.buffer("line", width + 2 * reach)
        return line, np.arange(reach, dtype=np.int64), self._space.buffer("plus", reach, np.int64), self._space.buffer("minus", reach, np.int64)


@lru_cache(maxsize=64)
def _valid_voxels(shape: Voxels, block: Voxels) -> np.ndarray:
    """For every block of a cell the mask of the voxels that lie inside it, (b,) uint64."""
    padded = [-(-n // b) * b for n, b in zip(shape, block, strict=True)]
    inside = np.zeros(padded, np.uint64)
    inside[: shape[0], : shape[1], : shape[2]] = 1
    (z, y, x), (a, b, c) = padded, block
    by_block = inside.reshape(z // a, a, y // b, b, x // c, c).transpose(0, 2, 4, 1, 3, 5).reshape(-1, BLOCK)
    return (by_block << np.arange(BLOCK, dtype=np.uint64)).sum(axis=1, dtype=np.uint64)


def _grow(first: Voxels, stop: Voxels, margin: list[int], image: Voxels) -> list[int]:
    low = [max(a - m, 0) for a, m in zip(first, margin, strict=True)]
    high = [min(b + m, n) for b, m, n in zip(stop, margin, image, strict=True)]
    return low + high

"""Small job that takes every path of a backend. It is generated from integers only, so it is the same everywhere."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np

from ...frozen import frozen
from ..contract import (
    OPERATIONS,
    RESULTS,
    Backend,
    Conversion,
    FeaturePlan,
    ForestArrays,
    ResultPlan,
    ScalePlan,
    TileJob,
    TileResult,
    TreeArrays,
    Voxels,
    Wanted,
)

SCALES = (0.3, 0.7, 1.0, 1.6, 3.5, 5.0, 10.0)  # offered by every project
CLASSES, TREES, DEPTH = 3, 40, 7


@frozen
class SelfTest:
    """One tile that is a whole image, all its features, and a forest.

    recorded   digest of the CPU backend's results when the tests were last changed
    """

    name: str
    image: Voxels
    is_pure: bool
    recorded: str

    @property
    def source(self) -> np.ndarray:
        """Image (1, z, y, x) uint8: slopes, edges and noise."""
        z, y, x = np.indices(self.image)
        noise = _hashed(np.arange(math.prod(self.image), dtype=np.uint64)).reshape(self.image) % 64
        pattern = 3 * z + y // 3 + x // 5 + 90 * ((y // 16 + x // 24 + z // 8) % 2) + noise.astype(np.int64)
        return np.asarray((pattern % 256).astype(np.uint8)[np.newaxis])

    @property
    def plan(self) -> FeaturePlan:
        """Every operation at every scale that a project offers by default."""
        flat = self.image[0] == 1
        scales, width = [], 0
        for scale in SCALES if flat else SCALES[:5]:
            columns = {}
            for operation in OPERATIONS:
                if scale < 0.5 and operation != "gaussian":
                    continue
                columns[operation] = width
                width += (2 if flat else 3) if operation in ("structure_tensor", "hessian") else 1
            presmoothing = math.sqrt(scale * scale - 1.0) if scale > 1.0 else scale
            scales.append(ScalePlan(presmoothing, min(scale, 1.0), flat, columns))
        return FeaturePlan(tuple(scales), 1, width)

    @property
    def forest(self) -> ForestArrays:
        """Complete trees over all columns."""
        trees = tuple(_tree(number, self.plan.width, is_pure=self.is_pure) for number in range(TREES))
        return ForestArrays(trees, CLASSES, is_weighted=not self.is_pure)

    @property
    def results(self) -> ResultPlan:
        """Every result unconverted, and probabilities as bytes."""
        channels = {"probabilities": CLASSES, "features": self.plan.width}
        wanted = [
            Wanted(name, (0, channels.get(name, 1)), Conversion(np.dtype(kind), np.dtype(kind)))
            for name, kind in RESULTS.items()
        ]
        to_bytes = Conversion(np.dtype(np.float32), np.dtype(np.uint8), (0.0, 1.0), (0, 255))
        wanted.append(Wanted("probabilities", (0, CLASSES), to_bytes))
        return ResultPlan(tuple(range(1, CLASSES + 1)), CLASSES, tuple(wanted))

    def run(self, backend: Backend) -> tuple[TileResult, ...]:
        """Compute the results with a backend."""
        plan, forest = backend.pixels.load_plan(self.plan), backend.pixels.load_forest([self.forest], use="tiles")
        corners: tuple[Voxels, Voxels] = ((0, 0, 0), self.image)
        job = TileJob(self.source, (0, 0, 0), corners, self.image, None, plan, forest, self.results)
        return backend.pixels.tile_results(job)


SELF_TESTS = (
    SelfTest("2-D, pure leaves", (1, 256, 320), True, "d4b3a6f7add268e0"),
    SelfTest("2-D, mixed leaves", (1, 97, 203), False, "aed957bc64e4d15d"),
    SelfTest("3-D, pure leaves", (40, 64, 96), True, "fade9e286c7c58d9"),
    SelfTest("3-D, mixed leaves", (37, 45, 71), False, "1e3e7344010ad8ef"),
)


def digest(results: tuple[TileResult, ...]) -> str:
    """Short digest of all bits of some results."""
    found = hashlib.sha256()
    for result in results:
        found.update(f"{result.values.dtype.str} {result.values.shape} {result.overflow_count} ".encode())
        found.update(np.ascontiguousarray(result.values).tobytes())
    return found.hexdigest()[:16]


def count_differences(a: tuple[TileResult, ...], b: tuple[TileResult, ...]) -> int:
    """Count the values whose bits differ."""
    pairs = zip(a, b, strict=True)
    return sum(int(np.count_nonzero(_bits(p.values) != _bits(q.values))) for p, q in pairs)


def _bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


def _hashed(numbers: Any) -> np.ndarray:
    """Hash numbers to uint64, the same on every machine."""
    mixed = np.asarray(numbers, np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return np.asarray(mixed ^ (mixed >> np.uint64(32)))


def _tree(number: int, columns: int, *, is_pure: bool) -> TreeArrays:
    inner, count = (1 << DEPTH) - 1, (2 << DEPTH) - 1
    nodes = np.arange(count)
    mixed = _hashed(nodes.astype(np.uint64) + np.uint64(1000 * number))
    is_leaf = nodes >= inner
    feature = np.where(is_leaf, -1, (mixed % np.uint64(columns)).astype(np.int64)).astype(np.int32)
    threshold = ((mixed >> np.uint64(20)) % np.uint64(1200)).astype(np.float64) / 8.0 - 10.0
    shares = np.stack([(mixed >> np.uint64(8 * c)) % np.uint64(9) + np.uint64(1) for c in range(CLASSES)], axis=1)
    probabilities = shares / shares.sum(axis=1, keepdims=True).astype(np.float64)
    if is_pure:
        probabilities = np.eye(CLASSES)[(mixed >> np.uint64(40)).astype(np.int64) % CLASSES]
    left = np.where(is_leaf, 0, 2 * nodes + 1).astype(np.int32)
    right = np.where(is_leaf, 0, 2 * nodes + 2).astype(np.int32)
    weight = (mixed % np.uint64(50) + np.uint64(1)).astype(np.float64)
    return TreeArrays(feature, threshold, left, right, probabilities.astype(np.float64), weight)

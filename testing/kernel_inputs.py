"""Builders of plans, images and forests for tests of kernels, and access to a tile's features."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..kernels.contract import OPERATIONS, Backend, FeaturePlan, ForestArrays, ScalePlan, TreeArrays, Voxels

EIGENVALUES = ("structure_tensor", "hessian")
NO_FILTER = 0.1  # a sigma so small that every filter copies its input


def make_plan(
    scales: Sequence[tuple[float, bool]], *, channels: int = 1, operations: Sequence[str] = OPERATIONS
) -> FeaturePlan:
    """All ``operations`` at all scales, given as (scale, slicewise); columns in the order the classifier has them."""
    columns: list[dict[str, int]] = [{} for _ in scales]
    width = 0
    for operation in operations:
        for j, (_, slicewise) in enumerate(scales):
            columns[j][operation] = width
            width += channels * ((2 if slicewise else 3) if operation in EIGENVALUES else 1)
    parts = [
        ScalePlan(math.sqrt(scale**2 - 1) if scale > 1 else scale, min(scale, 1.0), slicewise, columns[j])
        for j, (scale, slicewise) in enumerate(scales)
    ]
    return FeaturePlan(tuple(parts), channels, width)


def identity_plan(channels: int) -> FeaturePlan:
    """Make a plan whose columns are the unchanged channels of the image, so that tests control the forest's input."""
    return FeaturePlan((ScalePlan(NO_FILTER, NO_FILTER, True, {"gaussian": 0}),), channels, channels)


def random_image(shape: Sequence[int], *, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    """An image (c, z, y, x) with the whole range of an integer type, or with positive and negative floats."""
    rng = np.random.default_rng([seed, *shape])
    if np.dtype(dtype).kind == "f":
        return (rng.normal(size=shape) * 100).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


def open_stack(backend: Backend, image: np.ndarray, plan: FeaturePlan, tile: tuple[Voxels, Voxels] | None = None):
    """The feature stack of a tile (default: the whole image), which is handed to the backend with its halo alone."""
    size = (image.shape[1], image.shape[2], image.shape[3])
    first, stop = tile or ((0, 0, 0), size)
    loaded = backend.pixels.load_plan(plan)
    halo = backend.pixels.source_halo(loaded)
    low = tuple(max(a - m, 0) for a, m in zip(first, halo, strict=True))
    high = tuple(min(b + m, n) for b, m, n in zip(stop, halo, size, strict=True))
    source = image[(slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))]
    return backend.pixels.feature_stack(backend.pixels.to_device(source), low, (first, stop), size, loaded)


def compute_features(
    backend: Backend, image: np.ndarray, plan: FeaturePlan, tile: tuple[Voxels, Voxels] | None = None
) -> np.ndarray:
    """Compute features (z, y, x, f) of a tile, or of the whole image."""
    return backend.pixels.to_host(backend.pixels.features(open_stack(backend, image, plan, tile)))


def compute_probabilities(
    backend: Backend, values: np.ndarray, forests: Sequence[ForestArrays], *, shape: Voxels | None = None
) -> np.ndarray:
    """Predict (n, K) for rows of features (n, C) float32, arranged as an image of ``shape`` (default: one line)."""
    count, channels = values.shape
    image = values.T.reshape(channels, *(shape or (1, 1, count)))
    answer = backend.pixels.predict(
        open_stack(backend, image, identity_plan(channels)), backend.pixels.load_forest(forests, use="tiles")
    )
    return backend.pixels.to_host(answer).reshape(count, -1)


def assert_same_values(found: np.ndarray, expected: np.ndarray) -> None:
    """Assert equal float32, NaN at the same places; the sign of a zero may differ, since it changes no result."""
    assert found.dtype == expected.dtype == np.float32
    assert found.shape == expected.shape
    if np.array_equal(found, expected, equal_nan=True):
        return
    differs = (found != expected) & ~(np.isnan(found) & np.isnan(expected))
    columns = np.unique(np.argwhere(differs)[:, -1]).tolist()
    place = tuple(np.argwhere(differs)[0].tolist())
    raise AssertionError(
        f"{differs.sum()} of {differs.size} values differ, in columns {columns}; at {place}: "
        f"{found[place]!r} instead of {expected[place]!r}"
    )


def assert_same_bits(found: np.ndarray, expected: np.ndarray) -> None:
    """Assert equal bytes, including signs of zeros and NaNs."""
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert np.ascontiguousarray(found).tobytes() == np.ascontiguousarray(expected).tobytes()


def leaf_tree(probabilities: Sequence[float], *, weight: float = 1.0) -> TreeArrays:
    """A tree that is a single leaf."""
    return make_tree([(-1, 0.0, -1, -1)], [list(probabilities)], [weight])


def stump(column: int, threshold: float, left: Sequence[float], right: Sequence[float]) -> TreeArrays:
    """One comparison and two leaves."""
    rows = [(column, threshold, 1, 2), (-1, 0.0, -1, -1), (-1, 0.0, -1, -1)]
    return make_tree(rows, [[0.0] * len(left), list(left), list(right)], [0.0, 1.0, 1.0])


def make_tree(rows: Sequence[tuple[int, float, int, int]], probabilities: Sequence, weight: Sequence) -> TreeArrays:
    """A tree of rows (feature, threshold, left, right)."""
    feature, threshold, left, right = zip(*rows, strict=True)
    return TreeArrays(
        np.array(feature, np.int32),
        np.array(threshold, np.float64),
        np.array(left, np.int32),
        np.array(right, np.int32),
        np.array(probabilities, np.float64),
        np.array(weight, np.float64),
    )


def random_tree(
    rng: np.random.Generator, columns: int, classes: int, *, depth: int, pure: bool, spread: float = 1.0
) -> TreeArrays:
    """A tree whose thresholds are normal numbers times ``spread``, its nodes depth-first with the left child first."""
    rows: list[tuple[int, float, int, int]] = []
    leaves: list[np.ndarray] = []

    def grow(level: int) -> int:
        node = len(rows)
        rows.append((-1, 0.0, -1, -1))
        leaves.append(np.zeros(classes))
        if level == depth or rng.random() < 0.15:
            leaves[node] = np.eye(classes)[rng.integers(classes)] if pure else rng.dirichlet(np.ones(classes))
            return node
        column, threshold = int(rng.integers(columns)), float(rng.normal() * spread)
        left = grow(level + 1)
        rows[node] = (column, threshold, left, grow(level + 1))
        return node

    grow(0)
    return make_tree(rows, leaves, rng.integers(1, 50, len(rows)))


def random_forest(
    rng: np.random.Generator,
    *,
    trees: int,
    columns: int,
    classes: int,
    pure: bool,
    depth: int = 5,
    is_weighted: bool = False,
    averages: bool = True,
    spread: float = 1.0,
) -> ForestArrays:
    """Make a forest of random trees."""
    grown = [random_tree(rng, columns, classes, depth=depth, pure=pure, spread=spread) for _ in range(trees)]
    return ForestArrays(tuple(grown), classes, is_weighted, averages)

"""Smoothing of prediction maps and growing of cores, compared with their definitions bit by bit."""

from __future__ import annotations

import numpy as np
import pytest

from ...kernels.contract import Backend, MapPlan
from ...kernels.shared.taps import threshold_taps
from ..label_slabs import Storage
from ..reference import threshold as reference
from .small import small


def plan_of(sigma: tuple[float, float, float], shape: tuple[int, ...], channels: tuple[int, ...] = (0,)) -> MapPlan:
    z, y, x = (threshold_taps(s) if n > 1 else None for s, n in zip(sigma, shape, strict=True))
    return MapPlan(channels, None, (z, y, x))


class ThresholdSuite:
    """Smoothing of prediction maps and growing of cores, compared with their definitions bit by bit."""

    @small
    @pytest.mark.parametrize(
        "shape", [(1, 9, 70), (7, 8, 9), (1, 1, 33), (12, 6, 5)], ids=lambda s: "x".join(map(str, s))
    )
    @pytest.mark.parametrize("sigma", [(0.3, 0.5, 1.0), (1.3, 1.0, 0.3), (1.0, 1.3, 1.3)], ids=str)
    def test_smoothing_equals_its_definition(
        self, backend: Backend, shape: tuple[int, int, int], sigma: tuple[float, float, float]
    ) -> None:
        maps = np.random.default_rng([7, *shape]).random((*shape, 2), np.float32)
        whole = ((0, 0, 0), shape)
        found = backend.labels.smooth_maps(maps, (0, 0, 0), whole, shape, plan_of(sigma, shape, (1, 0)))
        assert [f.dtype for f in found] == [np.float32, np.float32]
        np.testing.assert_array_equal(found[0], reference.smooth(maps[..., 1], sigma))
        np.testing.assert_array_equal(found[1], reference.smooth(maps[..., 0], sigma))

    @small
    def test_a_tile_equals_its_part_of_the_whole(self, backend: Backend) -> None:
        shape, sigma = (9, 14, 30), (1.0, 1.3, 0.7)
        maps = np.random.default_rng(3).random((*shape, 1), np.float32)
        whole = reference.smooth(maps[..., 0], sigma)
        for z, y in ((slice(0, 2), slice(0, 14)), (slice(4, 5), slice(3, 9)), (slice(7, 9), slice(10, 14))):
            start = (max(z.start - 2, 0), max(y.start - 3, 0), 0)
            source = maps[start[0] : z.stop + 2, start[1] : y.stop + 3]
            tile = ((z.start, y.start, 0), (z.stop, y.stop, 30))
            (found,) = backend.labels.smooth_maps(source, start, tile, shape, plan_of(sigma, shape))
            np.testing.assert_array_equal(found, whole[z, y])

    @small
    @pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
    def test_ranges_are_brought_to_one_in_float32(self, backend: Backend, dtype: str) -> None:
        maps = (np.random.default_rng(4).random((1, 5, 40, 1)) * 200 + 10).astype(dtype)
        plan = MapPlan((0,), (10.0, 255.0), (None, None, None))
        (found,) = backend.labels.smooth_maps(maps, (0, 0, 0), ((0, 0, 0), (1, 5, 40)), (1, 5, 40), plan)
        expected = (maps[..., 0].astype(np.float32) - np.float32(10)) / np.float32(245)
        np.testing.assert_array_equal(found, expected)

    @pytest.mark.parametrize("levels", [4, 30, 10**6])
    @pytest.mark.parametrize(
        "shape", [(1, 40, 50), (8, 12, 15), (1, 1, 1), (3, 1, 1)], ids=lambda s: "x".join(map(str, s))
    )
    def test_growing_equals_its_definition(self, backend: Backend, shape: tuple[int, int, int], levels: int) -> None:
        """With few levels most keys are equal, so that the order inside the heap decides."""
        rng = np.random.default_rng([levels, *shape])
        cost = (np.round(rng.random(shape) * levels) / levels).astype(np.float32)
        seeds = (rng.integers(1, 6, shape) * (rng.random(shape) < 0.02)).astype(np.uint32)
        seeds[0, 0, 0] = 9
        for limit in (0.0, 0.4, 0.9):
            labels = seeds.copy()
            backend.labels.grow_regions(cost, labels, limit, Storage())
            np.testing.assert_array_equal(labels, reference.grow(cost, seeds, np.float32(limit)))

    def test_the_heap_grows_as_it_must(self, backend: Backend) -> None:
        """More voxels wait than a heap holds at first: every second voxel is a seed with neighbours to take."""
        cost = np.random.default_rng(5).random((1, 500, 500), np.float32)
        labels = np.zeros(cost.shape, np.uint32)
        labels.reshape(-1)[::2] = 1
        backend.labels.grow_regions(cost, labels, 2.0, Storage())
        assert (labels == 1).all()

    def test_minima_are_strict_and_numbered_in_scan_order(self, backend: Backend) -> None:
        cost = np.array([[[0, 1, 2, 1], [1, 1, 0, 1], [3, 3, 1, 1]]], np.float32)
        labels = np.zeros(cost.shape, np.uint32)
        assert backend.labels.seed_minima(cost, labels) == 2
        assert labels.tolist() == [[[1, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 0]]]

    def test_labels_are_counted_and_dropped(self, backend: Backend) -> None:
        labels = np.array([[[0, 1, 1], [2, 2, 2]]], np.uint32)
        sizes = np.zeros(3, np.int64)
        backend.labels.add_label_sizes(labels, sizes)
        assert sizes.tolist() == [1, 2, 3]
        backend.labels.drop_labels(labels, np.array([False, False, True]))
        assert labels.tolist() == [[[0, 0, 0], [2, 2, 2]]]

"""Stacks of features for the forest tests, and the CPU backend's predictions for comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from support.cuda_host.host_device import HostArray, HostDevice

from pixelforest import kernels
from pixelforest.kernels.contract import ForestArrays, Voxels


@dataclass(frozen=True)
class Stack:
    values: HostArray
    shape: tuple[int, int, int, int]
    column_stride: int


def make_stack(device: HostDevice, features: np.ndarray, shape: Voxels) -> Stack:
    """Arrange rows of features (n, f) as the stack of a tile; columns are padded with NaN."""
    count, columns = features.shape
    stride = -(-count // 32) * 32
    values = np.full((columns, stride), np.nan, np.float32)
    values[:, :count] = features.T
    return Stack(device.upload(values), (*shape, columns), stride)


def assert_equal_bits(found: np.ndarray, features: np.ndarray, forests: Sequence[ForestArrays]) -> None:
    """Assert the CPU backend's bits, NaN at the same places."""
    backend = kernels.load("cpu")
    expected = backend.pixels.predict_rows(features, backend.pixels.load_forest(forests, use="rows"))
    assert found.dtype == expected.dtype
    same = (found.view(np.uint32) == expected.view(np.uint32)) | (np.isnan(found) & np.isnan(expected))
    assert same.all(), f"{(~same).sum()} of {same.size} differ, first at {np.argwhere(~same)[0]}"


def smooth_features(shape: Voxels, columns: int, *, seed: int = 0) -> np.ndarray:
    """Make features (n, columns) with similar neighbours, as in an image: all enter some subtrees, few enter others."""
    rng = np.random.default_rng([seed, *shape, columns])
    z, y, x = (np.arange(n) for n in shape)
    grid = np.stack(np.meshgrid(z, y, x, indexing="ij"), axis=-1).reshape(-1, 3)
    waves = np.sin(grid @ rng.normal(size=(3, columns)) * 0.15 + rng.uniform(0, 6, columns))
    return (waves * 1.5 + rng.normal(size=waves.shape) * 0.05).astype(np.float32)

"""Random feature plans, images and tiles: features have the bits of the CPU. ``make ptx`` takes more of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.cuda_host.features import Tile, assert_same_features
from support.cuda_host.machines import MakeDevice

from pixelforest.kernels.contract import OPERATIONS, FeaturePlan, ScalePlan, Voxels
from pixelforest.testing.kernel_inputs import EIGENVALUES, random_image


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("number", range(metafunc.config.getoption("plans")))


def random_plan(rng: np.random.Generator, image: Voxels, channels: int) -> FeaturePlan:
    """Some operations at each of some scales that the image is large enough for, with columns in random order."""
    width = 0
    scales = []
    for _ in range(rng.integers(1, 4)):
        slicewise = bool(rng.integers(2))
        largest = (min(image[1:] if slicewise else image) - 1.01) / 3.5
        scale = min(float(rng.choice([0.3, 0.7, 1.0, 1.6, rng.uniform(0.2, 3.5)])), largest)
        columns: dict[str, int] = {}
        for operation in rng.permutation(OPERATIONS)[: rng.integers(1, len(OPERATIONS) + 1)]:
            columns[str(operation)] = width
            width += channels * ((2 if slicewise else 3) if operation in EIGENVALUES else 1)
        scales.append(ScalePlan(math.sqrt(scale**2 - 1) if scale > 1 else scale, min(scale, 1.0), slicewise, columns))
    return FeaturePlan(tuple(scales), channels, width)


def random_tile(rng: np.random.Generator, image: Voxels) -> Tile:
    start = [int(rng.integers(n)) for n in image]
    stop = [int(rng.integers(a + 1, n + 1)) for a, n in zip(start, image, strict=True)]
    return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])


def test_random_plans(make_device: MakeDevice, number: int) -> None:
    rng = np.random.default_rng(number)
    shape = (int(rng.integers(5, 15)), int(rng.integers(5, 40)), int(rng.integers(5, 140)))
    channels = int(rng.integers(1, 3))
    image = random_image((channels, *shape), dtype=str(rng.choice(["uint8", "int16", "float32"])), seed=number)
    tile = random_tile(rng, shape)
    assert_same_features(
        make_device(), image, random_plan(rng, shape, channels), tile, split_solid=bool(rng.integers(2))
    )

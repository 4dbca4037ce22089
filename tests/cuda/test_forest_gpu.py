"""Forests on a real GPU: every traversal variant gives the CPU's bits, also from several threads; and nvForest."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.cuda_host.stacks import assert_equal_bits, make_stack, smooth_features
from support.emulated_gpu.build import are_in_use

from pixelforest import kernels
from pixelforest.kernels.contract import DeviceUnavailable, ForestArrays, Voxels
from pixelforest.kernels.cuda import nvforest
from pixelforest.kernels.cuda.device import Device
from pixelforest.kernels.cuda.forest import VARIANTS, CudaForest, choose_variant, load_forest
from pixelforest.kernels.cuda.nvforest import NvForest
from pixelforest.testing.kernel_inputs import random_forest, random_tree

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

# Several blocks each, and no whole number of patches.
FLAT, SOLID = ((1, 31, 103), (5, 19, 37)) if are_in_use() else ((1, 517, 1031), (37, 101, 143))
THREADS = 4


@pytest.fixture(scope="module")
def device() -> Device:
    try:
        from pixelforest.kernels.cuda.cupy_device import open_devices

        return open_devices([0])[0]
    except DeviceUnavailable as error:
        pytest.skip(str(error))


def predict(device: Device, forest: CudaForest | NvForest, features: np.ndarray, shape: Voxels) -> np.ndarray:
    answer = device.download(forest.predict(make_stack(device, features, shape)))
    return answer.reshape(len(features), -1)


def some_features(shape: Voxels, columns: int, *, seed: int = 0) -> np.ndarray:
    """Smooth ones, with noise in a third of the tile, some NaN and a patch of nothing else."""
    rng = np.random.default_rng(seed)
    features = smooth_features(shape, columns, seed=seed)
    features[: len(features) // 3] = rng.normal(size=(len(features) // 3, columns))
    features[rng.integers(len(features), size=50), rng.integers(columns, size=50)] = np.nan
    features[-3 * shape[2] :, 0] = np.nan
    return features


def some_forests(counts: Sequence[int], *, pure: bool, columns: int = 20, depth: int = 9) -> list[ForestArrays]:
    rng = np.random.default_rng([*counts])
    return [random_forest(rng, trees=t, columns=columns, classes=3, pure=pure, depth=depth) for t in counts]


@pytest.mark.parametrize("pure", [True, False], ids=["pure", "mixed"])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", [FLAT, SOLID], ids=["2d", "3d"])
@pytest.mark.parametrize("counts", [(100,), (10, 13, 41, 7)], ids=str)
def test_every_variant_has_the_bits_of_the_cpu_on_a_real_gpu(
    device: Device, counts: tuple[int, ...], shape: Voxels, variant: str, pure: bool
) -> None:
    forests, features = some_forests(counts, pure=pure), some_features(shape, 20)
    forest = load_forest(device, forests, variant=variant)
    found = predict(device, forest, features, shape)
    assert_equal_bits(found, features, forests)
    for _ in range(3):
        assert (predict(device, forest, features, shape) == found).all(), "the same every time"


@pytest.mark.parametrize("pure", [True, False], ids=["pure", "mixed"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_deep_trees(device: Device, variant: str, pure: bool) -> None:
    rng = np.random.default_rng(1)
    trees = tuple(random_tree(rng, 20, 3, depth=14, pure=pure, spread=0.5) for _ in range(60))
    forests, features = [ForestArrays(trees, 3, False)], some_features(FLAT, 20)
    forest = load_forest(device, forests, variant=variant)
    assert_equal_bits(predict(device, forest, features, FLAT), features, forests)


@pytest.mark.parametrize("pure", [True, False], ids=["pure", "mixed"])
def test_many_columns_and_classes(device: Device, pure: bool) -> None:
    rng = np.random.default_rng(2)
    shape = (1, 8 if are_in_use() else 64, 301)
    forests = [random_forest(rng, trees=13, columns=1900, classes=70, pure=pure)]
    features = rng.normal(size=(shape[1] * 301, 1900)).astype(np.float32)
    forest = load_forest(device, forests)
    assert choose_variant(forest.packed, 1900, device) == "direct"
    assert_equal_bits(predict(device, forest, features, shape), features, forests)


def predict_side_by_side(device: Device, forest: CudaForest | NvForest, forests: Sequence[ForestArrays]) -> None:
    """Several threads, each with a stream and a tile of its own."""
    rows, more = (4, 3) if are_in_use() else (200, 31)
    tiles = [some_features((1, rows + more * i, 333), 20, seed=i) for i in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as pool:
        work = [pool.submit(predict, device, forest, t, (1, len(t) // 333, 333)) for t in tiles * 5]
        for tile, answer in zip(tiles * 5, work, strict=True):
            assert_equal_bits(answer.result(), tile, forests)


def test_threads_share_a_forest(device: Device) -> None:
    forests = some_forests((10, 13, 41, 7), pure=True)
    predict_side_by_side(device, load_forest(device, forests), forests)


class TestNvForest:
    """On the GPU, where its adapter hands over memory of the device; with emulated ones nvForest uses the CPU."""

    @staticmethod
    def load(device: Device, forests: Sequence[ForestArrays]) -> NvForest:
        return nvforest.load_forest(device, forests, place="cpu" if are_in_use() else "gpu")

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        if missing := nvforest.find_missing():
            pytest.skip(f"nvForest: {missing}")

    @pytest.mark.parametrize("shape", [FLAT, SOLID], ids=["2d", "3d"])
    @pytest.mark.parametrize("counts", [(100,), (10, 10, 10), (10, 13, 41, 7)], ids=str)
    def test_pure_forests_have_the_native_bits_on_a_real_gpu(
        self, device: Device, counts: tuple[int, ...], shape: Voxels, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(nvforest, "ROWS", 1000 if are_in_use() else 100_000)
        forests, features = some_forests(counts, pure=True), some_features(shape, 20)
        found = predict(device, self.load(device, forests), features, shape)
        assert_equal_bits(found, features, forests)

    def test_mixed_forests_differ_in_last_digits_only_on_a_real_gpu(self, device: Device) -> None:
        forests, features = some_forests((60, 13), pure=False), some_features(FLAT, 20)
        backend = kernels.load("cpu")
        expected = backend.pixels.predict_rows(features, backend.pixels.load_forest(forests, use="rows"))
        found = predict(device, self.load(device, forests), features, FLAT)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)

    def test_threads_share_a_forest_of_nvforest(self, device: Device) -> None:
        forests = some_forests((10, 13, 41, 7), pure=True)
        predict_side_by_side(device, self.load(device, forests), forests)

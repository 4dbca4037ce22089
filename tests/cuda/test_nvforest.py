"""nvForest in its CPU mode, with our kernels on the host, compared with the CPU backend."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from support.cuda_host.host_device import HostDevice
from support.cuda_host.machines import MakeDevice
from support.cuda_host.stacks import assert_equal_bits, make_stack, smooth_features

from pixelforest import kernels
from pixelforest.kernels.contract import DeviceUnavailable, ForestArrays, Voxels
from pixelforest.kernels.cuda import nvforest
from pixelforest.testing.kernel_inputs import leaf_tree, random_forest, random_tree, stump

MISSING = nvforest.find_missing()
needs_nvforest = pytest.mark.skipif(
    MISSING is not None,
    reason=f"nvForest has wheels for Linux on x86-64 and arm64 only, which make test installs: {MISSING}",
)


Predict = Callable[[np.ndarray, Sequence[ForestArrays], Voxels], np.ndarray]


@pytest.fixture
def predict(make_device: MakeDevice) -> Predict:
    """Class probabilities (n, K) from nvForest."""

    def run(features: np.ndarray, forests: Sequence[ForestArrays], shape: Voxels) -> np.ndarray:
        device = make_device()
        forest = nvforest.load_forest(device, forests, place="cpu")
        answer = device.download(forest.predict(make_stack(device, features, shape)))
        assert answer.shape == (*shape, forest.classes)
        return answer.reshape(len(features), -1)

    return run


@needs_nvforest
@pytest.mark.parametrize("classes", [1, 2, 3, 5])
@pytest.mark.parametrize("counts", [(100,), (10, 10, 10), (10, 13, 7), (41, 10, 47, 1)], ids=str)
def test_pure_forests_of_nvforest_have_the_native_bits(predict: Predict, counts: tuple[int, ...], classes: int) -> None:
    """Some of these counts do not survive the division and product of averaging, so every rounding shows."""
    rng = np.random.default_rng([classes, *counts])
    forests = [random_forest(rng, trees=t, columns=35, classes=classes, pure=True, depth=6) for t in counts]
    shape = (2, 9, 41)
    features = smooth_features(shape, 35)
    features[[3, 40, 41, 700], [0, 34, 5, 33]] = np.nan
    found = predict(features, forests, shape)
    assert_equal_bits(found, features, forests)
    assert (found[[3, 40, 41, 700]] == 0).all()
    assert (found.sum(axis=1) > 0.99).sum() == len(features) - 4


@needs_nvforest
def test_voxels_are_taken_in_parts(predict: Predict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvforest, "ROWS", 100)
    rng = np.random.default_rng(1)
    forests = [random_forest(rng, trees=t, columns=4, classes=3, pure=True) for t in (13, 10)]
    features = smooth_features((1, 7, 61), 4)
    features[[0, 99, 100, 426], [0, 1, 2, 3]] = np.nan
    assert_equal_bits(predict(features, forests, (1, 7, 61)), features, forests)


@needs_nvforest
@pytest.mark.parametrize("averages", [True, False])
@pytest.mark.parametrize("is_weighted", [True, False])
def test_mixed_forests_of_nvforest_differ_in_last_digits_only(
    predict: Predict, is_weighted: bool, averages: bool
) -> None:
    rng = np.random.default_rng(2)
    counts = (60, 13) if averages else (60,)
    forests = [
        random_forest(
            rng, trees=t, columns=4, classes=3, pure=False, is_weighted=is_weighted, averages=averages, depth=6
        )
        for t in counts
    ]
    features = smooth_features((1, 20, 20), 4)
    features[7, 3] = np.nan
    backend = kernels.load("cpu")
    expected = backend.pixels.predict_rows(features, backend.pixels.load_forest(forests, use="rows"))
    np.testing.assert_allclose(predict(features, forests, (1, 20, 20)), expected, rtol=0, atol=2e-6)


@needs_nvforest
@pytest.mark.parametrize("pure", [True, False], ids=["pure", "mixed"])
def test_every_value_goes_the_way_it_goes_in_double(predict: Predict, pure: bool) -> None:
    """Ties and the ends of numbers: each threshold is a forest of its own, so that no vote hides another."""
    largest, tiny = float(np.finfo(np.float32).max), float(np.finfo(np.float32).smallest_subnormal)
    thresholds = [0.0, -0.0, 0.1, 0.1 + 2e-9, float(np.float32(0.1)), tiny / 2, -tiny / 2, largest * (1 + 2**-25)]
    thresholds += [1e300, -1e300, np.inf, -np.inf, np.nan, -largest, 5e-324]
    near = np.float32(0.1)
    values = [0.0, -0.0, near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.float32(1)), tiny, -tiny]
    values += [largest, -largest, np.inf, -np.inf, 1.0, -1.0]
    features = np.array(values, np.float32)[:, None]
    left, right = ([1, 0], [0, 1]) if pure else ([0.75, 0.25], [0.25, 0.75])
    for threshold in thresholds:
        forests = [ForestArrays((stump(0, threshold, left, right),), 2, False)]
        assert_equal_bits(predict(features, forests, (1, 1, len(features))), features, forests)


@needs_nvforest
def test_trees_that_are_one_leaf_and_columns_nobody_asks_for(predict: Predict) -> None:
    rng = np.random.default_rng(3)
    trees = (leaf_tree([0, 1]), random_tree(rng, 2, 2, depth=3, pure=True), leaf_tree([1, 0]))
    for forests in ([ForestArrays(trees, 2, False)], [ForestArrays(trees[:1], 2, False)]):
        features = smooth_features((1, 5, 9), 40)
        features[11, 39] = np.nan
        assert_equal_bits(predict(features, forests, (1, 5, 9)), features, forests)


@needs_nvforest
def test_votes_of_leaves_without_weight_are_undefined_in_nvforest_too(predict: Predict) -> None:
    forests = [ForestArrays((leaf_tree([0.5, 0.5], weight=0.0),), 2, True)]
    assert np.isnan(predict(smooth_features((1, 1, 9), 1), forests, (1, 1, 9))).all()


@needs_nvforest
def test_without_a_gpu_the_reason_is_one_line() -> None:
    from cuda.bindings import runtime

    if runtime.cudaGetDeviceCount()[0] == runtime.cudaError_t.cudaSuccess:
        pytest.skip("there is a GPU")
    forests = [ForestArrays((leaf_tree([0, 1]),), 2, False)]
    with pytest.raises(DeviceUnavailable, match=r"^nvForest cannot use this device: .*CUDA[^\n]*$"):
        nvforest.load_forest(HostDevice(), forests)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "treelite", None)
    monkeypatch.setitem(sys.modules, "treelite.model_builder", None)
    monkeypatch.setitem(sys.modules, "nvforest", None)
    with pytest.raises(DeviceUnavailable, match=r"nvForest cannot be used: .*install pixelforest\[rapids13\]"):
        nvforest.load_forest(HostDevice(), [ForestArrays((leaf_tree([0, 1]),), 2, False)])

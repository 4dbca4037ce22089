"""Forest kernels without a GPU: every traversal variant gives the CPU backend's bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from support.cuda_host.host_device import HostDevice
from support.cuda_host.machines import MakeDevice
from support.cuda_host.nvrtc import compile_kernels
from support.cuda_host.stacks import assert_equal_bits, make_stack, smooth_features

from pixelforest.kernels.contract import ForestArrays, TreeArrays, Voxels
from pixelforest.kernels.cuda import forest as cuda_forest
from pixelforest.kernels.cuda.forest import VARIANTS, choose_variant, load_forest, patch_bits
from pixelforest.kernels.shared.nodes import pack_forest
from pixelforest.testing.kernel_inputs import leaf_tree, make_tree, random_forest, stump


@pytest.fixture(autouse=True)
def _one_library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All variants from one compilation, which takes a fifth of the time; the product compiles the one it needs."""
    if "product" not in request.node.name:
        named = cuda_forest.kernel_of
        monkeypatch.setattr(cuda_forest, "kernel_of", lambda v, is_pure: (named(v, is_pure=is_pure)[0], ()))


Predict = Callable[..., np.ndarray]


@pytest.fixture
def predict(make_device: MakeDevice) -> Predict:
    """Class probabilities (n, K) from the kernels."""

    def run(
        features: np.ndarray,
        forests: Sequence[ForestArrays],
        shape: Voxels,
        *,
        variant: str | None = None,
        device: HostDevice | None = None,
    ) -> np.ndarray:
        device = device or make_device()
        forest = load_forest(device, forests, variant=variant)
        answer = device.download(forest.predict(make_stack(device, features, shape)))
        assert answer.shape == (*shape, forest.classes)
        return answer.reshape(len(features), -1)

    return run


KINDS = pytest.mark.parametrize("pure", [True, False], ids=["pure", "mixed"])
EVERY = pytest.mark.parametrize("variant", VARIANTS)


@KINDS
@EVERY
@pytest.mark.parametrize("shape", [(1, 13, 37), (5, 6, 11)], ids=["2d", "3d"])
def test_every_variant_has_the_bits_of_the_cpu(predict: Predict, variant: str, shape: Voxels, pure: bool) -> None:
    rng = np.random.default_rng(1)
    forests = [random_forest(rng, trees=t, columns=6, classes=3, pure=pure, depth=7) for t in (20, 13, 5, 40)]
    features = smooth_features(shape, 6)
    features[5, 1] = features[100, 5] = features[400:, 2] = np.nan
    assert_equal_bits(predict(features, forests, shape, variant=variant), features, forests)


@KINDS
def test_the_product_compiles_one_kernel(predict: Predict, pure: bool) -> None:
    rng = np.random.default_rng(1)
    forests = [random_forest(rng, trees=13, columns=6, classes=3, pure=pure)]
    features = smooth_features((1, 13, 37), 6)
    assert_equal_bits(predict(features, forests, (1, 13, 37)), features, forests)


@pytest.mark.slow
def test_every_variant_compiles_without_spills() -> None:
    kernels = compile_kernels("forest.cu", "sm_90", major=13).kernels
    assert set(kernels) == {cuda_forest.kernel_of(v, is_pure=p)[0] for v in VARIANTS.values() for p in (True, False)}
    assert {name: report.spills for name, report in kernels.items() if report.spills} == {}


@KINDS
@EVERY
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1), (1, 1, 33), (1, 70, 1), (40, 1, 1), (1, 9, 9), (3, 5, 7), (2, 1, 19)],
    ids=lambda shape: "x".join(map(str, shape)),
)
def test_sizes_that_fill_no_patch(predict: Predict, shape: Voxels, variant: str, pure: bool) -> None:
    rng = np.random.default_rng(2)
    forests = [random_forest(rng, trees=4, columns=3, classes=2, pure=pure)]
    features = smooth_features(shape, 3)
    assert_equal_bits(predict(features, forests, shape, variant=variant), features, forests)


@KINDS
@EVERY
def test_neighbours_that_all_part_ways_on_the_device(predict: Predict, variant: str, pure: bool) -> None:
    """64 voxels end in 64 leaves of a chain that is deeper than a warp has lanes; some leave it at every node."""
    shape = (1, 16, 16)
    features = np.random.default_rng(0).permutation(256).astype(np.float32)[:, None] / 2 + np.float32(0.25)
    forests = [ForestArrays((chain(130, to_left=to_left, pure=pure),), 2, False) for to_left in (True, False)]
    assert_equal_bits(predict(features, forests, shape, variant=variant), features, forests)


@KINDS
def test_trees_deeper_than_anything_keeps(predict: Predict, pure: bool) -> None:
    features = np.arange(-5, 1005, 1.5).astype(np.float32)[:, None]
    forests = [ForestArrays((chain(1000, to_left=True, pure=pure),), 2, False)]
    assert_equal_bits(predict(features, forests, (1, 2, len(features) // 2)), features, forests)


def chain(depth: int, *, to_left: bool, pure: bool) -> TreeArrays:
    """A tree that is one long path: at every node some voxels leave it."""
    one, other = ([1, 0], [0, 1]) if pure else ([0.75, 0.25], [0.125, 0.875])
    rows, leaves = [], []
    for i in range(depth):
        if to_left:  # the right children stand after the whole left path
            rows.append((0, float(depth - i), i + 1, 2 * depth - i))
        else:
            rows += [(0, float(i), 2 * i + 1, 2 * i + 2), (-1, 0.0, -1, -1)]
            leaves += [[0, 0], one if i % 2 else other]
    if to_left:
        leaves = [[0, 0]] * depth + [one] + [one if i % 2 else other for i in range(depth)]
        rows += [(-1, 0.0, -1, -1)] * (depth + 1)
    else:
        rows.append((-1, 0.0, -1, -1))
        leaves.append(other)
    return make_tree(rows, leaves, [1.0] * len(rows))


@KINDS
@EVERY
def test_single_leaf_trees_on_the_device(predict: Predict, variant: str, pure: bool) -> None:
    leaves = ([0, 1], [1, 0], [0, 1]) if pure else ([0.25, 0.75], [1, 0], [0.5, 0.5])
    forests = [ForestArrays(tuple(leaf_tree(each) for each in leaves), 2, False)]
    features = smooth_features((1, 5, 20), 1)
    found = predict(features, forests, (1, 5, 20), variant=variant)
    assert_equal_bits(found, features, forests)
    assert found[:, 0].min() == found[:, 0].max() > 0


@KINDS
@pytest.mark.parametrize("classes", [1, 2, 5, 40])
def test_numbers_of_classes(predict: Predict, classes: int, pure: bool) -> None:
    rng = np.random.default_rng(classes)
    forests = [random_forest(rng, trees=13, columns=4, classes=classes, pure=pure)]
    features = smooth_features((1, 8, 25), 4)
    assert_equal_bits(predict(features, forests, (1, 8, 25)), features, forests)


@KINDS
def test_classes_whose_sums_do_not_fit_are_taken_in_parts(
    predict: Predict, make_device: MakeDevice, pure: bool
) -> None:
    rng = np.random.default_rng(4)
    forests = [random_forest(rng, trees=t, columns=3, classes=50, pure=pure) for t in (13, 6)]
    device = make_device(shared_bytes_per_block=8 << 10)
    features = smooth_features((1, 8, 25), 3)
    features[17, 2] = np.nan
    assert_equal_bits(predict(features, forests, (1, 8, 25), device=device), features, forests)
    assert len(device.launches) > 1


@KINDS
@EVERY
def test_several_groups_and_patches_without_a_valid_voxel(predict: Predict, variant: str, pure: bool) -> None:
    rng = np.random.default_rng(5)
    forests = [random_forest(rng, trees=t, columns=3, classes=3, pure=pure, depth=6) for t in (5, 13, 1, 17)]
    shape = (1, 40, 81)
    features = smooth_features(shape, 3)
    features[:640] = np.nan
    assert_equal_bits(predict(features, forests, shape, variant=variant), features, forests)


@KINDS
def test_weighted_leaves_on_the_device(predict: Predict, pure: bool) -> None:
    rng = np.random.default_rng(6)
    forests = [
        random_forest(rng, trees=t, columns=4, classes=3, pure=pure, is_weighted=weighted)
        for t, weighted in ((10, True), (7, False))
    ]
    features = smooth_features((2, 9, 9), 4)
    assert_equal_bits(predict(features, forests, (2, 9, 9)), features, forests)


def test_leaves_without_weight_are_undefined_as_in_the_original(predict: Predict) -> None:
    forests = [ForestArrays((leaf_tree([0.5, 0.5], weight=0.0),), 2, True)]
    features = smooth_features((1, 3, 5), 1)
    found = predict(features, forests, (1, 3, 5))
    assert np.isnan(found).all()
    assert_equal_bits(found, features, forests)


@KINDS
@pytest.mark.parametrize("trees", [3, 13])
def test_old_classifiers_are_not_averaged(predict: Predict, trees: int, pure: bool) -> None:
    forest = random_forest(np.random.default_rng(7), trees=trees, columns=4, classes=3, pure=pure, averages=False)
    features = smooth_features((1, 9, 9), 4)
    assert_equal_bits(predict(features, [forest], (1, 9, 9)), features, [forest])


@KINDS
@EVERY
def test_values_at_thresholds_and_at_the_ends_of_numbers(predict: Predict, variant: str, pure: bool) -> None:
    """Ties, zeros of both signs, infinities, denormals; thresholds between floats, beyond them and not a number."""
    largest, tiny = float(np.finfo(np.float32).max), float(np.finfo(np.float32).smallest_subnormal)
    thresholds = [0.0, -0.0, 0.1, 0.1 + 2e-9, float(np.float32(0.1)), tiny / 2, -tiny / 2, largest * (1 + 2**-25)]
    thresholds += [1e300, -1e300, np.inf, -np.inf, np.nan, -largest, 5e-324]
    left, right = ([1, 0], [0, 1]) if pure else ([0.75, 0.25], [0.25, 0.75])
    forests = [ForestArrays(tuple(stump(0, t, left, right) for t in thresholds), 2, False)]
    near = np.float32(0.1)
    values = [0.0, -0.0, near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.float32(1)), tiny, -tiny]
    values += [largest, -largest, np.inf, -np.inf, 1.0, -1.0]
    alone = np.repeat(np.array(values, np.float32), 32)[:, None]  # patches of equal values, which bounds decide
    mixed = np.resize(np.array(values, np.float32), 96)[:, None]
    for features in (alone, mixed):
        shape = (1, 1, len(features))
        assert_equal_bits(predict(features, forests, shape, variant=variant), features, forests)


@KINDS
@EVERY
def test_nothing_but_nan_on_the_device(predict: Predict, variant: str, pure: bool) -> None:
    forests = [random_forest(np.random.default_rng(8), trees=3, columns=2, classes=2, pure=pure)]
    features = np.full((200, 2), np.nan, np.float32)
    features[:, 1] = np.arange(200)
    assert not predict(features, forests, (1, 8, 25), variant=variant).any()


def test_features_that_do_not_fit_are_read_where_they_are(predict: Predict, make_device: MakeDevice) -> None:
    columns = 300
    rng = np.random.default_rng(9)
    forests = [ForestArrays(tuple(stump(c, rng.normal(), [1, 0], [0, 1]) for c in range(columns)), 2, False)]
    features = smooth_features((1, 4, 20), columns)
    device = make_device(shared_bytes_per_block=48 << 10)
    assert_equal_bits(predict(features, forests, (1, 4, 20), device=device), features, forests)
    assert device.launches == ["direct_pure"]


@pytest.mark.parametrize(
    ("kilobytes", "columns", "name"),
    [(227, 49, "entered"), (227, 61, "entered"), (227, 100, "direct"), (163, 49, "direct"), (99, 49, "direct")],
    ids=["H100, 2-D", "H100, 3-D", "H100, many columns", "A100", "RTX 4090"],
)
def test_the_variant_follows_from_shared_memory(
    make_device: MakeDevice, kilobytes: int, columns: int, name: str
) -> None:
    packed = pack_forest([random_forest(np.random.default_rng(10), trees=20, columns=5, classes=2, pure=True)])
    assert choose_variant(packed, columns, make_device(shared_bytes_per_block=kilobytes << 10)) == name


@pytest.mark.parametrize(
    "tile", [(1, 1, 1), (1, 1, 50), (1, 50, 1), (50, 1, 1), (1, 512, 512), (64, 64, 64), (2, 3, 5), (3, 100, 2)]
)
def test_patches_are_as_compact_as_the_tile_allows(tile: Voxels) -> None:
    bits = patch_bits(tile)
    assert 1 << sum(bits) == 32
    needed = [(n - 1).bit_length() for n in tile]
    assert all(b <= n for b, n in zip(bits[:2], needed[:2], strict=True)), "no axis is longer than the tile"
    if tile == (1, 512, 512):
        assert bits == (0, 2, 3)
    if tile == (64, 64, 64):
        assert bits == (1, 2, 2)

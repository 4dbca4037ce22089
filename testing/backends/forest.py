"""Forest prediction: equality with a simple traversal of every tree for every voxel, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

from ...kernels.contract import Backend, ForestArrays, TreeArrays, Voxels
from ..kernel_inputs import (
    assert_same_bits,
    assert_same_values,
    compute_features,
    compute_probabilities,
    leaf_tree,
    make_plan,
    make_tree,
    open_stack,
    random_forest,
    random_image,
    random_tree,
    stump,
)
from ..reference import walk as reference

MAX = float(np.finfo(np.float32).max)
TINY = float(np.finfo(np.float32).smallest_subnormal)


# Numbers of trees T for which some n votes of T do not survive n / T * T in float32.
INEXACT = (13, 41, 47, 55)


def random_features(columns: int, *, count: int = 500, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, columns]).normal(size=(count, columns)).astype(np.float32)


def assert_walks_alike(
    backend: Backend, features: np.ndarray, forests: list[ForestArrays], *, shape: Voxels | None = None
) -> np.ndarray:
    found = compute_probabilities(backend, features, forests, shape=shape)
    assert_same_values(found, reference.predict(forests, features))
    return found


def chain(depth: int, *, to_left: bool, pure: bool) -> TreeArrays:
    """A tree that is one long path: at every node one voxel's value leaves it."""
    rows, probabilities = [], []
    one, other = ([1, 0], [0, 1]) if pure else ([0.75, 0.25], [0.125, 0.875])
    for i in range(depth):
        node = len(rows)
        if to_left:  # the right child is a leaf, which stands after the whole left subtree
            rows.append((0, float(depth - i), node + 1, 2 * depth - i))
        else:
            rows += [(0, float(i), node + 1, node + 2), (-1, 0.0, -1, -1)]
            probabilities += [[0, 0], one if i % 2 else other]
    if to_left:
        probabilities = [[0, 0]] * depth + [one] + [one if i % 2 else other for i in range(depth)]
        rows += [(-1, 0.0, -1, -1)] * (depth + 1)
    else:
        rows.append((-1, 0.0, -1, -1))
        probabilities.append(other)
    return make_tree(rows, probabilities, [1.0] * len(rows))


THRESHOLDS = {
    "float32": 0.1,
    "just-above-a-float32": float(np.nextafter(float(np.float32(0.1)), 1)),
    "just-below-a-float32": float(np.nextafter(float(np.float32(0.1)), 0)),
    "between-two-float32": 0.1 + 2e-9,
    "negative-just-above": float(np.nextafter(float(np.float32(-0.1)), 0)),
    "negative-just-below": float(np.nextafter(float(np.float32(-0.1)), -1)),
    "zero": 0.0,
    "minus-zero": -0.0,
    "above-zero-of-double": 5e-324,
    "below-zero-of-double": -5e-324,
    "denormal": TINY,
    "half-a-denormal": TINY / 2,
    "minus-half-a-denormal": -TINY / 2,
    "one-and-a-half-denormals": 1.5 * TINY,
    "normal-minimum": float(np.finfo(np.float32).tiny),
    "largest": MAX,
    "above-largest": float(np.nextafter(MAX, np.inf)),
    "below-largest": float(np.nextafter(MAX, 0)),
    "would-round-to-infinity": MAX * (1 + 2**-25),
    "far-beyond": 1e300,
    "minus-largest": -MAX,
    "beyond-minus-largest": float(np.nextafter(-MAX, -np.inf)),
    "far-below": -1e300,
    "infinity": np.inf,
    "minus-infinity": -np.inf,
    "nan": np.nan,
}


class ForestSuite:
    """Forest prediction: equality with a simple traversal of every tree for every voxel, to the last bit."""

    @pytest.mark.parametrize("classes", [1, 2, 3, 5])
    @pytest.mark.parametrize("trees", [1, 2, 10, 100])
    @pytest.mark.parametrize("pure", [True, False], ids=["pure", "impure"])
    def test_one_forest(self, backend: Backend, pure: bool, trees: int, classes: int) -> None:
        forest = random_forest(np.random.default_rng(trees), trees=trees, columns=7, classes=classes, pure=pure)
        found = assert_walks_alike(backend, random_features(7), [forest])
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)

    @pytest.mark.parametrize("classes", [1, 3])
    @pytest.mark.parametrize("pure", [True, False], ids=["pure", "impure"])
    def test_weighted_leaves(self, backend: Backend, pure: bool, classes: int) -> None:
        rng = np.random.default_rng(3)
        forests = [
            random_forest(rng, trees=trees, columns=4, classes=classes, pure=pure, is_weighted=True)
            for trees in (10, 7)
        ]
        assert_walks_alike(backend, random_features(4), forests)

    def test_weights_that_matter_to_some_forests_only(self, backend: Backend) -> None:
        rng = np.random.default_rng(4)
        forests = [
            random_forest(rng, trees=9, columns=4, classes=3, pure=True, is_weighted=weighted)
            for weighted in (False, True, False)
        ]
        assert_walks_alike(backend, random_features(4), forests)

    def test_pure_leaves_beside_impure_ones(self, backend: Backend) -> None:
        rng = np.random.default_rng(5)
        forests = [random_forest(rng, trees=10, columns=4, classes=3, pure=pure) for pure in (True, False, True)]
        assert_walks_alike(backend, random_features(4), forests)

    def test_votes_of_leaves_without_weight_are_undefined_as_in_the_original(self, backend: Backend) -> None:
        forest = ForestArrays((leaf_tree([0.5, 0.5], weight=0.0),), 2, True)
        assert np.isnan(compute_probabilities(backend, random_features(1, count=3), [forest])).all()

    @pytest.mark.parametrize(
        "counts",
        [
            (10,) * 10,
            (100,),
            INEXACT[:1],
            (INEXACT[0], INEXACT[0]),
            (10, 10, INEXACT[0], 10, 10),
            (INEXACT[1], 10, INEXACT[2], 10),
            INEXACT,
            (1, 2, 3, 4, 5, 6, 7),
            (25, 25, 25, 24),
        ],
        ids=lambda counts: "+".join(map(str, counts)),
    )
    @pytest.mark.parametrize("pure", [True, False], ids=["pure", "impure"])
    def test_several_forests(self, backend: Backend, counts: tuple[int, ...], pure: bool) -> None:
        """They are added in the order given, each rounded on its own, which shows in the last bit."""
        rng = np.random.default_rng(sum(counts))
        forests = [random_forest(rng, trees=t, columns=5, classes=3, pure=pure) for t in counts]
        assert_walks_alike(backend, random_features(5), forests)

    @pytest.mark.parametrize("trees", [1, 3, 10, INEXACT[0], INEXACT[1]])
    @pytest.mark.parametrize("pure", [True, False], ids=["pure", "impure"])
    def test_single_forest_without_averaging(self, backend: Backend, trees: int, pure: bool) -> None:
        forest = random_forest(np.random.default_rng(6), trees=trees, columns=5, classes=3, pure=pure, averages=False)
        assert_walks_alike(backend, random_features(5), [forest])

    @pytest.mark.parametrize("trees", [255, 256, 257, 300, 1030])
    def test_more_trees_than_a_byte_counts(self, backend: Backend, trees: int) -> None:
        """All voxels vote for one class, so that its count reaches the number of trees."""
        rng = np.random.default_rng(trees)
        constant = [leaf_tree([0, 1, 0])] * (trees - 3)
        forest = ForestArrays(
            (*constant, *random_forest(rng, trees=3, columns=2, classes=3, pure=True).trees), 3, False
        )
        found = assert_walks_alike(backend, random_features(2, count=130), [forest])
        assert found[:, 1].min() >= (trees - 3) / trees - 1e-6
        assert_walks_alike(backend, random_features(2, count=130), [forest, forest])

    def test_single_leaf_trees(self, backend: Backend) -> None:
        pure = ForestArrays((leaf_tree([0, 1]), leaf_tree([1, 0]), leaf_tree([0, 1])), 2, False)
        found = assert_walks_alike(backend, random_features(1, count=70), [pure])
        assert (found == np.array([1 / 3, 2 / 3], np.float32)).all()
        mixed = ForestArrays((leaf_tree([0.25, 0.75]),), 2, False)
        assert (assert_walks_alike(backend, random_features(1, count=70), [mixed]) == np.float32([0.25, 0.75])).all()

    @pytest.mark.parametrize("pure", [True, False], ids=["pure", "impure"])
    @pytest.mark.parametrize("to_left", [True, False], ids=["left", "right"])
    def test_deep_chains(self, backend: Backend, to_left: bool, pure: bool) -> None:
        forest = ForestArrays((chain(2000, to_left=to_left, pure=pure),), 2, False)
        features = (np.arange(-5, 2010, 0.5)).astype(np.float32)[:, None]
        found = assert_walks_alike(backend, features, [forest])
        assert len(np.unique(found[:, 0])) == 2

    @pytest.mark.parametrize("to_left", [True, False], ids=["left", "right"])
    def test_neighbours_that_all_part_ways(self, backend: Backend, to_left: bool) -> None:
        """64 voxels of a block end in 64 leaves: as many subtrees wait as there can be."""
        forest = ForestArrays((chain(64, to_left=to_left, pure=True),), 2, False)
        features = np.random.default_rng(0).permutation(64).astype(np.float32)[:, None] + np.float32(0.5)
        assert_walks_alike(backend, features, [forest], shape=(1, 8, 8))
        assert_walks_alike(backend, features, [forest], shape=(4, 4, 4))

    @pytest.mark.parametrize(
        "shape",
        [
            (1, 1, 1),
            (1, 1, 7),
            (1, 1, 300),
            (1, 300, 1),
            (1, 9, 9),
            (1, 33, 257),
            (1, 64, 64),
            (2, 1, 1),
            (3, 5, 7),
            (9, 33, 129),
            (300, 1, 1),
            (4, 4, 4),
        ],
        ids=lambda v: "x".join(map(str, v)),
    )
    @pytest.mark.parametrize("pure", [True, False], ids=["pure", "impure"])
    def test_blocks_that_are_not_full(self, backend: Backend, shape: Voxels, pure: bool) -> None:
        forest = random_forest(np.random.default_rng(7), trees=4, columns=3, classes=3, pure=pure)
        assert_walks_alike(backend, random_features(3, count=int(np.prod(shape))), [forest], shape=shape)

    @pytest.mark.parametrize("pure", [True, False], ids=["pure", "impure"])
    def test_no_number_in_any_column_means_no_class(self, backend: Backend, pure: bool) -> None:
        """Also where no tree asks for the column."""
        rng = np.random.default_rng(8)
        trees = tuple(random_tree(rng, 3, 3, depth=4, pure=pure) for _ in range(5))
        features = random_features(6, count=260)
        bad = np.array([0, 1, 63, 64, 65, 130, 259])
        features[bad, np.arange(len(bad)) % 6] = np.nan
        features[200] = np.nan
        found = assert_walks_alike(backend, features, [ForestArrays(trees, 3, False)])
        is_bad = np.isnan(features).any(axis=1)
        assert (found[is_bad] == 0).all()
        assert (found[~is_bad].sum(axis=1) > 0.99).all()

    def test_nothing_but_nan(self, backend: Backend) -> None:
        forest = random_forest(np.random.default_rng(8), trees=5, columns=2, classes=2, pure=True)
        features = np.full((150, 2), np.nan, np.float32)
        features[:, 1] = -features[:, 1]
        assert (compute_probabilities(backend, features, [forest]) == 0).all()

    @pytest.mark.parametrize("threshold", [0.0, 1.5, -3e38, 3e38])
    def test_infinite_values(self, backend: Backend, threshold: float) -> None:
        forest = ForestArrays((stump(0, threshold, [1, 0], [0, 1]),), 2, False)
        features = np.array([[-np.inf], [np.inf], [0]], np.float32)
        found = assert_walks_alike(backend, features, [forest])
        assert found[:2].tolist() == [[1, 0], [0, 1]]

    def test_equality_goes_right(self, backend: Backend) -> None:
        forest = ForestArrays((stump(0, 0.5, [1, 0], [0, 1]),), 2, False)
        half = np.float32(0.5)
        features = np.array(
            [[np.nextafter(half, np.float32(0))], [half], [np.nextafter(half, np.float32(1))]], np.float32
        )
        assert assert_walks_alike(backend, features, [forest])[:, 0].tolist() == [1, 0, 0]

    @pytest.mark.parametrize("pure", [True, False], ids=["pure", "impure"])
    @pytest.mark.parametrize("threshold", THRESHOLDS.values(), ids=THRESHOLDS)
    def test_thresholds_are_compared_in_double(self, backend: Backend, threshold: float, pure: bool) -> None:
        """For any form of a stored threshold, every float32 near it must take the same path as in double."""
        with np.errstate(over="ignore"):
            near = np.float32(threshold)
            beside = [np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))]
        values = [near, *beside, 0.0, -0.0, TINY, -TINY, 2 * TINY, -2 * TINY]
        values += [MAX, -MAX, np.inf, -np.inf, 1e-38, -1e-38, 0.1, -0.1, 1.0, -1.0]
        features = np.array([v for v in values if not np.isnan(v)], np.float32)[:, None]
        left, right = ([1, 0], [0, 1]) if pure else ([0.75, 0.25], [0.25, 0.75])
        forest = ForestArrays((stump(0, threshold, left, right),), 2, False)
        expected = [left[0] if float(v) < threshold else right[0] for v in features[:, 0]]
        assert assert_walks_alike(backend, features, [forest])[:, 0].tolist() == expected

    def test_columns_of_a_wide_forest(self, backend: Backend) -> None:
        columns = 70
        trees = tuple(stump(c, 0.0, [1, 0], [0, 1]) for c in range(columns))
        assert_walks_alike(backend, random_features(columns, count=100), [ForestArrays(trees, 2, False)])

    def test_many_classes(self, backend: Backend) -> None:
        forest = random_forest(np.random.default_rng(9), trees=50, columns=3, classes=40, pure=True)
        assert_walks_alike(backend, random_features(3), [forest])

    @pytest.mark.parametrize("pure", [True, False], ids=["pure", "impure"])
    @pytest.mark.parametrize("slicewise", [True, False], ids=["2d", "3d"])
    def test_real_features(self, backend: Backend, slicewise: bool, pure: bool) -> None:
        """The forest reads the very features that ``features`` returns, however a backend passes them on."""
        image = random_image((2, 9, 35, 131))
        plan = make_plan([(0.7, slicewise), (1.6, True)], channels=2)
        rng = np.random.default_rng(10)
        forests = [random_forest(rng, trees=5, columns=plan.width, classes=3, pure=pure, spread=100) for _ in range(2)]
        features = compute_features(backend, image, plan)
        expected = reference.predict(forests, features.reshape(-1, plan.width)).reshape(9, 35, 131, 3)
        loaded = backend.pixels.load_forest(forests, use="tiles")
        assert_same_values(
            backend.pixels.to_host(backend.pixels.predict(open_stack(backend, image, plan), loaded)), expected
        )
        tile = ((2, 30, 60), (7, 35, 131))
        found = backend.pixels.to_host(backend.pixels.predict(open_stack(backend, image, plan, tile), loaded))
        assert_same_values(found, expected[2:7, 30:35, 60:131])

    def test_stack_serves_features_and_prediction(self, backend: Backend) -> None:
        """Exporting both asks the same stack twice, in either order."""
        image = random_image((1, 1, 40, 90))
        plan = make_plan([(1.0, True)])
        forest = random_forest(np.random.default_rng(11), trees=5, columns=plan.width, classes=2, pure=True, spread=100)
        loaded = backend.pixels.load_forest([forest], use="tiles")
        answers = []
        for order in ("features first", "prediction first"):
            stack = open_stack(backend, image, plan)
            if order == "features first":
                features = backend.pixels.to_host(backend.pixels.features(stack))
                probabilities = backend.pixels.to_host(backend.pixels.predict(stack, loaded))
            else:
                probabilities = backend.pixels.to_host(backend.pixels.predict(stack, loaded))
                features = backend.pixels.to_host(backend.pixels.features(stack))
            answers.append((features, probabilities))
        assert_same_bits(answers[0][0], answers[1][0])
        assert_same_bits(answers[0][1], answers[1][1])

    def test_results_outlive_the_next_tile(self, backend: Backend) -> None:
        """A backend may reuse its buffers, not what it has handed out."""
        image = random_image((1, 1, 40, 90))
        plan = make_plan([(1.0, True)])
        forest = random_forest(np.random.default_rng(12), trees=5, columns=plan.width, classes=2, pure=True, spread=100)
        loaded = backend.pixels.load_forest([forest], use="tiles")
        stack = open_stack(backend, image, plan)
        features, probabilities = (
            backend.pixels.to_host(backend.pixels.features(stack)),
            backend.pixels.to_host(backend.pixels.predict(stack, loaded)),
        )
        kept = features.copy(), probabilities.copy()
        other = open_stack(backend, 255 - image, plan)
        backend.pixels.to_host(backend.pixels.features(other))
        backend.pixels.to_host(backend.pixels.predict(other, loaded))
        assert_same_bits(features, kept[0])
        assert_same_bits(probabilities, kept[1])

    @pytest.mark.parametrize(
        "forests",
        [
            pytest.param([], id="no-forest"),
            pytest.param([ForestArrays((), 2, False)], id="no-tree"),
            pytest.param(
                [ForestArrays((leaf_tree([1.0]),), 1, False), ForestArrays((leaf_tree([1.0, 0.0]),), 2, False)],
                id="different-classes",
            ),
        ],
    )
    def test_forests_that_cannot_be_loaded(self, backend: Backend, forests: list[ForestArrays]) -> None:
        with pytest.raises(ValueError, match="forest"):
            backend.pixels.load_forest(forests, use="tiles")

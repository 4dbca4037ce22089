"""Forest prediction of rows of features: equality with a simple traversal of every tree, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

from ...kernels.contract import Backend, ForestArrays
from ..kernel_inputs import assert_same_values, random_forest
from ..reference import walk as reference


def random_rows(count: int, columns: int) -> np.ndarray:
    return np.random.default_rng([count, columns]).normal(size=(count, columns)).astype(np.float32)


def assert_walks_alike(backend: Backend, rows: np.ndarray, forests: list[ForestArrays]) -> None:
    found = backend.pixels.predict_rows(rows, backend.pixels.load_forest(forests, use="rows"))
    assert found.dtype == np.float32
    assert_same_values(found, reference.predict(forests, rows))


class ForestRowsSuite:
    """Forest prediction of rows of features: equality with a simple traversal of every tree, to the last bit."""

    @pytest.mark.parametrize("count", [1, 63, 64, 65, 300])
    @pytest.mark.parametrize("pure", [True, False], ids=["pure", "impure"])
    def test_any_number_of_rows(self, backend: Backend, pure: bool, count: int) -> None:
        forest = random_forest(np.random.default_rng(count), trees=20, columns=9, classes=3, pure=pure)
        assert_walks_alike(backend, random_rows(count, 9), [forest])

    @pytest.mark.parametrize("classes", [1, 2, 5])
    @pytest.mark.parametrize("pure", [True, False], ids=["pure", "impure"])
    def test_rows_through_several_forests(self, backend: Backend, pure: bool, classes: int) -> None:
        rng = np.random.default_rng(5)
        forests = [random_forest(rng, trees=trees, columns=4, classes=classes, pure=pure) for trees in (10, 13, 41)]
        assert_walks_alike(backend, random_rows(130, 4), forests)

    def test_rows_through_weighted_leaves(self, backend: Backend) -> None:
        rng = np.random.default_rng(6)
        forest = random_forest(rng, trees=10, columns=4, classes=3, pure=False, is_weighted=True)
        assert_walks_alike(backend, random_rows(70, 4), [forest])

    def test_no_rows(self, backend: Backend) -> None:
        forest = random_forest(np.random.default_rng(0), trees=3, columns=4, classes=2, pure=True)
        assert backend.pixels.predict_rows(
            np.empty((0, 4), np.float32), backend.pixels.load_forest([forest], use="rows")
        ).shape == (0, 2)

    def test_rows_in_any_layout(self, backend: Backend) -> None:
        forest = random_forest(np.random.default_rng(1), trees=5, columns=6, classes=2, pure=True)
        rows = random_rows(100, 12)[:, ::2]
        assert not rows.flags["C_CONTIGUOUS"]
        assert_walks_alike(backend, rows, [forest])

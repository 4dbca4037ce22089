"""Trained forests: equal to vigra's for a seed, whatever the number of threads; bad input."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from reference.training import grow_tree
from support.golden import GOLDEN, SHARED

import pixelforest
from pixelforest.engine import TrainedForest, train_forest
from pixelforest.engine.errors import InputMismatch, UsageError
from pixelforest.engine.project.hdf5_writer import put_array
from pixelforest.engine.training.forest import train_forests

RECORDED = GOLDEN / "training" / "forests.h5"
MORE = (SHARED / "training" / "forests.h5", SHARED / "training" / "seeded_2d.h5")


def recorded(path: Path) -> list[Any]:
    if not path.exists():
        return []
    with h5py.File(path) as file:
        return [pytest.param(path, name, id=f"{path.stem}-{name}") for name in file]


def everything(group: h5py.Group) -> Iterator[tuple[str, Any]]:
    names: list[str] = []
    group.visit(names.append)
    for name in sorted(names):
        found = group[name]
        yield name, found[()].tobytes() + str(found.dtype).encode() if isinstance(found, h5py.Dataset) else None


def test_arrays_are_stored_with_the_bytes_of_an_assignment(tmp_path: Path) -> None:
    arrays = {"a/b/strided": np.arange(9, dtype=np.int32)[::2], "a/number": np.array([2.0]), "none": np.zeros(0, "u4")}
    one, other = tmp_path / "one.h5", tmp_path / "other.h5"
    for path, put in ((one, put_array), (other, operator.setitem)):
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                put(file, name, values)
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.golden
@pytest.mark.parametrize(("path", "name"), [*recorded(RECORDED), *(each for path in MORE for each in recorded(path))])
def test_forests_are_those_that_vigra_grew(path: Path, name: str, tmp_path: Path) -> None:
    with h5py.File(path) as file, h5py.File(tmp_path / "out.h5", "w") as out:
        group = file[name]
        stored = group["forest"]
        features, labels, seed = group["X"][()], group["y"][()], int(group.attrs["seed"])
        forest = train_forest(features, labels, trees=int(stored["_options/tree_count_"][0]), seed=seed)
        forest.to_hdf5(out.create_group("forest"))
        assert list(everything(out["forest"])) == list(everything(stored))
        assert dict(out["forest"].attrs) == dict(stored.attrs)
        assert out["forest/_ext_param/labels"].dtype == stored["_ext_param/labels"].dtype
        assert forest.out_of_bag_error == group.attrs.get("oob", forest.out_of_bag_error)


def values_of(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    smooth = rng.normal(size=shape)
    made = {
        "smooth": smooth,
        "few": np.round(smooth * 3),
        "zeros": np.where(rng.random(shape) < 0.5, rng.choice([-0.0, 0.0], shape), smooth),
        "skewed": np.exp(8 * smooth),
        "extreme": smooth * 10.0 ** rng.integers(-37, 37, shape),
        "alike": np.zeros(shape),
    }
    return made[kind].astype(np.float32)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("classes", [1, 2, 3, 7])
@pytest.mark.parametrize("kind", ["smooth", "few", "zeros", "skewed", "extreme", "alike"])
def test_trees_follow_the_definition(kind: str, classes: int) -> None:
    rng = np.random.default_rng(classes)
    features = values_of(kind, (600, 6), rng)
    labels = (np.digitize(features[:, 0] + features[:, 1], np.quantile(features, np.arange(1, classes) / classes))) + 3
    is_wrong = rng.random(600) < 0.2
    labels[is_wrong] = rng.integers(3, 3 + classes, is_wrong.sum())
    forest = train_forest(features, labels, trees=2, seed=99)
    generator = np.random.RandomState(99)
    known, numbered = np.unique(labels, return_inverse=True)
    for topology, parameters in forest.trees:
        ints, numbers = grow_tree(features, numbered, len(known), generator)
        assert topology.tolist() == ints
        assert parameters.view(np.uint64).tolist() == np.array(numbers).view(np.uint64).tolist()


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("count", "classes"), [(2500, 2), (2500, 4), (2500, 9), (70, 2)])
def test_large_nodes_follow_the_definition(count: int, classes: int) -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(count, 3)).astype(np.float32)
    labels = rng.integers(0, classes, count) * (features[:, 1] > 0)
    ((topology, parameters),) = train_forest(features, labels, trees=1, seed=4).trees
    ints, numbers = grow_tree(features, labels, len(np.unique(labels)), np.random.RandomState(4))
    assert topology.tolist() == ints
    assert parameters.tolist() == numbers


@pytest.mark.parametrize("step", [0.0, 0.5])
def test_cuts_that_separate_many_classes_wholly_follow_the_definition(step: float) -> None:
    """Losses of 0, and with a step ties of samples and of cuts."""
    rng = np.random.default_rng(8)
    features = rng.normal(size=(1500, 4)).astype(np.float32)
    features = np.round(features / step).astype(np.float32) if step else features
    known, labels = np.unique(np.digitize(features[:, 1], [-1.2, -0.6, 0.1, 0.7, 1.3]), return_inverse=True)
    ((topology, parameters),) = train_forest(features, labels, trees=1, seed=2).trees
    ints, numbers = grow_tree(features, labels, len(known), np.random.RandomState(2))
    assert topology.tolist() == ints
    assert parameters.tolist() == numbers


def small(rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(rows, 9)).astype(np.float32)
    return features, (features[:, 2] + rng.normal(size=rows) / 2 > 0) + 1


def test_forests_do_not_depend_on_threads() -> None:
    features, labels = small()
    one, many = (train_forests(features, labels, trees=(3, 2, 2), seed=5, threads=n) for n in (1, 3))
    for a, b in zip(one, many, strict=True):
        assert [t.tobytes() + p.tobytes() for t, p in a.trees] == [t.tobytes() + p.tobytes() for t, p in b.trees]
    alone = train_forest(features, labels, trees=2, seed=6)
    assert [t.tolist() for t, _ in alone.trees] == [t.tolist() for t, _ in one[1].trees]


def test_a_forest_predicts_what_its_trees_hold() -> None:
    features, labels = small()
    forest = train_forest(features, labels, trees=20)
    found = forest.predict_proba(features)
    assert (found.shape, found.dtype) == ((300, 2), np.float32)
    assert np.allclose(found.sum(axis=1), 1)
    assert (found.argmax(axis=1) + 1 == labels).mean() > 0.97
    assert forest.out_of_bag_error < 0.3
    assert forest.gains.argmax() == 2
    assert forest.predict_proba(features[:0]).shape == (0, 2)
    assert np.array_equal(forest.predict_proba(features, threads=1), found)


def test_columns_are_counted_in_prediction() -> None:
    forest: TrainedForest = pixelforest.train_forest(*small(), trees=1)
    with pytest.raises(InputMismatch, match="trained on 9 feature columns, not 8"):
        forest.predict_proba(np.zeros((4, 8)))


@pytest.mark.parametrize("seed", [0, -1, 1 << 32, 1.5])
def test_seeds_that_vigra_has_not_are_refused(seed: Any) -> None:
    with pytest.raises(UsageError, match="seed goes from 1 to 4294967295"):
        train_forest(*small(), seed=seed)


def test_the_largest_seed_is_followed_by_one() -> None:
    features, labels = small(50)
    forests = train_forests(features, labels, trees=(1, 1), seed=(1 << 32) - 1)
    assert forests[1].trees[0][0].tolist() == train_forest(features, labels, trees=1, seed=1).trees[0][0].tolist()


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (np.zeros((3, 2)), np.zeros(3), "labels are a list of integers"),
        (np.zeros((3, 2)), np.zeros(4, int), "3 rows of features and 4 labels"),
        (np.zeros(3), np.zeros(3, int), "a table of numbers"),
        (np.zeros((0, 2)), np.zeros(0, int), "nothing can be learnt from 0 samples"),
        (np.zeros((3, 2)), np.array([-1, 0, 1]), "labels go from 0"),
        (np.array([[0, 1], [np.nan, 2]]), np.array([1, 2]), "feature 0 of sample 1 is nan"),
        (np.array([[0, 1e39]]), np.array([1]), "feature 1 of sample 0 is inf"),
    ],
)
def test_samples_that_cannot_be_learnt_from_are_refused(features: Any, labels: Any, message: str) -> None:
    with pytest.raises(InputMismatch, match=message):
        train_forest(features, labels)


def test_a_forest_has_trees() -> None:
    with pytest.raises(UsageError, match="at least one tree, not 0"):
        train_forest(*small(), trees=0)


def test_permutations_measure_columns_and_change_no_tree() -> None:
    features, labels = small()
    (plain,) = train_forests(features, labels, trees=(30,))
    (found,) = train_forests(features, labels, trees=(30,), permutes=True)
    assert plain.importance is None
    assert found.importance is not None
    assert [t.tobytes() for t, _ in plain.trees] == [t.tobytes() for t, _ in found.trees]
    assert found.importance.shape == (9, 2)
    overall = found.importance.sum(axis=1)
    assert overall.argmax() == 2  # the one that labels follow
    assert overall[2] > 0.2
    assert np.abs(np.delete(overall, 2)).max() < 0.05

"""Random forests trained from a matrix of features: vigra's, bit for bit, for the same seed and samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from math import floor, sqrt
from typing import Any, TypeVar

import numpy as np

from ...frozen import frozen
from ...kernels.contract import ForestArrays, TreeArrays
from ...kernels.contract.training import GrownForest
from ..backends import open_backend, open_trainer
from ..errors import InputMismatch, UsageError, setting
from ..machine import choose_threads
from ..project.forest_writer import write_forest
from ..project.tree_arrays import unpack_trees

MAX_SEED = (1 << 32) - 1
MAX_CLASSES = (1 << 16) - 1
ROWS_AT_ONCE = 1 << 15  # predicted by one thread

Item = TypeVar("Item")
Result = TypeVar("Result")


@frozen(eq=False)
class TrainedForest:
    """A trained forest.

    Attributes
    ----------
    trees
        Topology and parameters of each tree, as vigra stores them.
    labels
        Label of each class, ascending.
    columns, samples
        Number of feature columns and of training samples.
    out_of_bag_error
        Share of the samples that the trees grown without them classify wrongly; NaN if every tree has every sample.
    gains
        (columns,) float64: decrease of Gini's impurity by each column, the mean over the trees.
    importance
        (columns, classes) float64: share of the out-of-bag samples that are of a class and no longer classified rightly
        if a column is permuted, the mean over the trees; None if it was not measured.
    """

    trees: tuple[tuple[np.ndarray, np.ndarray], ...]
    labels: tuple[int, ...]
    columns: int
    samples: int
    out_of_bag_error: float
    gains: np.ndarray
    importance: np.ndarray | None

    def predict_proba(self, features: np.ndarray, *, threads: int | None = None) -> np.ndarray:
        """Predict class probabilities.

        Parameters
        ----------
        features
            (n, columns), converted to float32.
        threads
            Number of threads; None: chosen by the machine.

        Returns
        -------
        numpy.ndarray
            (n, classes) float32, 0 for all classes in rows with a NaN.
        """
        rows = as_features(features)
        if rows.shape[1] != self.columns:
            raise InputMismatch(f"the forest was trained on {self.columns} feature columns, not {rows.shape[1]}")
        pixels, forest = self._loaded
        parts = [rows[first : first + ROWS_AT_ONCE] for first in range(0, len(rows), ROWS_AT_ONCE)]
        found = in_parallel(lambda part: pixels.predict_rows(part, forest), parts, choose_threads(threads))
        return np.concatenate([np.empty((0, len(self.labels)), np.float32), *found])

    def to_hdf5(self, group: Any) -> None:
        """Write the forest into an empty h5py group, in vigra's layout."""
        tried = floor(sqrt(self.columns) + 0.5)
        write_forest(
            group, self.trees, labels=self.labels, columns=self.columns, samples=self.samples, tried=tried
        )  # fmt: skip

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """Backend of pixels and this forest loaded into it."""
        topologies, parameters = zip(*self.trees, strict=True)
        stored = unpack_trees(topologies, parameters, class_count=len(self.labels), column_count=self.columns)
        trees = tuple(TreeArrays(t.feature, t.threshold, t.left, t.right, t.probabilities, t.weight) for t in stored)
        pixels = open_backend("cpu").pixels
        arrays = ForestArrays(trees, len(self.labels), is_weighted=False, averages=False)
        return pixels, pixels.load_forest([arrays], use="rows")


def train_forest(
    features: np.ndarray, labels: np.ndarray, *, trees: int = 100, seed: int = 1, threads: int | None = None
) -> TrainedForest:
    """Train a random forest that equals vigra's for the same seed, bit for bit.

    Parameters
    ----------
    features
        (n, f), converted to float32; finite.
    labels
        (n,) integers, one or more for each class.
    trees
        Number of trees.
    seed
        From 1 to 2^32 - 1. vigra takes 0 for the time of day, so 0 is refused.
    threads
        Number of threads; None: chosen by the machine. The forest does not depend on it.

    Returns
    -------
    TrainedForest
        The forest.

    Raises
    ------
    UsageError
        For a seed or a number of trees that is impossible.
    InputMismatch
        If features and labels do not fit each other, or cannot be learnt from.

    Notes
    -----
    vigra's generator runs through from tree to tree, so the trees of one forest grow one after the other; threads speed
    up what precedes that. ``train_forests`` grows several forests in parallel.
    """
    return train_forests(features, labels, trees=(trees,), seed=seed, threads=threads)[0]


def train_forests(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    trees: tuple[int, ...],
    seed: int = 1,
    threads: int | None = None,
    permutes: bool = False,
    known: Sequence[int] | None = None,
) -> tuple[TrainedForest, ...]:
    """Train forests on the same samples in parallel; forest i equals vigra's for ``seed + i``.

    Parameters
    ----------
    trees
        Number of trees of each forest.
    permutes
        True to measure the importance of the columns by permutations, which takes longer than the training itself.
    known
        Labels of all classes, ascending, also of those without a sample; None: those that samples have.

    Notes
    -----
    The other parameters and the errors are those of ``train_forest``. After the largest seed comes 1.
    """
    check_seed(seed)
    if min(trees) < 1:
        raise UsageError(f"a forest needs at least one tree, not {min(trees)}")
    matrix, values = as_features(features), _as_labels(labels)
    if len(matrix) != len(values):
        raise InputMismatch(f"there are {len(matrix)} rows of features and {len(values)} labels; each row needs one")
    if matrix.size == 0:
        raise InputMismatch(f"nothing can be learnt from {len(matrix)} samples of {matrix.shape[1]} features")
    _check_finite(matrix)
    all_labels = np.unique(values if known is None else np.asarray(known, np.int64))
    classes = np.searchsorted(all_labels, values)
    if len(all_labels) > MAX_CLASSES:
        raise InputMismatch(f"the labels have {len(all_labels)} different values; at most {MAX_CLASSES} can be learnt")
    trainer, count = open_trainer(), choose_threads(threads)
    columns = [np.ascontiguousarray(column) for column in matrix.T]
    ranks: np.ndarray = np.stack(in_parallel(trainer.rank, columns, count))
    samples = trainer.load(matrix, ranks, classes, len(all_labels))

    def grow(number: int) -> TrainedForest:
        own_seed = seed_after(seed, number)
        grown = trainer.grow(samples, trees=trees[number], seed=own_seed, permutes=permutes)
        return _finish(grown, classes, tuple(all_labels.tolist()), matrix.shape)

    return tuple(in_parallel(grow, range(len(trees)), count))


def seed_after(seed: int, count: int) -> int:
    """Return the seed that is ``count`` after another one; after the largest comes 1."""
    return (int(seed) - 1 + count) % MAX_SEED + 1


def check_seed(seed: int) -> None:
    """Refuse a seed that vigra's generator has not. Raises UsageError."""
    if not isinstance(seed, int | np.integer) or not 1 <= seed <= MAX_SEED:
        raise UsageError(f"{setting('seed')} goes from 1 to {MAX_SEED}, not {seed}; vigra takes 0 for the time of day")


def as_features(features: Any) -> np.ndarray:
    """Convert rows of features to a C-contiguous float32 matrix. Raises InputMismatch."""
    found = np.asarray(features)
    if found.ndim != 2 or found.dtype.kind not in "biuf":
        raise InputMismatch(f"features are a table of numbers (samples, columns), not {found.dtype} {found.shape}")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(found, np.float32)


def in_parallel(action: Callable[[Item], Result], items: Iterable[Item], threads: int) -> list[Result]:
    """Apply a function to items in a number of threads; results are in the order of the items."""
    if threads == 1:
        return [action(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        waiting = [pool.submit(action, item) for item in items]
        try:
            return [each.result() for each in waiting]
        except BaseException:
            for each in waiting:
                each.cancel()
            raise


def _as_labels(labels: Any) -> np.ndarray:
    found = np.asarray(labels)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise InputMismatch(f"labels are a list of integers, one for each sample, not {found.dtype} {found.shape}")
    if found.size and not 0 <= int(found.min()) <= int(found.max()) < 1 << 32:
        raise InputMismatch(f"labels go from 0 to 2^32 - 1, not from {found.min()} to {found.max()}")
    return found


def _check_finite(matrix: np.ndarray) -> None:
    for start in range(0, len(matrix), ROWS_AT_ONCE):
        bad = np.argwhere(~np.isfinite(matrix[start : start + ROWS_AT_ONCE]))
        if len(bad):
            row, column = int(bad[0, 0]) + start, int(bad[0, 1])
            raise InputMismatch(
                f"feature {column} of sample {row} is {matrix[row, column]}, from which nothing can be learnt; leave "
                "samples with NaN, infinite or very large pixels near them unlabelled"
            )


def _finish(grown: GrownForest, classes: np.ndarray, labels: tuple[int, ...], shape: tuple[int, ...]) -> TrainedForest:
    is_voted = grown.votes.any(axis=1)
    wrong = (grown.votes.argmax(axis=1) != classes)[is_voted]
    return TrainedForest(
        trees=grown.trees,
        labels=labels,
        columns=shape[1],
        samples=shape[0],
        out_of_bag_error=float(wrong.mean()) if wrong.size else float("nan"),
        gains=grown.gains / len(grown.trees),
        importance=None if grown.importance is None else grown.importance / len(grown.trees),
    )

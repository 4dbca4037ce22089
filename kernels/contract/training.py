"""Growing of random forests."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ...frozen import frozen


@frozen(eq=False)
class GrownForest:
    """Forest in the layout in which vigra stores it.

    Attributes
    ----------
    trees
        Topology, int32, and parameters, float64, of each tree.
    gains
        (f,) float64: sum over all nodes of the decrease of Gini's impurity that a column achieved.
    votes
        (n, K) float64: sum of the probabilities of each sample over the trees that were grown without it.
    importance
        (f, K) float64: share of the samples outside a tree that are of a class and no longer classified rightly once a
        column is permuted among them, the sum over the trees; None if it was not requested.
    """

    trees: tuple[tuple[np.ndarray, np.ndarray], ...]
    gains: np.ndarray
    votes: np.ndarray
    importance: np.ndarray | None


class ForestTrainer(Protocol):
    """Trainer of forests that equal vigra's bit for bit. Methods may be called from several threads at once."""

    def rank(self, values: np.ndarray) -> np.ndarray:
        """Rank the values of a feature column.

        Parameters
        ----------
        values
            (n,) float32, finite.

        Returns
        -------
        numpy.ndarray
            (n,) uint32: number of smaller distinct values.
        """
        ...

    def load(self, features: np.ndarray, ranks: np.ndarray, labels: np.ndarray, classes: int) -> Any:
        """Prepare samples for any number of forests.

        Parameters
        ----------
        features
            (n, f) float32.
        ranks
            (f, n) uint32, from ``rank``.
        labels
            (n,) class of each sample, from 0.
        classes
            Number of classes, at most 65535; some may have no sample.

        Returns
        -------
        Any
            The samples in the trainer's own form.
        """
        ...

    def grow(self, samples: Any, *, trees: int, seed: int, permutes: bool) -> GrownForest:
        """Grow a forest in the calling thread.

        Parameters
        ----------
        samples
            From ``load``.
        trees
            Number of trees.
        seed
            Seed of the forest's generator, from 1 to 2^32 - 1.
        permutes
            True to measure the importance of the columns by permutations, whose seed is the same.

        Notes
        -----
        The generator is MT19937. Every tree draws its bootstrap sample, then the columns of its nodes; the next tree
        continues with the state that this leaves, so that the trees of one forest cannot be grown in parallel.
        Losses are computed in double, in vigra's order of operations.
        """
        ...

"""Slabs to label, storage for their results, and labels of a frame that is one slab."""

from __future__ import annotations

import numpy as np

from ..kernels.contract import Backend

TYPES = ("bool", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64")


class Storage:
    """Arrays in memory."""

    def array(self, shape: tuple[int, ...], dtype: object) -> np.ndarray:
        return np.zeros(shape, dtype)

    def free(self, array: np.ndarray) -> None:
        """Nothing to do."""


def random_values(shape: tuple[int, int, int], dtype: str, *, share: float, values: int = 2) -> np.ndarray:
    """``share`` of the voxels with one of a few values, the others background."""
    rng = np.random.default_rng([values, int(100 * share), *shape])
    made = rng.integers(1, values + 1, shape) * (rng.random(shape) < share)
    return made.astype(dtype)


def label_whole(backend: Backend, values: np.ndarray) -> tuple[np.ndarray, int]:
    """A frame that is one slab."""
    slab = backend.labels.label_slab(values, Storage())
    ids = np.arange(slab.count + 1)
    labels = np.zeros(values.shape, np.uint32)
    backend.labels.write_labels(slab, ids, 0, labels)
    return labels, slab.count

"""Components of equal value as runs of voxels along x, joined by union-find; relabelling by first occurrence.

A run is a row's longest stretch of one value that is not 0. Runs are in scan order, and a union keeps the earlier
root, so the numbers of components follow from the order of their roots: they depend on no thread and no slab.
"""

from __future__ import annotations

import numpy as np

from ....frozen import frozen
from ...contract import KernelError, Storage
from ..loader import kernel

_MAX_ROW = (1 << 31) - 1  # starts and stops of runs are int32
_MAX_RUNS = (1 << 32) - 1  # runs are numbered in uint32
_FIRST_CAPACITY = 1 << 10

_number_roots = kernel("number_roots")


@frozen(eq=False)
class SlabRuns:
    """Components of a slab.

    shape      (z, y, x) of the slab; first (rows + 1,) int64: the first run of each row (z, y)
    start      (n,) int32 along x, and stop, the last position + 1
    component  (n,) uint32, from 1 in scan order
    """

    shape: tuple[int, int, int]
    first: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    component: np.ndarray
    count: int

    @property
    def runs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Arrays (first, start, stop, component) in the order of the kernels' arguments."""
        return self.first, self.start, self.stop, self.component


def label_slab(values: np.ndarray, storage: Storage) -> SlabRuns:
    """See ``contract.LabelBackend.label_slab``."""
    flat = comparable(values)
    depth, height, width = values.shape
    rows = depth * height
    if width > _MAX_ROW:
        raise KernelError(f"rows of {width} voxels are too long to be labelled; at most {_MAX_ROW}")
    runs = kernel("count_runs", flat.dtype)(flat, rows, width)
    if runs > _MAX_RUNS:
        raise KernelError(f"a slab of {runs} runs is too large to be labelled; at most {_MAX_RUNS}")
    first = storage.array((rows + 1,), np.int64)
    start, stop = storage.array((runs,), np.int32), storage.array((runs,), np.int32)
    component = storage.array((runs,), np.uint32)
    kernel("find_runs", flat.dtype)(flat, rows, height, width, first, start, stop, component)
    count = _number_roots(component)
    return SlabRuns((depth, height, width), first, start, stop, component, count)


def join_slabs(
    a: SlabRuns, b: SlabRuns, axis: int, values_a: np.ndarray, values_b: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """See ``contract.LabelBackend.join_slabs``."""
    height = a.shape[1]
    row_a = (a.shape[0] - 1) * height if axis == 0 else height - 1
    rows = height if axis == 0 else 1
    face_a, face_b = comparable(values_a).reshape(rows, -1), comparable(values_b).reshape(rows, -1)
    most = int(a.first[row_a + rows] - a.first[row_a] + b.first[rows] - b.first[0])
    ids_a, ids_b = np.empty(most, np.uint32), np.empty(most, np.uint32)
    n = kernel("touching_pairs", face_a.dtype)(a.runs, row_a, face_a, b.runs, 0, face_b, rows, ids_a, ids_b)
    return ids_a[:n], ids_b[:n]


def comparable(values: np.ndarray) -> np.ndarray:
    """Convert values to a flat array of one of six types that preserves their equality."""
    values = np.ascontiguousarray(values)
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind in "biu":
        return values.view(f"u{size}").reshape(-1)
    if kind == "f" and size <= 8:
        return values.astype(np.float32 if size <= 4 else np.float64, copy=False).reshape(-1)
    raise KernelError(f"values of type {values.dtype} cannot be labelled")


class ValueTable:
    """See ``contract.ValueTable``."""

    def __init__(self) -> None:
        self.count = 0
        self._originals = np.empty(_FIRST_CAPACITY // 2, np.uint64)
        self._allocate_table()

    @property
    def originals(self) -> np.ndarray:
        return self._originals[: self.count]

    def renumber(self, values: np.ndarray, out: np.ndarray) -> None:
        if values.dtype.kind not in "iu":
            raise KernelError(f"values of type {values.dtype} are not labels")
        flat, target = comparable(values), out.reshape(-1)
        renumber, fill_table = kernel("renumber", flat.dtype), kernel("fill_table", flat.dtype)
        at = 0
        while True:
            at, self.count = renumber(flat, at, self._originals, self.count, self._keys, self._ids, target)
            if at == len(flat):
                return
            self._originals = np.concatenate([self._originals, np.empty_like(self._originals)])
            self._allocate_table()
            fill_table(self._originals, self.count, self._keys, self._ids)

    def _allocate_table(self) -> None:
        """Allocate an empty table twice as long as originals."""
        self._keys = np.zeros(2 * len(self._originals), np.uint64)
        self._ids = np.zeros(2 * len(self._originals), np.uint32)

"""Labels and thresholds on the CPU."""

from __future__ import annotations

import numpy as np

from ...frozen import frozen
from ..contract import MapPlan, Storage, Voxels
from .host import labels as labelling
from .host import threshold
from .host.labels import SlabRuns
from .loader import kernel

_unite_pairs, _number_components = kernel("unite_pairs"), kernel("number_components")
_add_run_sizes, _drop_components = kernel("add_run_sizes"), kernel("drop_components")
_mark_overlaps, _write_runs = kernel("mark_overlaps"), kernel("write_runs")
_add_label_sizes, _drop_labels = kernel("add_label_sizes"), kernel("drop_labels")


@frozen
class CpuLabels:
    """Components as runs of voxels along x. See ``contract.LabelBackend`` for the methods."""

    def warm(self) -> None:
        """Do nothing: the kernels are part of the package."""

    def label_slab(self, values: np.ndarray, storage: Storage) -> SlabRuns:
        return labelling.label_slab(values, storage)

    def join_slabs(
        self, a: SlabRuns, b: SlabRuns, axis: int, values_a: np.ndarray, values_b: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return labelling.join_slabs(a, b, axis, values_a, values_b)

    def unite(
        self, parents: np.ndarray, base_a: int, numbers_a: np.ndarray, base_b: int, numbers_b: np.ndarray
    ) -> None:
        _unite_pairs(parents, base_a, numbers_a, base_b, numbers_b)

    def number_components(self, parents: np.ndarray) -> int:
        return int(_number_components(parents))

    def add_sizes(self, slab: SlabRuns, ids: np.ndarray, base: int, sizes: np.ndarray) -> None:
        _add_run_sizes(slab.start, slab.stop, slab.component, ids, base, sizes)

    def drop_ids(self, ids: np.ndarray, keep: np.ndarray) -> None:
        _drop_components(ids, keep)

    def mark_overlaps(
        self,
        a: SlabRuns,
        ids_a: np.ndarray,
        base_a: int,
        b: SlabRuns,
        ids_b: np.ndarray,
        base_b: int,
        marks: np.ndarray,
    ) -> None:
        _mark_overlaps(a.runs, ids_a, base_a, b.runs, ids_b, base_b, marks)

    def write_labels(self, slab: SlabRuns, ids: np.ndarray, base: int, out: np.ndarray) -> None:
        _write_runs(*slab.runs, ids, base, out.reshape(-1, out.shape[2]))

    def new_value_table(self) -> labelling.ValueTable:
        return labelling.ValueTable()

    def smooth_maps(
        self, source: np.ndarray, start: Voxels, tile: tuple[Voxels, Voxels], image: Voxels, plan: MapPlan
    ) -> tuple[np.ndarray, ...]:
        return threshold.smooth_maps(source, start, tile, image, plan)

    def seed_minima(self, cost: np.ndarray, labels: np.ndarray) -> int:
        return threshold.seed_minima(cost, labels)

    def grow_regions(self, cost: np.ndarray, labels: np.ndarray, limit: float, storage: Storage) -> None:
        threshold.grow_regions(cost, labels, limit, storage)

    def add_label_sizes(self, labels: np.ndarray, sizes: np.ndarray) -> None:
        _add_label_sizes(labels.reshape(-1), sizes)

    def drop_labels(self, labels: np.ndarray, keep: np.ndarray) -> None:
        _drop_labels(labels.reshape(-1), keep)

"""Features of objects on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...frozen import frozen
from ..contract import MeasurePlan, Voxels
from .loader import kernel

if TYPE_CHECKING:
    from .host.measure import Measurement

_describe_hulls, _describe_skeletons = kernel("describe_hulls"), kernel("describe_skeletons")


@frozen
class CpuObjects:
    """Statistics, hulls and skeletons of objects. See ``contract.ObjectBackend`` for the methods."""

    def warm(self) -> None:
        """Do nothing: the kernels are part of the package."""

    def start_measuring(self, plan: MeasurePlan) -> Measurement:
        from .host.measure import Measurement  # as slow to import as the rest of this module

        return Measurement(plan)

    def measure_slab(
        self,
        measurement: Measurement,
        labels: np.ndarray,
        raw: np.ndarray,
        start: tuple[int, int],
        part: int,
        parts: int,
    ) -> None:
        measurement.add(labels, raw, start, part, parts)

    def measure_neighbourhoods(
        self,
        measurement: Measurement,
        labels: np.ndarray,
        raw: np.ndarray,
        start: tuple[int, int],
        objects: np.ndarray,
        boxes: np.ndarray,
        margin: Voxels,
        *,
        includes_object: bool,
    ) -> None:
        from .host.neighbourhood import measure_neighbourhoods

        measure_neighbourhoods(measurement, labels, raw, start, objects, boxes, margin, includes_object=includes_object)

    def complete_pass(self, measurement: Measurement, first: int, stop: int) -> None:
        measurement.complete(first, stop)

    def begin_second_pass(self, measurement: Measurement) -> None:
        measurement.begin_second_pass()

    def object_boxes(self, measurement: Measurement) -> np.ndarray:
        return measurement.boxes()

    def measured(self, measurement: Measurement) -> dict[str, np.ndarray]:
        return measurement.results()

    def hull_features(
        self,
        labels: np.ndarray,
        boxes: np.ndarray,
        centres: np.ndarray,
        counts: np.ndarray,
        first: int,
        stop: int,
        out: np.ndarray,
        origin: Voxels = (0, 0, 0),
    ) -> None:
        centres, counts = np.ascontiguousarray(centres, np.float64), np.ascontiguousarray(counts, np.float64)
        _describe_hulls(labels, origin, boxes, centres, counts, first, stop, out)

    def skeleton_features(
        self,
        labels: np.ndarray,
        boxes: np.ndarray,
        first: int,
        stop: int,
        out: np.ndarray,
        origin: Voxels = (0, 0, 0),
    ) -> None:
        _describe_skeletons(labels[0], origin[1], origin[2], boxes, first, stop, out)

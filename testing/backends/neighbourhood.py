"""Surroundings of an object: distances by brute force, then the statistics of their voxels."""

from __future__ import annotations

import numpy as np
import pytest

from ...kernels.contract import Backend, MeasurePlan
from ..labelled_frames import assert_exact, boxes_of, make_labels, make_raw
from ..reference import objects as reference

ONE = frozenset({"values", "moments", "histogram"})
SEVERAL = frozenset({"values", "moments", "channels"})


def surroundings(
    backend: Backend,
    labels: np.ndarray,
    raw: np.ndarray,
    margin: tuple[int, int, int],
    *,
    includes_object: bool,
    lines: int = 1 << 30,
) -> dict[str, np.ndarray]:
    count, axis = int(labels.max()), 1 if labels.shape[0] == 1 else 0
    groups = ONE if raw.shape[3] == 1 else SEVERAL
    plan = MeasurePlan(count, labels.size, 3 - axis, raw.shape[3], groups, own_range=True)
    measurement = backend.objects.start_measuring(plan)
    objects = np.arange(count)
    for number_of_pass in (1, 2):
        if number_of_pass == 2:
            backend.objects.begin_second_pass(measurement)
        for start in range(0, labels.shape[axis], lines):
            slab = np.ascontiguousarray(raw[(slice(None),) * axis + (slice(start, start + lines),)])
            where = (0, start) if axis == 1 else (start, 0)
            for some in (objects[::2], objects[1::2]):
                backend.objects.measure_neighbourhoods(
                    measurement, labels, slab, where, some, boxes_of(labels), margin, includes_object=includes_object
                )
        backend.objects.complete_pass(measurement, 0, count)
    return dict(backend.objects.measured(measurement))


def check(
    labels: np.ndarray, raw: np.ndarray, margin: tuple[int, int, int], found: dict, *, includes_object: bool
) -> None:
    for i in range(int(labels.max())):
        mask = reference.neighbourhood(labels, i + 1, margin, includes_object=includes_object)
        assert found["voxels"][i, 0] == mask.sum()
        if not mask.any():
            continue
        values = raw[mask]
        own_range = float(values[:, 0].min()), float(values[:, 0].max())
        for name, expected in reference.measure_values(values, own_range).items():
            assert_exact(found[name][i], expected, f"{name} of {i}")


class NeighbourhoodSuite:
    """Surroundings of an object: distances by brute force, then the statistics of their voxels."""

    @pytest.mark.parametrize("includes_object", [False, True], ids=["around", "with object"])
    @pytest.mark.parametrize("kind", ["blobs", "boxes", "scattered", "noise"])
    @pytest.mark.parametrize(
        ("shape", "margin"),
        [
            ((1, 16, 19), (0, 2, 2)),
            ((1, 16, 19), (0, 7, 3)),
            ((1, 16, 19), (0, 3, 5)),
            ((1, 16, 19), (0, 30, 30)),
            ((5, 7, 8), (1, 4, 4)),
            ((5, 7, 8), (2, 2, 2)),
            ((5, 7, 8), (3, 2, 5)),
        ],
    )
    def test_every_quantity_of_neighbourhoods(
        self,
        backend: Backend,
        shape: tuple[int, int, int],
        margin: tuple[int, int, int],
        kind: str,
        includes_object: bool,
    ) -> None:
        labels, raw = make_labels(kind, shape), make_raw(shape, 1)
        found = surroundings(backend, labels, raw, margin, includes_object=includes_object)
        check(labels, raw, margin, found, includes_object=includes_object)

    def test_neighbourhoods_of_several_channels(self, backend: Backend) -> None:
        labels, raw = make_labels("blobs", (1, 16, 19)), make_raw((1, 16, 19), 3, "float")
        found = surroundings(backend, labels, raw, (0, 4, 4), includes_object=False)
        check(labels, raw, (0, 4, 4), found, includes_object=False)

    @pytest.mark.parametrize("lines", [1, 2, 5])
    @pytest.mark.parametrize("shape", [(1, 16, 19), (6, 7, 8)], ids=["2d", "3d"])
    def test_slabs_change_nothing(self, backend: Backend, shape: tuple[int, int, int], lines: int) -> None:
        labels, raw = make_labels("blobs", shape), make_raw(shape, 1, "float")
        whole = surroundings(backend, labels, raw, (1, 3, 3), includes_object=False)
        pieces = surroundings(backend, labels, raw, (1, 3, 3), includes_object=False, lines=lines)
        for name, rows in whole.items():
            assert rows.tobytes() == pieces[name].tobytes(), name

    @pytest.mark.parametrize("includes_object", [False, True], ids=["around", "with object"])
    def test_margin_without_reach_along_one_axis(self, backend: Backend, includes_object: bool) -> None:
        """Then no distance is a number: what surrounds the object is the object, and with it nothing."""
        labels, raw = make_labels("boxes", (1, 12, 13)), make_raw((1, 12, 13), 1)
        found = surroundings(backend, labels, raw, (0, 0, 4), includes_object=includes_object)
        sizes = np.bincount(labels.ravel())[1:]
        np.testing.assert_array_equal(found["voxels"][:, 0], 0 if includes_object else sizes)

    def test_usual_margin_stays_in_the_plane(self, backend: Backend) -> None:
        labels = np.zeros((3, 9, 9), np.uint32)
        labels[1, 4, 4] = 1
        found = surroundings(backend, labels, make_raw((3, 9, 9), 1), (1, 30, 30), includes_object=False)
        assert found["voxels"][0, 0] == 80

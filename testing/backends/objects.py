"""Statistics of objects: every quantity equals its definition bit for bit, for any slabs and parts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ...kernels.contract import MEASURES, Backend
from ..labelled_frames import CHANNELS, KINDS, ONE_CHANNEL, assert_exact, make_labels, make_raw, measure
from ..reference import objects as reference

SHAPES = [pytest.param((1, 17, 19), id="2d"), pytest.param((6, 8, 9), id="3d")]
POSITIONS = ("position_sum", "centre", "axis_variance", "radii")
MOMENTS = ("third", "fourth", "skewness", "kurtosis")


def check_object(labels: np.ndarray, raw: np.ndarray, found: dict[str, np.ndarray], i: int) -> None:
    mask = labels == i + 1
    places, values = reference.voxels_of(mask), raw[mask]
    d = places.shape[1]
    of = {name: rows[i] for name, rows in found.items()}
    assert_exact(of["count"], len(places), "count")
    assert_exact(of["low"], places.min(axis=0), "low")
    assert_exact(of["high"], places.max(axis=0) + 1, "high")
    shapes = [("", None)]
    if raw.shape[3] == 1:
        weights = values[:, 0].astype(float).tolist()
        shapes.append(("weighted_", weights))
        assert_exact(of["weight"], reference.add_up(weights), "weight")
        assert_exact(of["smallest_at"], places[values[:, 0].argmin()], "smallest_at")
        assert_exact(of["largest_at"], places[values[:, 0].argmax()], "largest_at")
        principal = None
    else:
        principal = of["principal_scatter"], of["principal_axes"].reshape(raw.shape[3], -1)
        assert_exact(of["principal_variance"], principal[0] / len(places), "principal_variance")
    for prefix, weights in shapes:
        axes = of[f"{prefix}axis_scatter"], of[f"{prefix}axes"].reshape(d, d)
        for name, expected in reference.measure_shape(places, axes, weights).items():
            assert_exact(of[name], expected, f"{name} of {i}")
    labelled = raw[labels > 0][:, 0].astype(float)
    value_range = float(labelled.min()), float(labelled.max())
    assert_exact(of["range_low"], value_range[0], "range_low")
    assert_exact(of["range_high"], value_range[1], "range_high")
    for name, expected in reference.measure_values(values, value_range, principal).items():
        assert_exact(of[name], expected, f"{name} of {i}")


class ObjectSuite:
    """Statistics of objects: every quantity equals its definition bit for bit, for any slabs and parts."""

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize(
        ("channels", "values"), [(1, "uint8"), (1, "float"), (1, "signed"), (1, "constant"), (3, "float")]
    )
    def test_every_quantity_of_objects(
        self, backend: Backend, shape: tuple[int, int, int], kind: str, channels: int, values: str
    ) -> None:
        labels, raw = make_labels(kind, shape), make_raw(shape, channels, values)
        groups = ONE_CHANNEL if channels == 1 else CHANNELS
        found = measure(backend, labels, raw, groups)
        assert set(found) == {quantity for group in groups for quantity in MEASURES[group]} | {"boxes"}
        for i in range(int(labels.max())):
            check_object(labels, raw, found, i)

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize(("lines", "parts"), [(1, 1), (2, 3), (5, 2), (100, 7)])
    def test_slabs_and_parts_change_nothing(
        self, backend: Backend, shape: tuple[int, int, int], lines: int, parts: int
    ) -> None:
        labels, raw = make_labels("blobs", shape), make_raw(shape, 1, "float")
        whole, pieces = (
            measure(backend, labels, raw, ONE_CHANNEL, **how) for how in ({}, {"lines": lines, "parts": parts})
        )
        for name, rows in whole.items():
            assert rows.tobytes() == pieces[name].tobytes(), name

    def test_many_objects_on_many_threads(self, backend: Backend) -> None:
        """More labels than share a thread."""
        labels = np.arange(1, 4097, dtype=np.uint32).reshape(1, 64, 64)
        raw = make_raw((1, 64, 64), 1)
        found = measure(backend, labels, raw, ONE_CHANNEL, lines=7, parts=5)
        np.testing.assert_array_equal(found["count"], 1)
        np.testing.assert_array_equal(found["mean"][:, 0], raw.reshape(-1))

    def test_only_what_was_asked_for(self, backend: Backend) -> None:
        labels = make_labels("blobs", (1, 9, 9))
        found = measure(backend, labels, np.empty((1, 9, 9, 0), np.float32), frozenset({"bounds"}))
        assert set(found) == {*MEASURES["bounds"], "boxes"}

    def test_one_voxel(self, backend: Backend) -> None:
        labels = np.zeros((1, 3, 4), np.uint32)
        labels[0, 1, 2] = 1
        found = measure(backend, labels, np.full((1, 3, 4, 1), 5, np.float32), ONE_CHANNEL)
        assert found["variance"][0, 0] == 0
        assert math.isnan(found["skewness"][0, 0])
        assert math.isnan(found["kurtosis"][0, 0])
        assert found["radii"].tolist() == [[0, 0]]
        assert found["axes"].tolist() == [[1, 0, 0, 1]]
        assert found["quantiles"].tolist() == [[5.0] * 7]
        assert found["boxes"].tolist() == [[0, 1, 2, 1, 2, 3]]

    @pytest.mark.parametrize("value", [0, 3, 200, 255])
    def test_range_of_one_value(self, backend: Backend, value: int) -> None:
        """Above 127 the range is empty in double: every voxel counts as below it, and quantiles are NaN."""
        labels, raw = np.ones((1, 2, 3), np.uint32), np.full((1, 2, 3, 1), value, np.float32)
        found = measure(backend, labels, raw, ONE_CHANNEL)
        if value < 128:
            assert found["histogram"][0, 0] == 6
            np.testing.assert_allclose(found["quantiles"][0], value, atol=1e-12)
        else:
            assert not found["histogram"].any()
            assert np.isnan(found["quantiles"][0, 1:-1]).all()
        assert found["quantiles"][0, [0, -1]].tolist() == [value, value]

    def test_weights_that_cancel(self, backend: Backend) -> None:
        """A running sum of weights that passes zero ends in no numbers, not in an error."""
        labels = np.ones((1, 1, 4), np.uint32)
        raw = np.array([1, -2, 1, 3], np.float32).reshape(1, 1, 4, 1)
        found = measure(backend, labels, raw, ONE_CHANNEL)
        assert found["weight"][0, 0] == 3
        check_object(labels, raw, found, 0)

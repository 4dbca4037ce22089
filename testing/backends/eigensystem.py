"""Axes of objects diagonalise the scatter, largest first, with ilastik's signs."""

from __future__ import annotations

import numpy as np
import pytest

from ...kernels.contract import Backend
from ..labelled_frames import CHANNELS, ONE_CHANNEL, make_labels, make_raw, measure
from ..reference import objects as reference

AXES = frozenset({"bounds", "axes"})
NO_RAW = 0


def axes_of(backend: Backend, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = measure(backend, labels, np.empty((*labels.shape, NO_RAW), np.float32), AXES)
    return found["axis_scatter"], found["axes"]


def check(scatter: np.ndarray, values: np.ndarray, vectors: np.ndarray) -> None:
    scale = max(1.0, float(np.abs(scatter).max()))
    assert (np.diff(values) <= 0).all()
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(len(values)), atol=1e-12)
    np.testing.assert_allclose(scatter @ vectors, vectors * values, atol=1e-12 * scale)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(scatter)[::-1], atol=1e-12 * scale)


class EigensystemSuite:
    """Axes of objects diagonalise the scatter, largest first, with ilastik's signs."""

    @pytest.mark.parametrize("kind", ["blobs", "boxes", "scattered"])
    @pytest.mark.parametrize("shape", [(1, 20, 21), (6, 9, 10)], ids=["2d", "3d"])
    def test_axes_of_positions(self, backend: Backend, shape: tuple[int, int, int], kind: str) -> None:
        labels = make_labels(kind, shape)
        values, vectors = axes_of(backend, labels)
        d = values.shape[1]
        for i in range(len(values)):
            places = reference.voxels_of(labels == i + 1)
            check(reference.running_scatter(places), values[i], vectors[i].reshape(d, d))

    @pytest.mark.parametrize("channels", [2, 3, 5])
    def test_axes_of_channels(self, backend: Backend, channels: int) -> None:
        labels, raw = make_labels("blobs", (1, 16, 16)), make_raw((1, 16, 16), channels, "float")
        found = measure(backend, labels, raw, CHANNELS)
        for i in range(int(labels.max())):
            scatter = reference.running_scatter(raw[labels == i + 1])
            check(scatter, found["principal_scatter"][i], found["principal_axes"][i].reshape(channels, channels))

    @pytest.mark.parametrize(
        ("rows", "expected"),
        [
            (["1110", "1110", "1111", "0001"], [0.7855106, 0.6188482, 0.6188482, -0.7855106]),
            (["100", "100", "111", "001", "001"], [0.5847103, -0.8112422, 0.8112422, 0.5847103]),
            (["0111110", "1100011", "1100011", "0111110"], [-1, 0, 0, 1]),
            (["1"], [1, 0, 0, 1]),
        ],
        ids=["bent", "zigzag", "ring", "one voxel"],
    )
    def test_signs_of_principal_axes_are_ilastiks(
        self, backend: Backend, rows: list[str], expected: list[float]
    ) -> None:
        labels = np.zeros((1, 10, 12), np.uint32)
        for y, row in enumerate(rows):
            labels[0, 1 + y, 1 : 1 + len(row)] = [int(v) for v in row]
        np.testing.assert_allclose(axes_of(backend, labels)[1][0], expected, atol=5e-8)

    def test_values_that_are_no_numbers(self, backend: Backend) -> None:
        """Nothing hangs, and the object beside stays as it is."""
        labels = np.zeros((1, 3, 8), np.uint32)
        labels[0, :, :3], labels[0, :, 5:] = 1, 2
        raw = make_raw((1, 3, 8), 1)
        clean = measure(backend, labels, raw, ONE_CHANNEL)
        raw[0, 1, 1] = np.nan
        found = measure(backend, labels, raw, ONE_CHANNEL)
        assert np.isnan(found["weighted_centre"][0]).all()
        assert np.isnan(found["weighted_radii"][0]).all()
        for name in ("weighted_axes", "weighted_axis_third", "mean", "kurtosis"):
            np.testing.assert_array_equal(found[name][1], clean[name][1])

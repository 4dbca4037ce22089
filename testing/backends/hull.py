"""Bounding box as hull, and its defects."""

from __future__ import annotations

import numpy as np
import pytest

from ...kernels.contract import Backend
from ..labelled_frames import KINDS, boxes_of, make_labels
from ..reference import objects as reference


def hulls_of(backend: Backend, labels: np.ndarray, ranges: list[tuple[int, int]] | None = None) -> np.ndarray:
    count, d = int(labels.max()), 2 if labels.shape[0] == 1 else 3
    places = [reference.voxels_of(labels == i + 1) for i in range(count)]
    centres = np.array([[float(column.sum()) / len(p) for column in p.T] for p in places])
    out = np.empty((count, 9 + 3 * d))
    for first, stop in ranges or [(0, count)]:
        counts = np.array([float(len(p)) for p in places])
        backend.objects.hull_features(labels, boxes_of(labels), centres, counts, first, stop, out)
    return out


class HullSuite:
    """Bounding box as hull, and its defects."""

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("shape", [(1, 18, 17), (6, 8, 7)], ids=["2d", "3d"])
    def test_every_column(self, backend: Backend, shape: tuple[int, int, int], kind: str) -> None:
        labels = make_labels(kind, shape)
        found = hulls_of(backend, labels)
        for i, row in enumerate(found):
            expected = np.array(reference.measure_hull(labels, i + 1))
            exact = np.ones(len(row), np.bool_)
            exact[8] = False  # a sum of distances, for which the reference uses math.dist
            np.testing.assert_array_equal(row[exact], expected[exact], err_msg=f"object {i + 1}")
            np.testing.assert_allclose(row[8], expected[8], rtol=1e-14)

    def test_ranges_of_objects_do_not_change_hulls(self, backend: Backend) -> None:
        labels = make_labels("blobs", (1, 18, 17))
        count = int(labels.max())
        pieces = hulls_of(backend, labels, [(i, i + 1) for i in reversed(range(count))])
        np.testing.assert_array_equal(pieces, hulls_of(backend, labels))

    @pytest.mark.parametrize("shape", [(1, 18, 17), (6, 8, 7)], ids=["2d", "3d"])
    def test_part_of_a_frame(self, backend: Backend, shape: tuple[int, int, int]) -> None:
        """Positions are those of the frame, wherever the part begins that contains the objects."""
        inner = make_labels("blobs", shape)
        place = (0, 5, 3) if shape[0] == 1 else (2, 5, 3)
        labels = np.zeros([n + 2 * p for n, p in zip(shape, place, strict=True)], np.uint32)
        labels[tuple(slice(p, p + n) for p, n in zip(place, shape, strict=True))] = inner
        expected = hulls_of(backend, labels)
        boxes, d = boxes_of(labels), expected.shape[1] // 3 - 3
        found = np.empty_like(expected)
        counts, centres = expected[:, 0].copy(), expected[:, 9 : 9 + d].copy()
        backend.objects.hull_features(inner, boxes, centres, counts, 0, len(found), found, place)
        np.testing.assert_array_equal(found, expected)

    def test_full_box_has_no_defects(self, backend: Backend) -> None:
        labels = np.zeros((3, 4, 5), np.uint32)
        labels[1:, 1:3, 2:4] = 1
        (row,) = hulls_of(backend, labels)
        assert row[:9].tolist() == [8, 8, 1, 0, 0, 0, 0, 0, 0]
        assert row[-3:].tolist() == [2, 1, 1]

    def test_many_defects_that_merge(self, backend: Backend) -> None:
        """A comb: its gaps are found one by one and turn out to be one where the comb ends."""
        labels = np.zeros((1, 60, 101), np.uint32)
        labels[0, :, ::2] = 1
        labels[0, -1, 1:-1] = 0
        labels[0, 0] = 1
        (row,) = hulls_of(backend, labels)
        assert row[3:5].tolist() == [1, 50 * 58 + 99]

"""Skeletons of 2-d objects: numbers from recorded cases and ilastik's own routines.

An object's skeleton depends neither on its position nor on its surroundings.
"""

from __future__ import annotations

import numpy as np
import pytest

from ...kernels.contract import Backend
from ..labelled_frames import boxes_of, make_labels

# diameter, distance of the ends, total length, average length, branches, holes, centre, first end, second end
BENT = [4.242641, 3.162278, 7.071068, 1.767767, 4, 0, 2, 2, 4, 4, 3, 1]
ZIGZAG = [4.828427, 4.472136, 4.828427, 2.414214, 2, 0, 8, 3, 9, 5, 7, 1]
RING = [5.828427, 3.605551, 10.65685, 0, 0, 1, 6, 7, 5, 9, 3, 6]
FRAME = [
    "000000000000",
    "011100020000",
    "011100020000",
    "011110022200",
    "000010000200",
    "000000000200",
    "003333300000",
    "033000330000",
    "033000330000",
    "003333300000",
    "000000000000",
]


def skeletons_of(backend: Backend, labels: np.ndarray) -> np.ndarray:
    out = np.full((int(labels.max()), 12), np.nan)
    backend.objects.skeleton_features(labels[None], boxes_of(labels[None]), 0, len(out), out)
    return out


def frame_of(rows: list[str]) -> np.ndarray:
    return np.array([[int(v) for v in row] for row in rows], np.uint32)


class SkeletonSuite:
    """Skeletons of 2-d objects: numbers from recorded cases and ilastik's own routines."""

    def test_recorded_skeletons(self, backend: Backend) -> None:
        np.testing.assert_allclose(skeletons_of(backend, frame_of(FRAME)), [BENT, ZIGZAG, RING], rtol=1e-6)

    def test_part_of_a_frame(self, backend: Backend) -> None:
        """Positions are those of the frame, wherever the part begins that contains the objects."""
        inner = np.zeros((26, 28), np.uint32)
        inner[1:-1, 1:-1] = make_labels("blobs", (1, 24, 26))[0]
        labels = np.zeros((40, 50), np.uint32)
        labels[7:33, 11:39] = inner
        expected = skeletons_of(backend, labels)
        found = np.full(expected.shape, np.nan)
        backend.objects.skeleton_features(inner[None], boxes_of(labels[None]), 0, len(found), found, (0, 7, 11))
        np.testing.assert_array_equal(found, expected)

    @pytest.mark.parametrize("place", [(1, 1), (3, 2), (4, 5)])
    def test_one_voxel_is_its_own_skeleton(self, backend: Backend, place: tuple[int, int]) -> None:
        labels = np.zeros((6, 7), np.uint32)
        labels[place] = 1
        y, x = place
        assert skeletons_of(backend, labels).tolist() == [[0] * 6 + [x, y] * 3]

    @pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (8, 11)])
    def test_frame_that_is_one_object(self, backend: Backend, shape: tuple[int, int]) -> None:
        """There is no boundary at all, so nothing is marked, and nothing fails."""
        assert np.isfinite(skeletons_of(backend, np.ones(shape, np.uint32))).all()

    @pytest.mark.parametrize("kind", ["blobs", "noise", "touching"])
    @pytest.mark.parametrize("shift", [(1, 1), (13, 5)])
    def test_place_and_company_change_nothing(self, backend: Backend, kind: str, shift: tuple[int, int]) -> None:
        """The same objects off the border, with others around them."""
        inner = make_labels(kind, (1, 24, 26), seed=3)[0]
        inner[[0, -1]] = inner[:, [0, -1]] = 0
        present = np.unique(inner[inner > 0])
        labels = np.zeros((60, 55), np.uint32)
        labels[shift[0] : shift[0] + 24, shift[1] : shift[1] + 26] = np.searchsorted(present, inner) + (inner > 0)
        alone = skeletons_of(backend, labels)
        company = labels.copy()
        company[(company == 0) & (np.indices(company.shape).sum(axis=0) % 7 == 0)] = len(present) + 1
        offset = np.array([0] * 6 + [shift[1], shift[0]] * 3)
        compact = (np.searchsorted(present, inner) + (inner > 0)).astype(np.uint32)
        np.testing.assert_array_equal(alone, skeletons_of(backend, compact) + offset)
        np.testing.assert_array_equal(skeletons_of(backend, company)[: len(present)], alone)

    def test_ranges_of_objects_do_not_change_skeletons(self, backend: Backend) -> None:
        labels = make_labels("blobs", (1, 40, 41))[0]
        whole, boxes = skeletons_of(backend, labels), boxes_of(labels[None])
        pieces = np.zeros_like(whole)
        for i in reversed(range(len(whole))):
            backend.objects.skeleton_features(labels[None], boxes, i, i + 1, pieces)
        np.testing.assert_array_equal(pieces, whole)

    def test_long_line(self, backend: Backend) -> None:
        labels = np.zeros((5, 3003), np.uint32)
        labels[2, 1:-1] = 1
        (row,) = skeletons_of(backend, labels)
        assert row[0] == row[1] == row[2] == 3000
        assert row[6:8].tolist() == [1501, 2]

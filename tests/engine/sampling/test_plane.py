"""Samples of a plane: the same whatever boxes the image is read in."""

from __future__ import annotations

import numpy as np
import pytest

from pixelforest.box import Box
from pixelforest.engine.sampling.plane import Plane

SHAPE = (2, 5, 23, 37, 2)
REGIONS = [Box.whole(SHAPE[:4]), Box((1, 1, 3, 4), (2, 4, 20, 33))]


def whole(region: Box) -> np.ndarray:
    return np.arange(np.prod(SHAPE), dtype=np.int32).reshape(SHAPE)


@pytest.mark.parametrize("region", REGIONS, ids=["whole", "part"])
@pytest.mark.parametrize("side", [1, 5, 16, 100])
@pytest.mark.parametrize("shift", [0, 1])
def test_samples_do_not_depend_on_boxes(region: Box, side: int, shift: int) -> None:
    image, plane = whole(region), Plane(region, side)
    pictures = []
    for shape in ((1, 5, 23, 37, 2), (1, 2, 4, 7, 2)):
        picture = np.full((*plane.shape, 2), -1, np.int32)
        for box in Box.whole(SHAPE).split(shape):
            plane.put(box, image[box.slices()], picture, shift=shift)
        pictures.append(picture)
    assert np.array_equal(*pictures)


@pytest.mark.parametrize("region", REGIONS, ids=["whole", "part"])
def test_samples_are_pixels_of_the_middle_plane(region: Box) -> None:
    plane = Plane(region, 10)
    picture = np.zeros((*plane.shape, 2), np.int32)
    plane.put(Box.whole(SHAPE), whole(region), picture)
    t, z, y, x = (int(n) for n in np.unravel_index(picture[0, 0, 0], SHAPE)[:4])
    assert (t, z) == (region.start[0], region.start[1] + region.shape[1] // 2)
    expected = whole(region)[t, z, y : region.stop[2] : plane.step, x : region.stop[3] : plane.step]
    assert np.array_equal(picture, expected)
    assert max(picture.shape[:2]) <= 10


def test_neighbours_are_one_pixel_to_the_right() -> None:
    region = REGIONS[0]
    plane = Plane(region, 10)
    here, there = (np.zeros((*plane.shape, 1), np.int32) for _ in range(2))
    plane.put(Box.whole(SHAPE), whole(region), here)
    plane.put(Box.whole(SHAPE), whole(region), there, shift=1)
    assert plane.neighbours >= plane.shape[1] - 1
    assert (there - here == SHAPE[4])[:, : plane.neighbours].all()

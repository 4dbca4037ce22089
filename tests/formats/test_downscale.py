"""Smaller copies of images: equal to what scikit-image and scipy make, in whatever pieces they are computed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from pixelforest.box import Box
from pixelforest.engine.formats.support.pyramid import halved_shapes, shrink, shrunk_size

TOLERANCE = 1e-12  # sums of float64 in another order
SHAPES = [
    ((64, 75), (32, 37)),
    ((9, 33, 50), (4, 16, 25)),
    ((2, 3), (1, 1)),
    ((1, 7, 5), (1, 3, 2)),
    ((31, 64), (10, 21)),
    ((5, 5), (2, 5)),
]


def shrink_whole(array: np.ndarray, target: tuple[int, ...], piece: int | None = None, **more) -> np.ndarray:
    """Computed box by box; every read must stay in the source."""
    result = np.empty(target, more.get("dtype", array.dtype))

    def read(box: Box) -> np.ndarray:
        assert Box.whole(array.shape).contains(box)
        return array[box.slices()]

    for box in Box.whole(target).split([piece or n for n in target]):
        result[box.slices()] = shrink(
            read, array.shape, target, box, result.dtype, is_labels=more.get("is_labels", False)
        )
    return result


def reference(array: np.ndarray, target: tuple[int, ...], *, is_labels: bool = False) -> np.ndarray:
    """Reference: skimage.transform.resize with anti_aliasing_sigma = factor / 4 (order 1), or order 0 for labels."""
    factors = np.divide(array.shape, target)
    if is_labels:
        return ndimage.zoom(array, 1 / factors, order=0, mode="mirror", grid_mode=True)
    smooth = ndimage.gaussian_filter(array, np.where(factors > 1, factors / 4, 0), mode="mirror")
    return ndimage.zoom(smooth, 1 / factors, order=1, mode="mirror", grid_mode=True)


@pytest.mark.parametrize(("shape", "target"), SHAPES, ids=str)
def test_shrunk_intensities_equal_the_reference(shape, target) -> None:
    array = np.random.default_rng(0).random(shape)
    assert np.abs(shrink_whole(array, target) - reference(array, target)).max() < TOLERANCE


@pytest.mark.parametrize(("shape", "target"), SHAPES, ids=str)
def test_labels_are_picked(shape, target) -> None:
    array = np.random.default_rng(0).integers(0, 1000, shape, np.uint32)
    assert np.array_equal(shrink_whole(array, target, is_labels=True), reference(array, target, is_labels=True))


@pytest.mark.parametrize(("shape", "target"), SHAPES, ids=str)
def test_as_scikit_image(shape, target) -> None:
    transform = pytest.importorskip("skimage.transform", reason="scikit-image is not installed")
    array = np.random.default_rng(0).random(shape)
    sigma = np.where(np.divide(shape, target) > 1, np.divide(shape, target) / 4, 0)
    expected = transform.resize(array, target, 1, anti_aliasing=True, anti_aliasing_sigma=sigma, preserve_range=True)
    assert np.abs(shrink_whole(array, target) - expected).max() < TOLERANCE


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("is_labels", [False, True])
def test_pieces_do_not_show(dtype: str, is_labels: bool) -> None:
    array = (np.random.default_rng(1).random((9, 19, 17)) * 255).astype(dtype)
    whole = shrink_whole(array, (4, 9, 8), is_labels=is_labels)
    for piece in (1, 3, 7):
        assert np.array_equal(shrink_whole(array, (4, 9, 8), piece, is_labels=is_labels), whole)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"])
def test_constant_images_stay(dtype: str) -> None:
    """Weights that add up to a little less than 1 must not make 254 of 255."""
    info = np.iinfo(dtype)
    for value in (info.min, info.max, 0, 7):
        array = np.full((9, 8), value, dtype)
        assert (shrink_whole(array, (4, 4)) == value).all()


def test_integers_are_cut_off() -> None:
    array = np.array([[0, 3], [3, 3]], np.uint8)
    exact = reference(array.astype(float), (1, 1))[0, 0]
    assert shrink_whole(array, (1, 1))[0, 0] == int(exact)
    assert shrink_whole(-array.astype(np.int8), (1, 1))[0, 0] == -int(exact)


def test_what_is_not_finite_stays_where_it_is() -> None:
    array = np.ones((1, 64))
    array[0, 20] = np.nan
    found = shrink_whole(array, (1, 32))
    assert np.isnan(found[0, 9:12]).all()
    assert np.isfinite(found).sum() == 29


def test_sizes_of_levels_are_halved() -> None:
    assert shrunk_size(7, 2) == 3
    assert shrunk_size(1, 4) == 1
    limit = (1, 1, 63, 64, 63)
    assert halved_shapes((2, 3, 10, 50, 60), "tczyx", limit) == [(2, 3, 10, 50, 60)]
    assert halved_shapes((2, 3, 10, 130, 61), "tczyx", limit) == [
        (2, 3, 10, 130, 61),
        (2, 3, 5, 65, 30),
        (2, 3, 2, 32, 15),
    ]
    assert len(halved_shapes((10**15,), "x", (0,))) == 42

"""Thresholding of a frame: recorded objects, worked examples, refused settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pixelforest.engine.errors import InputMismatch, ProjectError, UsageError
from pixelforest.engine.objects.label import label_components
from pixelforest.engine.objects.threshold import threshold_frame
from pixelforest.engine.project.hdf5 import open_project
from pixelforest.engine.project.thresholding import ThresholdSettings, read_thresholding
from pixelforest.engine.resources import Resources
from pixelforest.engine.storage.scratch import Scratch
from pixelforest.kernels.contract import Backend

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
PLENTY = 1 << 28
UNSMOOTHED = ThresholdSettings(min_size=0, low=0.5, high=0.8, sigma=(0, 0, 0))


def threshold(
    maps: np.ndarray,
    settings: ThresholdSettings,
    backend: Backend,
    *,
    drange: tuple[float, float] | None = None,
    voxels: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The label image of maps (z, y, x, c), and the objects' ids in it."""
    shape = maps.shape[:3]
    with Scratch(PLENTY) as scratch:
        found = threshold_frame(
            lambda box: maps[box.slices()], shape, maps.shape[3], settings, drange,
            resources=Resources(backend, 2, PLENTY), scratch=scratch, voxels=voxels,
        )  # fmt: skip
        assert scratch.bytes_in_memory == found.nbytes
        frame = label_components(
            lambda box: found[box.slices()],
            shape,
            found.dtype,
            resources=Resources(backend, 2, scratch.memory_bytes),
            scratch=scratch,
        )
        return found, frame.labels


@pytest.mark.golden
@pytest.mark.parametrize("voxels", [None, 2000], ids=["one slab", "many slabs"])
@pytest.mark.parametrize(
    ("case", "name", "drange"),
    [
        ("obj2d_pred", "pred.h5", None),
        ("obj2d_pred_hyst", "pred.h5", (0.0, 255.0)),
        ("obj2d_pred_ipht", "pred.h5", None),
        ("pcoc2d", "expected/pixel_probabilities.h5", (0.0, 1.0)),
    ],
)
def test_recorded_objects(
    golden_image: Callable[[str, str], np.ndarray],
    backend: Backend,
    case: str,
    name: str,
    drange: tuple[float, float] | None,
    voxels: int | None,
) -> None:
    maps, expected = golden_image(case, name), golden_image(case, "expected/object_identities.h5")
    with open_project(GOLDEN / case / "project.ilp") as file:
        settings = read_thresholding(file)
    _, ids = threshold(maps[0], settings, backend, drange=drange, voxels=voxels)
    np.testing.assert_array_equal(ids, expected[0, ..., 0])
    assert ids.max() > 1


@pytest.fixture(scope="module")
def blocks() -> np.ndarray:
    """(1, 8, 14, 1): a background below 0.41 and blocks of 0.9, 0.7 and 1.0, 0.6, 0.65 and 0.95."""
    y, x = np.mgrid[:8, :14]
    maps = (((37 * x + 17 * y + 5 * x * y) % 41) / 100).astype(np.float32)
    maps[1:4, 1:5] = 0.9
    maps[4:7, 7:13] = 0.7
    maps[5, 9:11] = 1.0
    maps[0:2, 9:12] = 0.6
    maps[6:8, 2:5] = 0.65
    maps[6, 3] = 0.95
    return maps[np.newaxis, ..., np.newaxis]


def test_one_threshold(blocks: np.ndarray, backend: Backend) -> None:
    found, ids = threshold(blocks, replace(UNSMOOTHED, min_size=6, max_size=40), backend)
    assert np.bincount(found.reshape(-1))[1:].tolist() == [6, 12, 18, 6]
    assert [found[0, 0, 9], found[0, 1, 1], found[0, 4, 7], found[0, 6, 2]] == [1, 2, 3, 4]
    np.testing.assert_array_equal(ids, found)


def test_ids_keep_gaps_until_objects_are_numbered(blocks: np.ndarray, backend: Backend) -> None:
    found, ids = threshold(blocks, replace(UNSMOOTHED, method="hysteresis", min_size=2), backend)
    assert np.unique(found).tolist() == [0, 2, 3]
    assert np.unique(ids).tolist() == [0, 1, 2]
    np.testing.assert_array_equal(ids > 0, found > 0)


def test_smoothing_then_the_size_filter(blocks: np.ndarray, backend: Backend) -> None:
    settings = replace(UNSMOOTHED, sigma=(1, 1, 1))
    found, _ = threshold(blocks, settings, backend)
    assert np.bincount(found.reshape(-1))[1:].tolist() == [18, 1, 19, 4]
    found, ids = threshold(blocks, replace(settings, min_size=6, max_size=40), backend)
    assert np.unique(found).tolist() == [0, 1, 3]
    assert ids[0, 0, 1] == 1
    assert ids[0, 4, 8] == 2


def test_both_sizes_are_included(blocks: np.ndarray, backend: Backend) -> None:
    found, _ = threshold(blocks, replace(UNSMOOTHED, min_size=12, max_size=12), backend)
    assert np.unique(found).tolist() == [0, 2]


GROWN = """
    .1 .2 .3 .3 .2  .1 .1 .1 .1
    .2 .6 .7 .6 .55 .6 .7 .6 .2
    .3 .7 .95 .7 .6 .7 .9 .7 .3
    .2 .6 .7 .6 .52 .6 .7 .6 .2
    .1 .2 .3 .3 .2  .3 .3 .2 .1
    .1 .1 .1 .1 .1  .1 .1 .1 .1
"""


def from_text(text: str) -> np.ndarray:
    return np.array([line.split() for line in text.strip().splitlines()], np.float32)


def test_cores_grow_and_keep_their_identity(backend: Backend) -> None:
    maps = from_text(GROWN)[np.newaxis, ..., np.newaxis]
    expected = from_text("""
        0 1 1 1 2 2 2 2 0
        1 1 1 1 2 2 2 2 2
        1 1 1 1 2 2 2 2 2
        1 1 1 1 2 2 2 2 2
        0 1 1 1 2 2 2 2 0
        0 0 0 0 0 0 0 0 0
    """)
    found, ids = threshold(maps, replace(UNSMOOTHED, method="ipht"), backend)
    np.testing.assert_array_equal(found[0], expected)
    np.testing.assert_array_equal(ids[0], expected)
    one, _ = threshold(maps, replace(UNSMOOTHED, method="hysteresis"), backend)
    assert np.bincount(one.reshape(-1))[1:].tolist() == [21]


def test_without_cores_local_maxima_grow(backend: Backend) -> None:
    maps = from_text(GROWN)
    maps[5, 0] = 0.25
    expected = from_text("""
        0 1 1 1 1 2 2 2 0
        1 1 1 1 1 2 2 2 2
        1 1 1 1 2 2 2 2 2
        1 1 1 1 2 2 2 2 2
        0 1 1 1 2 2 2 2 0
        3 0 0 0 0 0 0 0 0
    """)
    settings = replace(UNSMOOTHED, method="ipht", high=0.99)
    found, _ = threshold(maps[np.newaxis, ..., np.newaxis], settings, backend)
    np.testing.assert_array_equal(found[0], expected)
    found, _ = threshold(maps[np.newaxis, ..., np.newaxis], replace(settings, min_size=2), backend)
    np.testing.assert_array_equal(found[0], np.where(expected == 3, 0, expected))


def test_thresholds_are_compared_as_float32(backend: Backend) -> None:
    maps = np.full((1, 1, 3, 1), 0.7, np.float32)
    assert threshold(maps, replace(UNSMOOTHED, low=0.7), backend)[0].all()
    assert not threshold(maps, replace(UNSMOOTHED, low=0.7, strict=True), backend)[0].any()


def test_different_channels_are_added_for_the_final_threshold(backend: Backend) -> None:
    maps = np.zeros((1, 1, 5, 2), np.float32)
    maps[0, 0, :, 0] = [0.3, 0.3, 0.3, 0.3, 0.6]
    maps[0, 0, :, 1] = [0.0, 0.9, 0.3, 0.1, 0.0]
    settings = replace(UNSMOOTHED, method="hysteresis", channel=0, core_channel=1)
    found, _ = threshold(maps, settings, backend)
    assert found.tolist() == [[[0, 1, 1, 0, 0]]]


def test_one_small_sigma_switches_smoothing_off(blocks: np.ndarray, backend: Backend) -> None:
    plain, _ = threshold(blocks, UNSMOOTHED, backend)
    found, _ = threshold(blocks, replace(UNSMOOTHED, sigma=(5, 0.09, 2)), backend)
    np.testing.assert_array_equal(found, plain)
    found, _ = threshold(blocks, replace(UNSMOOTHED, sigma=(0.0, 1, 1)), backend)  # no axis z here
    assert (found != plain).any()


def test_images_too_small_for_the_smoothing_are_refused(backend: Backend) -> None:
    settings = replace(UNSMOOTHED, sigma=(1, 2, 1))
    assert threshold(np.zeros((1, 5, 9, 1), np.float32), settings, backend)[0].shape == (1, 5, 9)
    with pytest.raises(InputMismatch, match=r"4 voxels along y, too few .* sigma 2 needs 5"):
        threshold(np.zeros((1, 4, 9, 1), np.float32), settings, backend)


def test_channels_that_are_missing_are_refused(backend: Backend) -> None:
    with pytest.raises(InputMismatch, match=r"channel 2 \(from 0\), but the prediction maps have 2"):
        threshold(np.zeros((1, 4, 9, 2), np.float32), replace(UNSMOOTHED, channel=2), backend)


def test_the_graph_cut_is_refused_with_alternatives(backend: Backend) -> None:
    with pytest.raises(ProjectError, match=r"graph cut.*Simple, Hysteresis"):
        threshold(np.zeros((1, 4, 9, 1), np.float32), replace(UNSMOOTHED, method="graph cut"), backend)


def test_unknown_methods_are_refused(backend: Backend) -> None:
    with pytest.raises(UsageError, match="'otsu'; known are simple"):
        threshold(np.zeros((1, 4, 9, 1), np.float32), replace(UNSMOOTHED, method="otsu"), backend)

"""Parts of images, which equal the same part of the whole, and the progress of calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.array_inputs import golden_array, load_golden

from pixelforest.engine.errors import UsageError

LOCAL = ("Probabilities", "Simple Segmentation", "Uncertainty", "Features")


class Watched:
    """Array that records what is read of it."""

    def __init__(self, data: np.ndarray) -> None:
        self.data, self.shape, self.dtype = data, data.shape, data.dtype
        self.read: list[tuple[slice, ...]] = []

    def __getitem__(self, place: Any) -> np.ndarray:
        self.read.append(place)
        return self.data[place]


@pytest.mark.parametrize(
    ("project", "file", "part"),
    [
        ("px2d_gray", "raw.png", np.s_[40:41, 7:90]),
        ("px2d_gray", "raw.png", np.s_[-30:, :]),
        ("px2d_rgb", "raw.png", np.s_[60:100, 50:70, :]),
        ("px2dt", "raw_tzyxc.h5/data", np.s_[1:2, :, 20:50, 30:50, :]),
        ("px3d", "raw.h5/data", np.s_[11:12, 5:30, 30:60]),
    ],
    ids=["row", "edge", "rgb", "time", "plane"],
)
def test_a_part_equals_the_same_part_of_the_whole(project: str, file: str, part: tuple[slice, ...]) -> None:
    model, image = load_golden(project), golden_array(project, file)
    whole = model.predict(image, results=LOCAL)
    found = model.predict(image, results=LOCAL, region=part)
    for each, expected in zip(found, whole, strict=True):
        same = expected[part[: expected.ndim]]
        assert each.shape == same.shape
        assert each.tobytes() == same.tobytes()


def test_no_more_than_a_part_and_its_halo_is_read() -> None:
    image = np.tile(golden_array("px2d_gray"), (4, 4))
    watched = Watched(image)
    found = load_golden("px2d_gray").predict(watched, region=np.s_[300:320, 400:420])
    rows = [(each[0].start, each[0].stop) for each in watched.read]
    assert found.shape == (20, 20, 2)
    assert 200 < min(start for start, _ in rows) < 300
    assert 320 < max(stop for _, stop in rows) < 420


def test_objects_of_a_part_are_those_of_the_whole() -> None:
    model, image = load_golden("pcoc2d"), golden_array("pcoc2d")
    whole = model.predict(image, results="Object Identities")
    part = np.s_[50:90, 40:120]
    assert np.array_equal(model.predict(image, results="Object Identities", region=part), whole[part])


def test_objects_are_written_to_given_arrays() -> None:
    model, image = load_golden("pcoc2d"), golden_array("pcoc2d")
    expected = model.predict_objects(image)
    out = tuple(np.zeros_like(each) for each in (expected.labels, expected.predictions, expected.probabilities))
    found = model.predict_objects(image, out=out)
    assert found.labels is out[0]
    assert np.array_equal(out[0], expected.labels)
    assert np.array_equal(out[1], expected.predictions)
    assert np.array_equal(out[2], expected.probabilities)
    assert found.table.row_count == expected.table.row_count > 0
    with pytest.raises(UsageError, match="out has to be a tuple of 3 arrays"):
        model.predict_objects(image, out=out[:2])


def test_a_part_of_a_lazy_image_is_lazy() -> None:
    da = pytest.importorskip("dask.array", reason="Dask is not installed")
    model, image = load_golden("px2d_gray"), golden_array("px2d_gray")
    part = np.s_[30:70, 100:]
    lazy = model.predict(da.from_array(image, chunks=64), region=part)
    assert isinstance(lazy, da.Array)
    assert lazy.compute().tobytes() == model.predict(image)[part].tobytes()


def test_a_part_of_a_dataarray_keeps_its_coordinates() -> None:
    xr = pytest.importorskip("xarray", reason="xarray is not installed")
    image = xr.DataArray(golden_array("px2d_gray"), dims=("y", "x"), coords={"y": np.arange(160) * 0.5})
    part = np.s_[30:70, 100:]
    model = load_golden("px2d_gray")
    found = model.predict(image, region=part)
    assert np.array_equal(found.y, image.y[30:70])
    assert np.array_equal(found.values, model.predict(image).values[part])


@pytest.mark.parametrize(
    ("region", "text"),
    [
        (np.s_[3:9], "a tuple of 2 slices, one for each of the axes yx"),
        (np.s_[3:9, 4], "a tuple of 2 slices"),
        (np.s_[3:9, 300:], r"slice\(300, None, None\) along x contains none of its 200 positions"),
        (np.s_[3:9, ::2], "or leaves some out"),
    ],
)
def test_regions_that_are_none_are_refused(region: Any, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        load_golden("px2d_gray").predict(golden_array("px2d_gray"), region=region)


def test_a_region_has_all_channels() -> None:
    with pytest.raises(UsageError, match=r"all 3 channels are needed; write slice\(None\) for c"):
        load_golden("px2d_rgb").predict(golden_array("px2d_rgb"), region=np.s_[:9, :9, :2])


@pytest.mark.parametrize(
    ("project", "region"),
    [("px2d_gray", None), ("px2d_gray", np.s_[9:50, :]), ("pcoc2d", None), ("autocontext_2d", None)],
)
def test_progress_ends_at_1(project: str, region: Any) -> None:
    shares: list[float] = []
    load_golden(project).predict(golden_array(project), region=region, on_progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_progress_of_objects_ends_at_1() -> None:
    shares: list[float] = []
    load_golden("pcoc2d").predict_objects(golden_array("pcoc2d"), on_progress=shares.append)
    assert shares[-1] == 1.0


def test_an_error_of_the_receiver_of_progress_ends_the_call() -> None:
    def stop(share: float) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        load_golden("px2d_gray").predict(golden_array("px2d_gray"), on_progress=stop)

"""Arrays of Dask: lazy, and equal to the whole for every chunking."""

from __future__ import annotations

import logging
import pickle
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.array_inputs import golden_array, load_golden
from support.golden import GOLDEN

import pixelforest
from pixelforest.engine.errors import InputMismatch

da = pytest.importorskip("dask.array", reason="Dask is not installed")

PIXELS = ("Probabilities", "Simple Segmentation", "Uncertainty", "Features")


def is_same(lazy: Any, expected: np.ndarray, scheduler: str = "threads") -> bool:
    assert (lazy.shape, lazy.dtype, lazy.ndim) == (expected.shape, expected.dtype, expected.ndim)
    found = lazy.compute(scheduler=scheduler)
    return bool(found.dtype == expected.dtype and found.tobytes() == expected.tobytes())


@st.composite
def chunkings(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Uneven chunks, some of them a single voxel wide; not many, since each is computed with its halo."""
    chunks = []
    for n in shape:
        cuts = sorted(draw(st.sets(st.integers(1, n - 1), max_size=2)) if n > 1 else ())
        chunks.append(tuple(b - a for a, b in zip([0, *cuts], [*cuts, n], strict=True)))
    return tuple(chunks)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("project", "file", "part"),
    [
        ("px2d_gray", "raw.png", np.s_[:90, :110]),
        ("px2d_rgb", "raw.png", np.s_[:90, :110]),
        ("px2dt", "raw_tzyxc.h5/data", np.s_[:, :, :60, :70]),
        ("px3d", "raw.h5/data", np.s_[:24, :30, :40]),
        ("px3d_mixed", "raw.h5/data", np.s_[:18, :40, :44]),
    ],
    ids=["gray", "rgb", "time", "volume", "mixed"],
)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_chunking_equals_the_whole(project: str, file: str, part: Any, data: st.DataObject) -> None:
    model, image = load_golden(project), golden_array(project, file)[part]
    expected = model.predict(image, results=PIXELS)
    lazy = model.predict(da.from_array(image, chunks=data.draw(chunkings(image.shape))), results=PIXELS)
    assert [is_same(each, other) for each, other in zip(lazy, expected, strict=True)] == [True] * len(PIXELS)


@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_every_chunking_of_autocontext_equals_the_whole(data: st.DataObject) -> None:
    model, image = load_golden("autocontext_2d"), golden_array("autocontext_2d")[:90, :110]
    names = ("Probabilities Stage 2", "Simple Segmentation Stage 1", "Probabilities All Stages", "Input Stage 1")
    expected = model.predict(image, results=names)
    lazy = model.predict(da.from_array(image, chunks=data.draw(chunkings(image.shape))), results=names)
    assert all(map(is_same, lazy, expected))


def test_channels_may_be_anywhere_and_in_chunks() -> None:
    model, image = load_golden("px2d_rgb"), golden_array("px2d_rgb")
    expected = model.predict(image, results=PIXELS[:2])
    moved = da.from_array(image, chunks=(50, 60, 1)).transpose(2, 1, 0)
    p, segmentation = model.predict(moved, axes="cxy", results=PIXELS[:2])
    assert p.chunks[0] == (2,) or p.chunks[0] == (p.shape[0],)
    assert np.array_equal(p.compute().transpose(2, 1, 0), expected[0])
    assert np.array_equal(segmentation.compute().T, expected[1])


@pytest.mark.parametrize("lazy_mask", [False, True])
def test_masks_of_other_chunks(lazy_mask: bool) -> None:
    model, image, mask = load_golden("px2d_mask"), golden_array("px2d_mask"), golden_array("px2d_mask", "mask.png")
    expected = model.predict(image, mask=mask)
    given_mask = da.from_array(mask, chunks=(33, 70)) if lazy_mask else mask
    assert is_same(model.predict(da.from_array(image, chunks=(64, 50)), mask=given_mask), expected)


def test_annotations_need_the_whole_image() -> None:
    """A training image is recognised by its voxels."""
    model, image = load_golden("px2d_gray"), da.from_array(golden_array("px2d_gray"), chunks=(64, 50))
    with pytest.raises(InputMismatch, match=r"Labels depends on the whole image.* with out"):
        model.predict(image, results="Labels")
    out = np.zeros((160, 200), np.uint8)
    model.predict(image, results="Labels", out=out)
    assert out.any()
    assert np.array_equal(out, model.predict(golden_array("px2d_gray"), results="Labels"))


def test_nothing_is_computed_before_it_is_needed() -> None:
    read: list[Any] = []

    def make(block_info: Any = None) -> np.ndarray:
        read.append(block_info[None]["chunk-location"])
        return np.ones(block_info[None]["chunk-shape"], np.uint8)

    image = da.map_blocks(make, chunks=((100,) * 10, (100,) * 10), dtype=np.uint8, meta=np.empty((0, 0), np.uint8))
    found = load_golden("px2d_gray").predict(image)
    assert read == []
    found[:10, :10].compute(scheduler="sync")
    assert set(read) == {(0, 0), (0, 1), (1, 0), (1, 1)}, "the block and its halo"


def test_the_graph_is_a_value(caplog: pytest.LogCaptureFixture) -> None:
    """It can be pickled for other processes; equal calls have equal names; the project is in it once."""
    model, image = load_golden("px2d_gray"), da.from_array(golden_array("px2d_gray"), chunks=40)
    with caplog.at_level(logging.INFO):
        first, second = model.predict(image), model.predict(image)
    assert caplog.text == ""
    assert first.name == second.name != model.predict(image, dtype="float64").name
    pickled = pickle.dumps(first)
    assert len(pickled) < len(pickle.dumps(model)) + 400_000
    assert is_same(pickle.loads(pickled), model.predict(golden_array("px2d_gray")), scheduler="sync")


def test_several_results_are_computed_together() -> None:
    model, image = load_golden("px2d_gray"), da.from_array(golden_array("px2d_gray"), chunks=100)
    found = model.predict(image, results=PIXELS[:2])
    graph = da.Array.__dask_optimize__({**found[0].dask, **found[1].dask}, found[0].__dask_keys__())
    blocks = {key for each in found for key in each.dask if key[0] == found[0].name.rpartition("-")[0]}
    assert len(blocks) == 4
    assert graph


def test_a_dask_array_in_a_dataarray_stays_lazy() -> None:
    xr = pytest.importorskip("xarray")
    model, image = load_golden("px2d_gray"), golden_array("px2d_gray")
    found = model.predict(xr.DataArray(image, dims=("y", "x"), coords={"y": np.arange(160)}).chunk(y=50))
    assert isinstance(found.data, da.Array)
    assert np.array_equal(found.compute(), model.predict(image))
    assert np.array_equal(found.y, np.arange(160))


def test_a_target_is_filled_at_once() -> None:
    model, image = load_golden("px2d_gray"), golden_array("px2d_gray")
    out = np.zeros((160, 200, 2), np.float32)
    assert model.predict(da.from_array(image, chunks=70), out=out) is out
    assert np.array_equal(out, model.predict(image))


def test_objects_are_computed_at_once() -> None:
    model = load_golden("obj2d_seg")
    raw, seg = golden_array("obj2d_seg"), golden_array("obj2d_seg", "seg.png")
    expected = model.predict_objects(raw, segmentation=seg)
    found = model.predict_objects(da.from_array(raw, chunks=70), segmentation=da.from_array(seg, chunks=31))
    assert np.array_equal(found.labels, expected.labels)
    assert np.array_equal(found.probabilities, expected.probabilities)
    with pytest.raises(InputMismatch, match="Object Predictions depends on the whole image"):
        model.predict(da.from_array(raw, chunks=70), segmentation=seg)


def test_the_pixel_stage_of_a_project_for_objects_is_lazy() -> None:
    model, image = load_golden("pcoc2d"), golden_array("pcoc2d")
    names = ("Pixel Probabilities", "Simple Segmentation")
    lazy = model.predict(da.from_array(image, chunks=71), results=names)
    assert all(map(is_same, lazy, model.predict(image, results=names)))


def test_a_task_of_a_cluster_takes_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it is told otherwise, also where the model was loaded elsewhere."""

    def outside() -> None:
        raise ValueError("No worker found")

    path = GOLDEN / "px2d_gray" / "project.ilp"
    monkeypatch.setattr("pixelforest.engine.arrays.model.choose_threads", lambda asked: asked or 8)
    models = [pixelforest.load(path, device="cpu", threads=threads) for threads in (None, 3)]
    models = [pickle.loads(pickle.dumps(model)) for model in models]
    for get_worker, expected in ((outside, [8, 3]), (lambda: "worker", [1, 3]), (outside, [8, 3])):
        monkeypatch.setitem(sys.modules, "distributed", SimpleNamespace(get_worker=get_worker))
        assert [model._resources.threads for model in models] == expected


def test_chunks_of_unknown_size_are_refused() -> None:
    image = da.from_array(golden_array("px2d_gray"), chunks=70)
    unknown = image[image.max(axis=1) > 0]
    with pytest.raises(InputMismatch, match="chunks of unknown size"):
        load_golden("px2d_gray").predict(unknown)

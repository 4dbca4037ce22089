"""DataArrays of xarray in and out, and ilastik's experimental API on them."""

from __future__ import annotations

import numpy as np
import pytest
from support.array_inputs import golden_array, load_golden
from support.golden import GOLDEN

import pixelforest
from pixelforest.engine.errors import InputMismatch, UsageError

xr = pytest.importorskip("xarray", reason="xarray is not installed")


def cells() -> xr.DataArray:
    coords = {"y": np.arange(160) * 0.5, "x": ("x", np.arange(200) * 0.25, {"units": "um"}), "sample": "A1"}
    return xr.DataArray(golden_array("px2d_gray"), dims=("y", "x"), coords=coords, attrs={"source": "microscope"})


def test_dimensions_coordinates_and_attributes_are_kept() -> None:
    model = load_golden("px2d_gray")
    p, segmentation = model.predict(cells(), results=("Probabilities", "Simple Segmentation"))
    assert (p.dims, segmentation.dims) == (("y", "x", "c"), ("y", "x"))
    assert (p.name, segmentation.name) == ("Probabilities", "Simple Segmentation")
    assert list(p.c.values) == ["Background", "Cell"]
    for found in (p, segmentation):
        assert found.attrs == {"source": "microscope"}
        assert found.x.attrs == {"units": "um"}
        assert found.sample == "A1"
        assert np.array_equal(found.y, cells().y)
    assert np.array_equal(p, model.predict(golden_array("px2d_gray")))


def test_dimensions_may_be_in_any_order_and_case() -> None:
    model, rgb = load_golden("px2d_rgb"), golden_array("px2d_rgb")
    expected = model.predict(rgb)
    image = xr.DataArray(rgb, dims=("Y", "X", "C"), coords={"C": ["r", "g", "b"]}).transpose("X", "C", "Y")
    found = model.predict(image)
    assert found.dims == ("X", "C", "Y")
    assert list(found.C.values) == list(model.info.class_names)
    assert np.array_equal(found.transpose("Y", "X", "C"), expected)


def test_other_names_need_axes() -> None:
    model = load_golden("px2d_gray")
    image = cells().rename(y="row", x="column")
    with pytest.raises(UsageError, match=r"the dimensions of image are row, column; rename .* with axes"):
        model.predict(image)
    found = model.predict(image, axes="yx")
    assert found.dims == ("row", "column", "c")
    assert np.array_equal(found.row, image.row)


def test_masks_and_objects() -> None:
    model = load_golden("obj2d_seg")
    raw, seg = golden_array("obj2d_seg"), golden_array("obj2d_seg", "seg.png")
    plain = model.predict_objects(raw, segmentation=seg)
    found = model.predict_objects(xr.DataArray(raw, dims=("y", "x")), segmentation=xr.DataArray(seg.T, dims=("x", "y")))
    assert found.labels.dims == ("y", "x")
    assert found.probabilities.dims == ("y", "x", "c")
    assert list(found.probabilities.c.values) == list(model.info.objects.class_names)
    for name in ("labels", "predictions", "probabilities"):
        assert np.array_equal(getattr(found, name), getattr(plain, name))
    with pytest.raises(UsageError, match="the dimensions of segmentation are a, b"):
        model.predict_objects(raw, segmentation=xr.DataArray(seg, dims=("a", "b")))


def test_tables_are_columns_for_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    raw, seg = golden_array("obj2d_seg"), golden_array("obj2d_seg", "seg.png")
    table = load_golden("obj2d_seg").predict_objects(raw, segmentation=seg).table
    frame = pandas.DataFrame(dict(table))
    assert list(frame.columns) == list(table)
    assert len(frame) == table.row_count
    assert set(frame["Predicted Class"]) <= {"Round", "Long", "Small"}


# ------------------------------------------------------------------------------------------------------- ilastik's API


@pytest.mark.parametrize("order", ["zyx", "xzy", "yxzc", "tzyx"])
def test_probabilities_have_the_axes_of_the_training_image(order: str) -> None:
    volume = golden_array("px3d", "raw.h5/data")
    expected = load_golden("px3d").predict(volume)
    image = xr.DataArray(volume, dims=tuple("zyx"))
    image = image.expand_dims([letter for letter in order if letter not in "zyx"]).transpose(*order)
    found = pixelforest.from_project_file(GOLDEN / "px3d" / "project.ilp").get_probabilities(image)
    assert (found.dims, found.dtype) == (("z", "y", "x", "c"), np.float32)
    assert np.array_equal(found, expected)


def test_missing_axes_have_length_1() -> None:
    """The project was trained on tzyxc."""
    series = golden_array("px2dt", "raw_tzyxc.h5/data")
    pipeline = pixelforest.from_project_file(GOLDEN / "px2dt" / "project.ilp")
    image = xr.DataArray(series[:, 0, :, :, 0], dims=tuple("tyx")).expand_dims("z")
    found = pipeline.get_probabilities(image)
    assert found.dims == tuple("tzyxc")
    assert np.array_equal(found, load_golden("px2dt").predict(series))


def test_autocontext_gives_the_first_stage() -> None:
    raw = golden_array("autocontext_2d")
    image = xr.DataArray(raw, dims=tuple("yxc")[: raw.ndim])
    found = pixelforest.from_project_file(GOLDEN / "autocontext_2d" / "project.ilp").get_probabilities(image)
    assert np.array_equal(found, load_golden("autocontext_2d").predict(raw, results="Probabilities Stage 1"))


def test_refusals_are_those_of_ilastik() -> None:
    pipeline = pixelforest.from_project_file(GOLDEN / "px2d_gray" / "project.ilp")
    with pytest.raises(NotImplementedError, match=r"not an xarray\.DataArray; pixelforest\.load takes other arrays"):
        pipeline.get_probabilities(golden_array("px2d_gray"))
    with pytest.raises(ValueError, match=r"Number of channels mismatch. Classifier trained for 1 but input has 3"):
        pipeline.get_probabilities(xr.DataArray(np.zeros((99, 99, 3)), dims=("y", "x", "c")))
    with pytest.raises(ValueError, match=r"spatial dims doesn't match. Classifier trained for 2 but input has 3"):
        pipeline.get_probabilities(xr.DataArray(np.zeros((9, 99, 99)), dims=("z", "y", "x")))
    with pytest.raises(ValueError, match=r"the dimensions .* are no letters"):
        pipeline.get_probabilities(xr.DataArray(np.zeros((99, 99)), dims=("row", "x")))
    with pytest.raises(InputMismatch, match=r"it is read as tx, .* axes='yx' reads it like the training images"):
        pipeline.model.predict(xr.DataArray(np.zeros((99, 99)), dims=("t", "x")))

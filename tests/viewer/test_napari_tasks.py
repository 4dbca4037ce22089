"""Runs of projects on layers of napari, without a window: what is computed, and the layers that come of it."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.array_inputs import golden_array, load_golden
from support.golden import GOLDEN

import pixelforest
from pixelforest.engine.errors import InputMismatch, UsageError
from pixelforest.frontend.napari_plugin.layers import View, default_results, shown_results, stated_axes
from pixelforest.frontend.napari_plugin.task import LAZY, SAVED, TIME_POINT, VIEW, Cancelled, Order, Task

# Libraries that napari imports warn of each other.
pytestmark = [pytest.mark.napari, pytest.mark.filterwarnings("ignore")]
PIXELS = ("Probabilities", "Simple Segmentation", "Uncertainty")
GRAY = "px2d_gray"


@pytest.fixture
def viewer() -> Any:
    components = pytest.importorskip("napari.components", reason="napari is not installed")
    return components.ViewerModel()


def zoom(layer: Any, *region: slice) -> None:
    """Set what is visible of a layer, as drawing does; the last dimensions are displayed."""
    corners = np.zeros((2, layer.ndim), int)
    corners[:, -len(region) :] = np.array([(each.start, each.stop - 1) for each in region]).T
    layer.corner_pixels = corners


def run(viewer: Any, project: Any, layer: Any, results: tuple[str, ...], scope: str, **more: Any) -> list[Any]:
    model = load_golden(project) if isinstance(project, str) else project
    order = Order(model, layer, results, scope, View.of(viewer), **more)
    found = []
    for data, attributes, kind in Task(order).run():
        found.append(
            viewer.add_labels(data, **attributes) if kind == "labels" else viewer.add_image(data, **attributes)
        )
    return found


def test_the_current_view_equals_that_part_of_the_whole(viewer: Any) -> None:
    image = golden_array(GRAY)
    layer = viewer.add_image(image, name="cells", scale=(0.5, 0.25), translate=(7, 9), units=("um", "um"))
    zoom(layer, slice(30, 70), slice(50, 110))
    background, cell, segmentation, uncertainty = run(viewer, GRAY, layer, PIXELS, VIEW)
    expected = load_golden(GRAY).predict(image, results=PIXELS)
    part = np.s_[30:70, 50:110]
    assert np.array_equal(background.data, expected[0][part][..., 0])
    assert np.array_equal(cell.data, expected[0][part][..., 1])
    assert np.array_equal(segmentation.data, expected[1][part])
    assert np.array_equal(uncertainty.data, expected[2][part])
    for each in (cell, segmentation, uncertainty):
        assert each.scale.tolist() == [0.5, 0.25]
        assert each.translate.tolist() == [7 + 30 * 0.5, 9 + 50 * 0.25]
        assert each.units == layer.units


def test_classes_have_the_projects_names_and_colours(viewer: Any, tmp_path: Path) -> None:
    colours = [[10, 200, 30], [250, 40, 160]]
    project = tmp_path / "project.ilp"
    shutil.copy(GOLDEN / GRAY / "project.ilp", project)
    with h5py.File(project, "r+") as file:
        file["PixelClassification/LabelColors"][:, :3] = colours
    layer = viewer.add_image(golden_array(GRAY), name="cells")
    background, cell, segmentation, _ = run(viewer, pixelforest.load(project, device="cpu"), layer, PIXELS, TIME_POINT)
    names = ["cells Probabilities: Background", "cells Probabilities: Cell"]
    assert [each.name for each in (background, cell)] == names
    assert (cell.blending, tuple(cell.contrast_limits)) == ("additive", (0, 1))
    top = [each.colormap.map(np.array([1.0]))[0, :3] for each in (background, cell)]
    assert [np.round(255 * each).astype(int).tolist() for each in top] == colours
    for number, colour in enumerate(colours, 1):
        assert np.allclose(segmentation.get_color(number)[:3], np.array(colour) / 255)
    assert segmentation.features["class"].tolist() == ["", "Background", "Cell"]
    at = np.argwhere(segmentation.data == 2)[0]
    assert "class: Cell" in segmentation.get_status(at, world=True)["coordinates"]


def test_rotated_and_sheared_layers_lead_to_the_same_place(viewer: Any) -> None:
    layer = viewer.add_image(golden_array(GRAY), scale=(2, 3), rotate=30, shear=[0.4], translate=(5, 6))
    layer.affine = [[1, 0.2, 4], [0, 1.5, 8], [0, 0, 1]]
    zoom(layer, slice(30, 70), slice(50, 110))
    (found,) = run(viewer, GRAY, layer, ("Uncertainty",), VIEW)
    for corner in ((0, 0), (39, 0), (20, 59)):
        assert np.allclose(found.data_to_world(corner), layer.data_to_world(np.add(corner, (30, 50))))


@pytest.mark.parametrize("order", ["zyx", "xzy"])
def test_the_current_view_of_a_volume_is_a_plane(viewer: Any, order: str) -> None:
    volume = golden_array("px3d", "raw.h5/data")
    layer = viewer.add_image(
        np.transpose(volume, ["zyx".index(a) for a in order]), axis_labels=tuple(order), scale=(2, 1, 1)
    )
    viewer.dims.set_point(0, 22)
    zoom(layer, slice(5, 30), slice(10, 40))
    found = run(viewer, "px3d", layer, ("Probabilities",), VIEW)
    whole = load_golden("px3d").predict(layer.data, axes=order)
    assert found[1].data.shape == (1, 25, 30)
    assert np.array_equal(found[1].data, whole[11:12, 5:30, 10:40, 1])
    assert found[1].translate.tolist() == [22, 5, 10]


def test_the_current_view_of_a_layer_with_levels_is_in_full_resolution(viewer: Any) -> None:
    image = golden_array(GRAY)
    layer = viewer.add_image([image, image[::2, ::2], image[::4, ::4]], multiscale=True)
    layer._data_level = 1
    zoom(layer, slice(20, 40), slice(30, 60))
    (found,) = run(viewer, GRAY, layer, ("Uncertainty",), VIEW)
    assert found.data.shape == (40, 60)
    assert np.array_equal(found.data, load_golden(GRAY).predict(image, results="Uncertainty")[40:80, 60:120])
    with pytest.raises(UsageError, match="has several resolutions"):
        run(viewer, GRAY, layer, ("Uncertainty",), LAZY)


def test_a_layer_beside_the_view_is_refused(viewer: Any) -> None:
    layer = viewer.add_image(golden_array(GRAY), name="cells")
    zoom(layer, slice(159, 160), slice(199, 200))
    with pytest.raises(UsageError, match="nothing of the layer cells is visible"):
        run(viewer, GRAY, layer, PIXELS, VIEW)


def test_colour_pictures_keep_their_channels(viewer: Any) -> None:
    image = golden_array("px2d_rgb")
    layer = viewer.add_image(image, rgb=True)
    zoom(layer, slice(10, 40), slice(20, 70))
    found = run(viewer, "px2d_rgb", layer, ("Probabilities",), VIEW)
    expected = load_golden("px2d_rgb").predict(image)[10:40, 20:70]
    assert [each.data.tobytes() for each in found] == [expected[..., i].tobytes() for i in range(expected.shape[-1])]


def test_results_are_the_same_for_all_channels_of_a_slider(viewer: Any) -> None:
    image = np.moveaxis(golden_array("px2d_rgb"), -1, 0)
    layer = viewer.add_image(image, name="stack", axis_labels=("c", "y", "x"))
    zoom(layer, slice(10, 40), slice(20, 70))
    found = run(viewer, "px2d_rgb", layer, ("Simple Segmentation",), VIEW)
    expected = load_golden("px2d_rgb").predict(image, axes="cyx", results="Simple Segmentation")[10:40, 20:70]
    assert found[0].data.shape == (3, 30, 50)
    assert all(np.array_equal(plane, expected) for plane in found[0].data)


def test_the_current_time_point_is_that_of_the_slider(viewer: Any) -> None:
    image = golden_array("px2dt", "raw_tyx.h5/data")
    layer = viewer.add_image(image, axis_labels=("t", "y", "x"), scale=(3, 1, 1))
    viewer.dims.set_point(0, 3)
    (found,) = run(viewer, "px2dt", layer, ("Uncertainty",), TIME_POINT)
    whole = load_golden("px2dt").predict(image, axes="tyx", results="Uncertainty")
    assert np.array_equal(found.data, whole[1:2])
    assert found.translate.tolist() == [3, 0, 0]


def test_a_lazy_layer_is_computed_where_it_is_shown(viewer: Any) -> None:
    image = golden_array("px2dt", "raw_tyx.h5/data")
    layer = viewer.add_image(image, axis_labels=("t", "y", "x"))
    background, *_, segmentation = run(viewer, "px2dt", layer, ("Probabilities", "Simple Segmentation"), LAZY)
    expected = load_golden("px2dt").predict(image, axes="tyx", results=("Probabilities", "Simple Segmentation"))
    assert background.data.dask is not None
    assert background.data.chunks[0] == (1,) * len(image)
    assert np.array_equal(background.data[1].compute(), expected[0][1, ..., 0])
    assert np.array_equal(segmentation.data.compute(), expected[1])


def test_objects_come_with_their_table(viewer: Any) -> None:
    image = golden_array("pcoc2d")
    layer = viewer.add_image(image, name="cells")
    zoom(layer, slice(30, 70), slice(50, 110))
    results = ("Object Identities", "Object Predictions", "Object Probabilities", "Pixel Probabilities")
    identities, predictions, *probabilities = run(viewer, "pcoc2d", layer, results, VIEW)
    expected = load_golden("pcoc2d").predict_objects(image)
    assert np.array_equal(identities.data, expected.labels)
    assert np.array_equal(predictions.data, expected.predictions)
    assert [each.name.partition(": ")[2] for each in probabilities[:2]] == ["A", "B"]
    assert probabilities[-1].data.shape == (40, 60)
    number = int(identities.data[identities.data > 0][0])
    row = identities.features[identities.features["index"] == number]
    assert row["Predicted Class"].tolist() == [expected.table["Predicted Class"][number - 1]]
    assert set(expected.table) <= set(identities.features.columns)
    at = np.argwhere(identities.data == number)[0]
    assert f"Predicted Class: {row['Predicted Class'].item()}" in identities.get_status(at)["coordinates"]


def test_objects_of_all_time_points_have_numbers_of_their_own(viewer: Any) -> None:
    raw, seg = (golden_array("obj2dt_seg", f"{name}.h5/data") for name in ("raw", "seg"))
    layer, inputs = viewer.add_image(raw), {"segmentation": viewer.add_labels(seg)}
    viewer.dims.set_point(0, 2)
    expected = load_golden("obj2dt_seg").predict_objects(raw, segmentation=seg)
    (one,) = run(viewer, "obj2dt_seg", layer, ("Object Identities",), TIME_POINT, inputs=inputs)
    assert np.array_equal(one.data, expected.labels[2:])
    assert set(one.features["timestep"]) == {2}
    (every,) = run(viewer, "obj2dt_seg", layer, ("Object Identities",), LAZY, inputs=inputs)
    assert np.unique(every.data).tolist() == [0, *every.features["index"]]
    sizes = np.bincount(every.data.ravel())[every.features["index"]]
    assert sizes.tolist() == every.features["Size in pixels"].tolist()
    assert every.features["timestep"].tolist() == expected.table["timestep"].tolist()


def test_prediction_maps_may_be_a_stack_of_layers(viewer: Any) -> None:
    raw, maps = golden_array("obj2d_pred", "raw.h5/data"), golden_array("obj2d_pred", "pred.h5/data")
    layer = viewer.add_image(raw)
    expected = load_golden("obj2d_pred").predict_objects(raw, prediction=maps)
    stack = np.moveaxis(maps, -1, 0)
    da = pytest.importorskip("dask.array")
    for data in (maps, stack, da.from_array(stack, chunks=(1, 50, 50))):
        inputs = {"prediction": viewer.add_image(data, rgb=False)}
        (found,) = run(viewer, "obj2d_pred", layer, ("Object Predictions",), VIEW, inputs=inputs)
        assert np.array_equal(found.data, expected.predictions)
    assert found.data.any()


def test_saved_results_are_ome_zarr_with_levels(viewer: Any, tmp_path: Path) -> None:
    image = np.tile(golden_array(GRAY), (4, 4))
    layer = viewer.add_image(image, name="many cells", scale=(0.5, 0.25), translate=(7, 9), units=("um", "um"))
    found = run(viewer, GRAY, layer, ("Probabilities", "Simple Segmentation"), SAVED, folder=tmp_path)
    expected = load_golden(GRAY).predict(image, results=("Probabilities", "Simple Segmentation"))
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "many_cells_Probabilities.zarr",
        "many_cells_Simple_Segmentation.zarr",
    ]
    assert np.array_equal(found[1].data[0].compute(), expected[0][..., 1])
    assert np.array_equal(found[2].data.compute(), expected[1])
    assert [each.shape for each in found[1].data] == [(640, 800), (320, 400)]
    assert found[2].translate.tolist() == [7, 9]
    from pixelforest.engine.arrays.stores import StoredLevel

    info = StoredLevel(tmp_path / "many_cells_Probabilities.zarr")._reader.info
    assert (info.resolution["y"], info.resolution["x"]) == (0.5, 0.25)
    assert info.axis_units["x"] == "micrometer"
    task = Task(Order(load_golden(GRAY), layer, ("Probabilities",), SAVED, View.of(viewer), folder=tmp_path))
    assert task.existing_files() == [tmp_path / "many_cells_Probabilities.zarr"]
    run(viewer, GRAY, layer, ("Probabilities",), SAVED, folder=tmp_path, may_replace=True)


def test_saved_objects_have_their_table(viewer: Any, tmp_path: Path) -> None:
    raw, seg = (golden_array("obj2dt_seg", f"{name}.h5/data") for name in ("raw", "seg"))
    layer, inputs = viewer.add_image(raw, name="cells"), {"segmentation": viewer.add_labels(seg)}
    (found,) = run(viewer, "obj2dt_seg", layer, ("Object Identities",), SAVED, inputs=inputs, folder=tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["cells_Object_Identities.zarr"]
    data = found.data[0] if found.multiscale else found.data
    sizes = np.bincount(np.asarray(data).ravel())[found.features["index"]]
    assert sizes.tolist() == found.features["Size in pixels"].tolist()


@pytest.mark.parametrize("scope", [VIEW, SAVED])
def test_a_cancelled_run_leaves_nothing(viewer: Any, tmp_path: Path, scope: str) -> None:
    layer = viewer.add_image(np.tile(golden_array(GRAY), (4, 4)))
    task = Task(Order(load_golden(GRAY), layer, PIXELS, scope, View.of(viewer), folder=tmp_path))
    task.cancel()
    with pytest.raises(Cancelled):
        task.run()
    assert list(tmp_path.iterdir()) == []


def test_progress_and_warnings_are_those_of_the_run(viewer: Any) -> None:
    image = golden_array("obj2d_seg")
    layer, empty = viewer.add_image(image), viewer.add_labels(np.zeros_like(image))
    order = Order(
        load_golden("obj2d_seg"), layer, ("Object Identities",), VIEW, View.of(viewer), inputs={"segmentation": empty}
    )
    task = Task(order)
    assert task.share == 0
    thread = threading.Thread(target=task.run)
    thread.start()
    thread.join()
    assert task.share == 1
    assert any("has no objects" in line for line in task.warnings)


def test_what_does_not_fit_is_refused_before_the_run(viewer: Any) -> None:
    layer = viewer.add_image(np.zeros((3, 40, 40, 40)))
    for results, text in ((("Probabilities",), "axes"), ((), "choose at least one result")):
        with pytest.raises((InputMismatch, UsageError), match=text):
            Task(Order(load_golden(GRAY), layer, results, VIEW, View.of(viewer)))


def test_axes_are_those_of_the_labels_of_a_layer(viewer: Any) -> None:
    zeros = np.zeros((2, 5, 6))
    assert stated_axes(viewer.add_image(zeros)) is None
    assert stated_axes(viewer.add_image(zeros, axis_labels=("T", "Y", "X"))) == "tyx"
    assert stated_axes(viewer.add_image(zeros, axis_labels=("time", "y", "x"))) is None
    assert stated_axes(viewer.add_image(np.zeros((5, 6, 3)), rgb=True, axis_labels=("y", "x"))) == "yxc"


def test_results_that_are_no_pictures_are_not_offered() -> None:
    autocontext = shown_results(load_golden("autocontext_2d").results)
    assert autocontext[0] == "Probabilities Stage 2"
    assert not [name for name in autocontext if name.startswith(("Features", "Labels", "Input")) or "All" in name]
    assert default_results(shown_results(load_golden(GRAY).results)) == ("Probabilities",)
    assert default_results(shown_results(load_golden("pcoc2d").results)) == ("Object Identities", "Object Predictions")


def test_every_offered_result_becomes_a_layer(viewer: Any) -> None:
    for project in ("autocontext_2d", "pcoc2d"):
        layer = viewer.add_image(golden_array(project), rgb=golden_array(project).ndim == 3)
        results = shown_results(load_golden(project).results)
        found = run(viewer, project, layer, results, TIME_POINT)
        assert {each.metadata["pixelforest"] for each in found} == set(results)

"""The form in napari, with Qt's offscreen platform and a viewer without a window."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.array_inputs import golden_array, load_golden
from support.golden import GOLDEN

from pixelforest.frontend.napari_plugin.task import SAVED, SCOPES, VIEW

# Libraries that napari imports warn of each other.
pytestmark = [pytest.mark.napari, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    pytest.importorskip("napari", reason="napari is not installed")
    widgets = pytest.importorskip("qtpy.QtWidgets", reason="Qt is not installed")
    return widgets.QApplication.instance() or widgets.QApplication([])


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Notifications that the form has shown, as (kind, text)."""
    texts: list[tuple[str, str]] = []
    for kind in ("error", "info", "warning"):
        name = f"pixelforest.frontend.napari_plugin.widget.show_{kind}"
        monkeypatch.setattr(name, lambda text, kind=kind: texts.append((kind, text)))
    return texts


@pytest.fixture
def form(app: Any, shown: list[tuple[str, str]]) -> Any:
    from napari.components import ViewerModel

    from pixelforest.frontend.napari_plugin.widget import RunWidget

    return RunWidget(ViewerModel())


def choose_project(form: Any, name: str) -> None:
    form.project.setText(str(GOLDEN / name / "project.ilp"))
    form.project.editingFinished.emit()
    form.device.setCurrentText("cpu")


def wait(app: Any, form: Any) -> None:
    """Handle events until the run has ended; pytest has a time limit."""
    while form._task is not None:
        app.processEvents()
        time.sleep(0.01)


def check_results(form: Any, *names: str) -> None:
    from qtpy.QtCore import Qt

    for i in range(form.results.count()):
        item = form.results.item(i)
        item.setCheckState(Qt.CheckState.Checked if item.text() in names else Qt.CheckState.Unchecked)


def test_a_project_runs_on_a_layer(app: Any, form: Any, shown: list[tuple[str, str]]) -> None:
    assert not form.run_button.isEnabled()
    image = golden_array("px2d_gray")
    form._viewer.add_image(image, name="cells")
    choose_project(form, "px2d_gray")
    assert "Background, Cell" in form.note.text()
    assert form.chosen_results() == ("Probabilities",)
    assert form.scope.currentText() == SCOPES[0] == VIEW
    check_results(form, "Probabilities", "Simple Segmentation")
    for _ in range(2):  # the second run replaces the layers of the first
        form.run_button.click()
        assert not form.run_button.isEnabled()
        assert form.cancel_button.isEnabled()
        wait(app, form)
    names = [layer.name for layer in form._viewer.layers]
    results = ("Probabilities: Background", "Probabilities: Cell", "Simple Segmentation")
    assert names == ["cells", *(f"cells {each}" for each in results)]
    expected = load_golden("px2d_gray").predict(image, results="Simple Segmentation")
    assert np.array_equal(form._viewer.layers[-1].data, expected)
    assert "s on CPU" in form.note.text()
    assert shown == []


def test_a_run_keeps_what_was_changed_of_its_layers(app: Any, form: Any) -> None:
    form._viewer.add_image(golden_array("px2d_gray"), name="cells")
    choose_project(form, "px2d_gray")
    form.run()
    wait(app, form)
    first = form._viewer.layers[1]
    first.visible, first.opacity = False, 0.25
    form._viewer.layers.move(1, 3)
    form.run()
    wait(app, form)
    names = [layer.name for layer in form._viewer.layers]
    assert names == ["cells", "cells Probabilities: Cell", "cells Probabilities: Background"]
    last = form._viewer.layers[-1]
    assert last is not first
    assert (last.visible, last.opacity) == (False, 0.25)


def test_further_inputs_are_rows_of_projects_that_have_them(app: Any, form: Any) -> None:
    image = golden_array("obj2d_seg")
    segmentation = load_golden("px2d_gray").predict(image, results="Simple Segmentation")
    form._viewer.add_image(image, name="cells")
    form._viewer.add_labels(segmentation, name="foreground")
    choose_project(form, "px2d_gray")
    visible = {name for name, box in form.inputs.items() if box.isVisibleTo(form)}
    assert visible == {"mask"}
    choose_project(form, "obj2d_seg")
    assert {name for name, box in form.inputs.items() if box.isVisibleTo(form)} == {"segmentation", "atlas"}
    assert form.chosen_results() == ("Object Predictions", "Object Identities")
    form.inputs["segmentation"].setCurrentText("foreground")
    form.run()
    wait(app, form)
    identities = form._viewer.layers["cells Object Identities"]
    expected = load_golden("obj2d_seg").predict_objects(image, segmentation=segmentation)
    assert np.array_equal(identities.data, expected.labels)
    assert len(identities.features) == expected.table.row_count


def test_the_choice_of_a_layer_survives_changes_of_the_list(form: Any) -> None:
    layers = [form._viewer.add_image(np.zeros((9, 9)), name=name) for name in "abc"]
    form.layer.setCurrentText("b")
    layers[1].name = "z"
    form._viewer.layers.remove(layers[0])
    form._viewer.add_image(np.zeros((9, 9)), name="d")
    assert form.layer.currentText() == "z"
    assert form.layer.currentData() is layers[1]
    form._viewer.layers.remove(layers[1])
    assert [form.layer.itemText(i) for i in range(form.layer.count())] == ["c", "d"]


def test_cancel_ends_a_run(app: Any, form: Any, shown: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    form._viewer.add_image(golden_array("px2d_gray"), name="cells")
    choose_project(form, "px2d_gray")
    from pixelforest.frontend.napari_plugin.task import Task

    compute = Task._compute

    def compute_once_cancelled(task: Task) -> Any:
        assert task._cancelled.wait(60)
        return compute(task)

    monkeypatch.setattr(Task, "_compute", compute_once_cancelled)
    form.run()
    form.cancel_button.click()
    wait(app, form)
    assert shown == [("info", "cancelled")]
    assert len(form._viewer.layers) == 1
    assert form.run_button.isEnabled()


def test_a_run_ends_when_napari_is_closed(app: Any, form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    form._viewer.add_image(golden_array("px2d_gray"), name="cells")
    choose_project(form, "px2d_gray")
    from napari.qt.threading import WorkerBase

    from pixelforest.frontend.napari_plugin.task import Cancelled, Task

    run, ends = Task.run, []

    def run_until_left(task: Task) -> Any:
        while not task.is_left():
            time.sleep(0.01)
        try:
            return run(task)
        except Exception as error:
            ends.append(error)
            raise

    monkeypatch.setattr(Task, "run", run_until_left)
    form.run()
    WorkerBase.await_workers()
    assert [type(error) for error in ends] == [Cancelled]


def test_errors_are_one_line(app: Any, form: Any, shown: list[tuple[str, str]], tmp_path: Path) -> None:
    form.project.setText(str(tmp_path / "none.ilp"))
    form.project.editingFinished.emit()
    assert not form.run_button.isEnabled()
    choose_project(form, "px2d_gray")
    form.run()
    form._viewer.add_image(np.zeros((4, 30, 40, 3), np.uint8), rgb=True)
    form.run()
    form.axes.setText("zyxq")
    form.run()
    kinds, texts = zip(*shown, strict=True)
    assert set(kinds) == {"error"}
    assert [text.splitlines() for text in texts] == [[text] for text in texts]
    parts = ("none.ilp", "there is no image layer", "axes", "axes='zyxq' is no axis order")
    assert [part in text for part, text in zip(parts, texts, strict=True)] == [True] * 4


def test_errors_of_the_run_are_one_line(
    app: Any, form: Any, shown: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    form._viewer.add_image(golden_array("px2d_gray"))
    choose_project(form, "px2d_gray")

    def fail(task: Any) -> None:
        raise OSError("the disk\nis gone")

    monkeypatch.setattr("pixelforest.frontend.napari_plugin.task.Task._compute", fail)
    form.run()
    wait(app, form)
    assert shown == [("error", "the disk is gone")]


def test_results_are_saved_in_a_folder(
    app: Any, form: Any, shown: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form._viewer.add_image(golden_array("px2d_gray"), name="cells")
    choose_project(form, "px2d_gray")
    form.scope.setCurrentText(SAVED)
    asked: list[list[Path]] = []
    monkeypatch.setattr(form, "_ask_for_folder", lambda: tmp_path)
    monkeypatch.setattr(form, "_ask_to_replace", lambda files: asked.append(files) or len(asked) == 2)
    store = tmp_path / "cells_Probabilities.zarr"
    form.run()
    wait(app, form)
    first = store.stat().st_ino
    form.run()  # refused
    assert form._task is None
    assert store.stat().st_ino == first
    form.run()
    wait(app, form)
    assert asked == [[store], [store]]
    assert [each.name for each in tmp_path.iterdir()] == [store.name]
    assert shown == []


def test_the_manifest_names_the_form(app: Any) -> None:
    npe2 = pytest.importorskip("npe2", reason="npe2 is not installed")
    import pixelforest
    from pixelforest.frontend.napari_plugin.widget import RunWidget

    folder = Path(str(pixelforest.__file__)).parent / "frontend" / "napari_plugin"
    manifest = npe2.PluginManifest.from_file(folder / "napari.yaml")
    manifest.validate_imports()
    (command,) = manifest.contributions.commands
    assert manifest.name == "pixelforest"
    assert manifest.contributions.widgets[0].command == command.id
    assert command.python_name == f"{RunWidget.__module__}:{RunWidget.__name__}"

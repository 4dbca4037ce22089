"""Form beside napari's viewer: what is run is chosen here, a ``Task`` does it, and its layers are added."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from napari.qt.threading import create_worker
from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ...engine.arrays.arguments import ROLES, as_argument
from ...engine.arrays.model import Model, load
from ...engine.messages import describe_error
from .layers import LayerData, View, default_results, shown_results
from .task import SAVED, SCOPES, Cancelled, Order, Task

if TYPE_CHECKING:
    from napari.viewer import Viewer

logger = logging.getLogger("pixelforest.napari")

_PERIOD_MS = 100  # of the progress bar


class RunWidget(QWidget):
    """Runs a trained project on a layer of the viewer."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._model: Model | None = None
        self._task: Task | None = None
        self._build()
        events = napari_viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered, events.renamed):
            event.connect(self._list_layers)
        self._list_layers()
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._show_progress)
        self._show_state()

    # ------------------------------------------------------------------------------------------------------- the form

    def _build(self) -> None:
        self.project = QLineEdit()
        self.project.setPlaceholderText("a trained ilastik project, .ilp")
        self.project.editingFinished.connect(self._load)
        browse = QPushButton("Browse…")
        browse.clicked.connect(self._browse)
        row = QHBoxLayout()
        row.addWidget(self.project)
        row.addWidget(browse)
        self.layer = QComboBox()
        self.axes = QLineEdit()
        self.axes.setPlaceholderText("as in the project; else letters such as tzyx")
        self.inputs = {name: QComboBox() for name in ROLES}
        self.results = QListWidget()
        self.results.setMaximumHeight(120)
        self.scope, self.device = QComboBox(), QComboBox()
        self.scope.addItems(SCOPES)
        self.device.addItems(["auto", "cpu", "cuda"])
        self.device.currentTextChanged.connect(self._load)
        self.run_button, self.cancel_button = QPushButton("Run"), QPushButton("Cancel")
        self.run_button.clicked.connect(self.run)
        self.cancel_button.clicked.connect(self.cancel)
        self.bar = QProgressBar()
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.note.setTextFormat(Qt.TextFormat.PlainText)  # names of files and classes are no HTML
        self._form = QFormLayout()
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._form.addRow("project", row)
        self._form.addRow("image", self.layer)
        self._form.addRow("axes", self.axes)
        for name, box in self.inputs.items():
            self._form.addRow(name, box)
        for name, widget in (("results", self.results), ("scope", self.scope), ("device", self.device)):
            self._form.addRow(name, widget)
        buttons = QHBoxLayout()
        buttons.addWidget(self.run_button)
        buttons.addWidget(self.cancel_button)
        layout = QVBoxLayout(self)
        layout.addLayout(self._form)
        layout.addLayout(buttons)
        layout.addWidget(self.bar)
        layout.addWidget(self.note)
        layout.addStretch()

    def _browse(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Project", self.project.text(), "ilastik projects (*.ilp)")
        if path:
            self.project.setText(path)
            self._load()

    def _load(self) -> None:
        """Load the project of the form and list its results and inputs."""
        path = self.project.text().strip()
        chosen = self.chosen_results()
        self._model = None
        if path:
            try:
                self._model = load(path, device=self.device.currentText())
                self.note.setText(_describe(self._model))
            except Exception as error:
                self._show_error(error)
        self.results.clear()
        if self._model is not None:
            names = shown_results(self._model.results)
            checked = set(chosen) & set(names) or set(default_results(names))
            for name in names:
                item = QListWidgetItem(name, self.results)
                item.setCheckState(Qt.CheckState.Checked if name in checked else Qt.CheckState.Unchecked)
        self._show_state()

    def _list_layers(self) -> None:
        """List the viewer's layers in the form; what was chosen stays."""
        layers = self._viewer.layers
        _fill(self.layer, {each.name: each for each in layers if isinstance(each, Image)})
        for box in self.inputs.values():
            _fill(box, {"": None} | {each.name: each for each in layers if isinstance(each, Image | Labels)})

    def _show_state(self) -> None:
        """Show the rows that the project has, and enable what can be done now."""
        roles = () if self._model is None else self._model.project.roles
        for name, box in self.inputs.items():
            is_input = any(role in roles for role in ROLES[name])
            for widget in (box, self._form.labelForField(box)):
                widget.setVisible(is_input)
        is_running = self._task is not None
        self.run_button.setEnabled(self._model is not None and not is_running)
        self.cancel_button.setEnabled(is_running)
        self.bar.setVisible(is_running)

    def chosen_results(self) -> tuple[str, ...]:
        """Names of the results that are checked."""
        items = [self.results.item(i) for i in range(self.results.count())]
        return tuple(item.text() for item in items if item.checkState() == Qt.CheckState.Checked)

    # -------------------------------------------------------------------------------------------------------- the run

    def run(self) -> None:
        """Start what the form describes, in a thread."""
        if self._model is None or self._task is not None:
            return
        try:
            task = self._make_task(self._model)
        except Exception as error:
            self._show_error(error)
            return
        if task is None:
            return
        self._task = task
        self._show_state()
        self._show_progress()
        self._timer.start(_PERIOD_MS)
        worker = create_worker(_run, task)
        worker.returned.connect(self._finish)
        task.is_left = lambda: bool(worker.abort_requested)  # napari is being closed
        worker.start()

    def _make_task(self, model: Model) -> Task | None:
        """Make the task of the form; None if the user does not want it after all. Raises PixelforestError."""
        layer = self.layer.currentData()
        if layer is None:
            show_error("there is no image layer; open an image first")
            return None
        roles = model.project.roles
        inputs = {name: box.currentData() for name, box in self.inputs.items() if set(ROLES[name]) & set(roles)}
        order = Order(
            model=model,
            layer=layer,
            results=self.chosen_results(),
            scope=self.scope.currentText(),
            view=View.of(self._viewer),
            axes=self.axes.text().strip(),
            inputs={name: each for name, each in inputs.items() if each is not None},
        )
        if order.scope != SAVED:
            return Task(order)
        folder = self._ask_for_folder()
        if folder is None:
            return None
        task = Task(order.in_folder(folder))
        if not task.existing_files():
            return task
        if not self._ask_to_replace(task.existing_files()):
            return None
        return Task(order.in_folder(folder, may_replace=True))

    def _ask_for_folder(self) -> Path | None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of the results")
        return Path(folder) if folder else None

    def _ask_to_replace(self, files: list[Path]) -> bool:
        text = "Replace these results?\n\n" + "\n".join(file.name for file in files)
        return bool(QMessageBox.question(self, "pixelforest", text) == QMessageBox.StandardButton.Yes)

    def cancel(self) -> None:
        """End the run at its next tile; nothing of it is kept."""
        if self._task is not None:
            self._task.cancel()
            self.cancel_button.setEnabled(False)

    def _show_progress(self) -> None:
        if self._task is not None:
            self.bar.setValue(round(100 * self._task.share))

    def _finish(self, outcome: tuple[list[LayerData], Exception | None]) -> None:
        """Take the layers of a run, or the error that ended it."""
        layers, error = outcome
        task, self._task = self._task, None
        assert task is not None
        self._timer.stop()
        self._show_state()
        for line in task.warnings:
            show_warning(line)
        if isinstance(error, Cancelled):
            show_info("cancelled")
        elif error is not None:
            self._show_error(error)
        else:
            for each in layers:
                _add(self._viewer, *each)
            self.note.setText(f"{task.seconds:.1f} s on {task.order.model.device}")

    def _show_error(self, error: Exception) -> None:
        logger.debug("the error came from here", exc_info=error)
        text = describe_error(error, _spell)
        self.note.setText(text)
        show_error(text)


def _run(task: Task) -> tuple[list[LayerData], Exception | None]:
    """Run a task in a thread; returns its layers and its error, of which napari would show a traceback if raised."""
    try:
        return task.run(), None
    except Exception as error:
        return [], error


def _spell(setting: str) -> str:
    """Spell a setting in a message: the rows of the form are named as arguments."""
    return "logging at level DEBUG" if setting == "debug" else as_argument(setting)


def _describe(model: Model) -> str:
    info = model.info
    classes = info.class_names if info.objects is None else info.objects.class_names
    return f"{model.project.workflow}; classes: {', '.join(classes)}"


def _fill(box: QComboBox, choices: Mapping[str, Any]) -> None:
    """Replace the choices of a box, by name; the one that was chosen remains, if it is among them."""
    before = box.currentData()
    box.clear()
    for name, value in choices.items():
        box.addItem(name, value)
    values = list(choices.values())
    if any(value is before for value in values):
        box.setCurrentIndex(next(i for i, value in enumerate(values) if value is before))


def _add(viewer: Viewer, data: Any, attributes: dict[str, Any], kind: str) -> None:
    """Add a layer, or replace the one of an earlier run with the same name, in its place."""
    name, index = attributes["name"], None
    if name in viewer.layers and "pixelforest" in viewer.layers[name].metadata:
        old = viewer.layers[name]
        index = viewer.layers.index(old)
        attributes = attributes | {"visible": old.visible, "opacity": old.opacity}
        viewer.layers.remove(old)
    added = viewer.add_labels(data, **attributes) if kind == "labels" else viewer.add_image(data, **attributes)
    if index is not None:
        viewer.layers.move(viewer.layers.index(added), index)

"""Draw docs/images/napari.png: the plugin in napari, with results of a recorded project for the current view.

Needs napari with Qt and a display, such as that of Xvfb: ``xvfb-run python docs/build_napari_picture.py [picture]``.
Facts about the layers are printed as JSON; a test reads them.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from npe2 import PluginManager, PluginManifest
from PIL import Image
from qtpy.QtCore import Qt

import pixelforest

DOCS = Path(__file__).resolve().parent
CASE = DOCS.parent / "tests" / "golden" / "px2d_gray"
SIZE = (1280, 800)
CheckState = Qt.CheckState
RESULTS = ("Probabilities", "Simple Segmentation")


def wait_until(is_true: Callable[[], bool]) -> None:
    """Let napari work until a condition holds."""
    while not is_true():
        napari.qt.get_qapp().processEvents()
        time.sleep(0.01)


def main(picture: Path) -> None:
    """Run the project in a window as a user does, and save a picture of it."""
    manager = PluginManager.instance()
    if "pixelforest" not in manager:  # the checkout is not installed
        folder = Path(pixelforest.__file__).parent / "frontend" / "napari_plugin"
        manager.register(PluginManifest.from_file(folder / "napari.yaml"))
    viewer = napari.Viewer(show=False)
    _, form = viewer.window.add_plugin_dock_widget("pixelforest")
    raw = np.asarray(Image.open(CASE / "raw.png"))
    viewer.add_image(raw, name="cells", scale=(0.5, 0.5), units=("um", "um"))
    viewer.canvas.overlays.scale_bar.visible = True
    viewer.window.show()
    viewer.window.resize(*SIZE)
    form.project.setText(str(CASE / "project.ilp"))
    form.project.editingFinished.emit()
    form.device.setCurrentText("cpu")
    for i in range(form.results.count()):
        item = form.results.item(i)
        item.setCheckState(CheckState.Checked if item.text() in RESULTS else CheckState.Unchecked)
    layer = viewer.layers["cells"]
    before = layer.corner_pixels.tolist()
    viewer.scene.camera.zoom *= 1.6
    wait_until(lambda: layer.corner_pixels.tolist() != before)
    form.run_button.click()
    wait_until(lambda: form.run_button.isEnabled())
    form.project.setText("cells.ilp")  # not the path on the machine that draws
    for name in ("Probabilities: Background", "Simple Segmentation"):
        viewer.layers[f"cells {name}"].visible = False
    viewer.layers.selection.active = viewer.layers["cells Probabilities: Cell"]
    viewer.scene.camera.zoom /= 1.6
    settled = time.monotonic() + 1
    wait_until(lambda: time.monotonic() > settled)
    viewer.screenshot(str(picture), canvas_only=False, flash=False)
    facts = {each.name: [list(each.data.shape), each.translate.tolist(), each.scale.tolist()] for each in viewer.layers}
    print(json.dumps({"layers": facts, "note": form.note.text()}))
    viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS / "images" / "napari.png")

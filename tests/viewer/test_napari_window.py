"""The plugin in a window of napari, on a display of Xvfb: the picture of docs/napari.md is made again and checked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.array_inputs import golden_array

pytestmark = pytest.mark.napari
SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "build_napari_picture.py"


@pytest.fixture
def display() -> Iterator[str]:
    """Number of a display that nobody sees. The variable XVFB names the program if it is not on the path."""
    program = os.environ.get("XVFB") or shutil.which("Xvfb")
    if program is None:
        pytest.skip("there is no Xvfb (Debian: apt install xvfb libgl1-mesa-dri libxcb-cursor0); XVFB names one")
    reader, writer = os.pipe()
    screen = ("-screen", "0", "1600x1000x24", "-nolisten", "tcp")
    server = subprocess.Popen([program, "-displayfd", str(writer), *screen], pass_fds=(writer,), stderr=subprocess.PIPE)
    os.close(writer)
    try:
        with os.fdopen(reader) as lines:
            number = lines.readline().strip()  # empty if the server has ended
        assert number, server.communicate()[1].decode()
        yield f":{number}"
    finally:
        server.terminate()
        server.communicate()


def test_the_current_view_is_computed_and_shown(display: str, tmp_path: Path) -> None:
    pytest.importorskip("npe2", reason="napari is not installed")
    picture = tmp_path / "napari.png"
    own = {"DISPLAY": display, "QT_QPA_PLATFORM": "xcb", "NAPARI_CONFIG": str(tmp_path / "settings.yaml")}
    done = subprocess.run(
        [sys.executable, SCRIPT, picture], capture_output=True, text=True, env={**os.environ, **own}, timeout=280
    )
    if "Could not load the Qt platform plugin" in done.stderr:
        pytest.skip(f"Qt has no window here: {done.stderr.strip().splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    layers = json.loads(done.stdout)["layers"]
    height, width = golden_array("px2d_gray").shape
    results = [f"cells {name}" for name in ("Probabilities: Background", "Probabilities: Cell", "Simple Segmentation")]
    assert list(layers) == ["cells", *results]
    for name in results:
        shape, translate, scale = layers[name]
        assert scale == [0.5, 0.5]
        assert shape[0] * shape[1] < height * width
        assert shape[0] + translate[0] / 0.5 <= height
        assert shape[1] + translate[1] / 0.5 <= width
    with Image.open(picture) as image:
        red, green, blue = np.moveaxis(np.asarray(image.convert("RGB")).astype(int), -1, 0)
    assert np.count_nonzero((blue - red > 100) & (green - red > 60)) > 5000  # cells, in the colour of their class

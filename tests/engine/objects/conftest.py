"""Recorded images for the object tests of the engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


@pytest.fixture(scope="session")
def golden_image() -> Callable[[str, str], np.ndarray]:
    """Reads <case>/<file> under tests/golden as (t, z, y, x, c)."""

    def read(case: str, name: str) -> np.ndarray:
        path = GOLDEN / case / name
        if path.suffix == ".png":
            image = np.asarray(Image.open(path))
            axes = "yxc"[: image.ndim]
        else:
            with h5py.File(path, "r") as file:
                data = file["exported_data" if "exported_data" in file else "data"]
                axes = "".join(axis["key"] for axis in json.loads(data.attrs["axistags"])["axes"])
                image = data[()]
        image = image.transpose([axes.index(a) for a in "tzyxc" if a in axes])
        lengths = dict(zip([a for a in "tzyxc" if a in axes], image.shape, strict=True))
        return image.reshape([lengths.get(a, 1) for a in "tzyxc"])

    return read

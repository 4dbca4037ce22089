"""An image and writers for it in an object store."""

from __future__ import annotations

from typing import Any

import numpy as np

from pixelforest.engine.formats import output_format
from pixelforest.engine.formats.spec import ImageSpec, ImageWriter

NAMES = ["single-scale OME-Zarr", "multi-scale OME-Zarr", "n5", "compressed n5"]
EXTENSION = {name: "n5" if "n5" in name else "zarr" for name in NAMES}


def image() -> np.ndarray:
    return np.random.default_rng(3).random((2, 5, 40, 60, 2)).astype(np.float32)


def spec_of(array: np.ndarray, **more: Any) -> ImageSpec:
    return ImageSpec(array.shape, array.dtype, "tzyxc", (0,) * 5, **more)


def open_writer(name: str, array: np.ndarray, *, folder: str = "deep/out", **more: Any) -> ImageWriter:
    chosen = output_format(name)
    assert chosen.open_url is not None
    url = f"s3://results/{folder}.{EXTENSION[name]}"
    chosen.check_url(url, "exported_data", spec_of(array, **more))
    return chosen.open_url(url, "exported_data", spec_of(array, **more))

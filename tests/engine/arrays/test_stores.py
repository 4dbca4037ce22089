"""OME-Zarr images as arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.array_inputs import golden_array, load_golden

from pixelforest.engine.arrays.stores import OmeZarrTarget, open_levels
from pixelforest.engine.errors import ExportError

PLACE: dict[str, Any] = {
    "resolution": {"y": 0.5, "x": 0.25},
    "units": {"y": "micrometer", "x": "micrometer"},
    "translation": {"y": 7.0},
}


@pytest.mark.parametrize(
    ("project", "file", "result"),
    [("px2d_gray", "raw.png", "Probabilities"), ("px3d", "raw.h5/data", "Simple Segmentation")],
)
def test_predict_writes_an_image(project: str, file: str, result: str, tmp_path: Path) -> None:
    model, image = load_golden(project), golden_array(project, file)
    seen, plans = model.prepare(image, results=result)
    target = OmeZarrTarget(tmp_path / "a.zarr", plans[result], **PLACE)
    assert model.predict(image, results=result, out=target) is target
    assert list(tmp_path.glob("*.zarr")) == []
    assert target.finish() == tmp_path / "a.zarr"
    largest = open_levels(tmp_path / "a.zarr")[0]
    expected = model.predict(image, results=result)
    z = slice(None) if "z" in seen.axes else 0
    c = slice(None) if result == "Probabilities" else 0
    assert largest.shape == (*seen.shape[:4], plans[result].info.channels)
    assert np.array_equal(largest[0, z, :, :, c], expected)
    assert np.array_equal(largest[0, 0, 5:9, 3:4, 0], expected.reshape(largest.shape[1:])[0, 5:9, 3:4, 0])


def test_smaller_levels_follow_the_largest(tmp_path: Path) -> None:
    model, image = load_golden("px2d_gray"), np.tile(golden_array("px2d_gray"), (4, 4))
    plans = model.prepare(image)[1]
    target = OmeZarrTarget(tmp_path / "a.zarr", plans["Probabilities"], **PLACE)
    model.predict(image, out=target)
    target.finish()
    assert [level.shape for level in open_levels(tmp_path / "a.zarr")] == [(1, 1, 640, 800, 2), (1, 1, 320, 400, 2)]


def test_existing_images_are_replaced_only_if_allowed(tmp_path: Path) -> None:
    model, image = load_golden("px2d_gray"), golden_array("px2d_gray")
    plan = model.prepare(image)[1]["Probabilities"]
    for may_replace in (False, True):
        target = OmeZarrTarget(tmp_path / "a.zarr", plan, may_replace=may_replace, **PLACE)
        model.predict(image, out=target)
        target.finish()
    with pytest.raises(ExportError, match="exists"):
        OmeZarrTarget(tmp_path / "a.zarr", plan, **PLACE)


def test_an_abandoned_image_leaves_nothing(tmp_path: Path) -> None:
    plan = load_golden("px2d_gray").prepare(golden_array("px2d_gray"))[1]["Probabilities"]
    OmeZarrTarget(tmp_path / "a.zarr", plan, **PLACE).abort()
    assert list(tmp_path.iterdir()) == []


def test_a_model_names_its_device() -> None:
    assert load_golden("px2d_gray").device == "CPU"

"""Every recorded run of tests/golden from arrays, without a file: inputs without axes, as NumPy has them."""

from __future__ import annotations

import ast
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.array_inputs import load_golden, read_array
from support.golden import GoldenCase, golden_cases, golden_folders
from support.recorded import Allowed, assert_same_cells, assert_same_values

CASES = [case for folder in golden_folders() for case in golden_cases(folder)]
# Of the training image, which an array is not known to be.
IMAGES = [case for case in CASES if "--table_only" not in case.args and "--export_source=Labels" not in case.args]
TABLES = [case for case in CASES if "--table_only" in case.args]
ARGUMENTS = {
    "--raw_data": "image",
    "--prediction_mask": "mask",
    "--segmentation_image": "segmentation",
    "--prediction_maps": "prediction",
    "--label_image": "labels",
}
RESULTS_OF_OBJECTS = {
    "Object Predictions": "predictions",
    "Object Probabilities": "probabilities",
    "Object Identities": "labels",
}


def arrays_of(case: GoldenCase) -> dict[str, np.ndarray]:
    pairs = zip(case.args, case.args[1:], strict=False)
    return {ARGUMENTS[word]: read_array(case.folder / value) for word, value in pairs if word in ARGUMENTS}


def option(case: GoldenCase, name: str) -> str | None:
    return next((word.split("=", 1)[1] for word in case.args if word.startswith(f"--{name}=")), None)


def assert_recorded(found: np.ndarray, case: GoldenCase) -> None:
    """Compare with each recorded part; results of one value per voxel have no axis c."""
    order, cutout = option(case, "output_axis_order"), option(case, "cutout_subregion")
    if order is not None:
        found = found[:, 0].transpose(["tyxc".index(letter) for letter in order])
    for record in case.outputs:
        with h5py.File(case.folder / record["file"], "r") as file:
            expected = file["exported_data"][()]
        if found.ndim < expected.ndim:
            found = found[..., np.newaxis]
        part = found
        if cutout is not None:
            start, stop = ast.literal_eval(cutout)
            part = found if found.ndim == len(start) else found[:, 0]  # regions leave out axes of length 1
            part = part[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))].reshape(expected.shape)
        if "region" in record:
            y0, x0, y1, x1 = record["region"]
            part = found[y0:y1, x0:x1]
        noisy = record["export_source"].startswith(("Probabilities", "Uncertainty", "Pixel Probabilities"))
        assert_same_values(part, expected, Allowed(forest_noise=noisy, cut=cutout is not None))


@pytest.mark.golden
@pytest.mark.parametrize("case", IMAGES, ids=[case.name for case in IMAGES])
def test_a_recorded_image(case: GoldenCase) -> None:
    model = load_golden(case.folder.name)
    found = model.predict(**arrays_of(case), axes=option(case, "input_axes"), results=option(case, "export_source"))
    assert_recorded(found, case)


@pytest.mark.golden
@pytest.mark.parametrize("case", TABLES, ids=[case.name for case in TABLES])
def test_a_recorded_table_and_its_images(case: GoldenCase, tmp_path: Path) -> None:
    objects = load_golden(case.folder.name).predict_objects(**arrays_of(case))
    objects.table.write(tmp_path / "objects.csv")
    assert_same_cells(tmp_path / "objects.csv", case.folder / case.outputs[0]["file"])
    images = [
        other
        for other in IMAGES
        if other.folder == case.folder and other.outputs[0]["export_source"] in RESULTS_OF_OBJECTS
    ]
    assert len(images) == len(RESULTS_OF_OBJECTS)
    for other in images:
        assert_recorded(getattr(objects, RESULTS_OF_OBJECTS[other.outputs[0]["export_source"]]), other)

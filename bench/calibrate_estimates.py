"""Calibration of the rates in ``engine/tiling/time_model.py``: processor seconds of one thread.

Runs recorded projects on images of smoothed noise, so that trees have decisions to make, warm, with one thread. CPU
time is measured instead of wall time, so that a busy machine changes little. Prints the constants in their source form.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from pixelforest.engine.jobs import Job, Request, resolve_job
from pixelforest.engine.project import ObjectProject, PixelProject
from pixelforest.engine.run.batch import run_batch
from pixelforest.engine.workflows import read_project

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small images, one repeat")
    parser.add_argument("--dry-run", action="store_true", help="only list what would be measured")
    options = parser.parse_args(words)
    side, depth = (256, 32) if options.quick else (1536, 128)
    if options.dry_run:
        print(f"pixels in 2-D ({side} x {side}) and 3-D ({depth}^3), objects in 2-D")
        return 0
    repeats = 1 if options.quick else 3
    with tempfile.TemporaryDirectory(prefix="pixelforest-bench-") as folder:
        os.chdir(folder)
        _measure_pixels("px2d_gray", (side, side, 1), "yxc", repeats)
        _measure_pixels("px3d", (depth, depth, depth, 1), "zyxc", repeats)
        _measure_objects((side, side, 1), repeats)
        os.chdir(GOLDEN)
    return 0


def _measure_pixels(name: str, shape: tuple[int, ...], axes: str, repeats: int) -> None:
    """Measure the forest's share by runs with all stored forests and with the first one alone."""
    project = read_project(GOLDEN / name / "project.ilp")
    assert isinstance(project, PixelProject)
    whole = project.classifier
    first = replace(project, classifier=replace(whole, forests=whole.forests[:1]))
    image, voxels = _put("raw.h5", _blobs(shape), axes), int(np.prod(shape[:-1]))
    job = _job(project=str(project.path), inputs=(image,), export_source="Simple Segmentation")
    with_all, with_one = _time(job, repeats), _time(replace(job, project=first), repeats)
    nothing = _time(_job(project=str(project.path), inputs=(image,), export_source="Labels"), repeats)
    tree = (with_all - with_one) / max(1, whole.tree_count - first.classifier.tree_count) / voxels
    column = ((with_all - nothing) / voxels - whole.tree_count * tree) / whole.column_count
    print(f"{name}: {voxels} voxels, {whole.column_count} columns, {whole.tree_count} trees")
    print(f"  PER_COLUMN_S {column * 1e9:.2f}e-9   PER_TREE_S {tree * 1e9:.2f}e-9")
    print(f"  PER_EXPORTED_VOXEL_S {nothing / voxels * 1e9:.2f}e-9")


def _measure_objects(shape: tuple[int, ...], repeats: int) -> None:
    project = read_project(GOLDEN / "obj2d_seg" / "project.ilp")
    assert isinstance(project, ObjectProject)
    voxels = int(np.prod(shape))
    blobs = _blobs(shape)
    raw, segmentation = _put("raw.h5", blobs, "yxc"), _put("seg.h5", (blobs > 140).astype(np.uint8), "yxc")
    maps = np.concatenate([blobs, 255 - blobs], axis=-1).astype(np.float32) / 255
    inputs = {"raw_data": raw, "segmentation_image": segmentation}
    common = {"inputs_by_role": tuple((role, (path,)) for role, path in inputs.items()), "project": str(project.path)}
    # the project also writes a table for every image
    ids = _time(replace(_job(export_source="Object Identities", **common), table=None), repeats)
    classes = _time(replace(_job(export_source="Object Predictions", **common), table=None), repeats)
    table = _time(_job(table_filename="t.csv", **common), repeats)
    predicted = read_project(GOLDEN / "obj2d_pred" / "project.ilp")
    roles = (("raw_data", (raw,)), ("prediction_maps", (_put("maps.h5", maps, "yxc"),)))
    maps_job = _job(export_source="Object Identities", inputs_by_role=roles, project=str(predicted.path))
    thresholded = _time(maps_job, repeats)
    print(f"objects: {voxels} voxels, features {[len(f) for f in project.features.selected.values()]}")
    print(f"  LABEL_S + PAINT_S {ids / voxels * 1e9:.1f}e-9   MEASURE_S {(classes - ids) / voxels * 1e9:.1f}e-9")
    print(f"  with a table {table / voxels * 1e9:.1f}e-9   THRESHOLD_S {(thresholded - ids) / voxels * 1e9:.1f}e-9")


def _blobs(shape: tuple[int, ...]) -> np.ndarray:
    """Make noise from 0 to 255, blurred by adding neighbours."""
    noise = np.random.default_rng(0).random(shape, np.float32)
    for axis, size in enumerate(shape):
        for step in (1, 2, 4) if size > 8 else ():
            noise = noise + np.roll(noise, step, axis) + np.roll(noise, -step, axis)
    low, high = noise.min(), noise.max()
    return ((noise - low) / (high - low) * 255).astype(np.uint8)


def _put(name: str, values: np.ndarray, axes: str) -> str:
    with h5py.File(name, "w") as file:
        file["data"] = values
        for dimension, letter in zip(file["data"].dims, axes, strict=True):
            dimension.label = letter
    return f"{name}/data"


def _job(**wishes: object) -> Job:
    fields = {"output_format": "hdf5", "output_filename_format": "out.h5", "threads": 1, "device": "cpu"}
    return resolve_job(Request(**(fields | wishes), ignore_training_axistags=True))  # type: ignore[arg-type]


def _time(job: Job, repeats: int) -> float:
    """Measure the processor seconds of a run, the minimum of several."""
    found = []
    for _ in range(repeats + 1):  # the first compiles and loads
        before = time.process_time()
        report = run_batch(job)
        assert report.status == 0, report.message
        found.append(time.process_time() - before)
    return min(found[1:])


if __name__ == "__main__":
    raise SystemExit(main())

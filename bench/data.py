"""Generated images and projects of the bench, the same on every machine, in a folder outside of the repository.

Images are cell-like blobs on an uneven background with shot noise. The projects have every feature of ilastik's dialog
and 100 trees in two stored forests, grown here until the leaves are pure, as ilastik grows them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from cases import Case

from pixelforest import kernels
from pixelforest.box import Box
from pixelforest.engine.inputs.images import open_image
from pixelforest.engine.inputs.lanes import InputOptions
from pixelforest.engine.pixels.feature_plan import plan_features
from pixelforest.engine.project import FeatureSelection, Project
from pixelforest.engine.workflows import read_project

GENERATION = "1"  # of everything below; another number uses another folder
OBJECT_PROJECT = Path(__file__).resolve().parents[1] / "tests" / "golden" / "obj2d_seg" / "project.ilp"
FEATURE_IDS = (
    "GaussianSmoothing",
    "LaplacianOfGaussian",
    "GaussianGradientMagnitude",
    "DifferenceOfGaussians",
    "StructureTensorEigenvalues",
    "HessianOfGaussianEigenvalues",
)
SCALES = (0.3, 0.7, 1.0, 1.6, 3.5, 5.0, 10.0)
# Maximum generated size; larger images repeat and mirror these.
MAX_SIZES = {2: (2048, 2048), 3: (128, 128, 128)}
TRAINED_ON = {2: (512, 512), 3: (64, 64, 64)}
NOISE = 0.5  # share of foreground; about the most runs that a binary frame can have
LABELLED = 5000
FORESTS, TREES_EACH, TREES_QUICK = 2, 50, 5
# Frequency of labels near a cell's edge, relative to clear voxels: yields trees as large as ilastik's on such images,
# 57 nodes in 2-D and 87 in 3-D.
_DOUBTFUL = {2: 0.2, 3: 0.5}
LEAF = 0x40000000
_BLOB_VOXELS = {2: 1400, 3: 9000}  # image voxels for each blob
_FACTORY = """ccopy_reg
_reconstructor
p0
(clazyflow.classifiers.parallelVigraRfLazyflowClassifier
ParallelVigraRfLazyflowClassifierFactory
p1
c__builtin__
object
p2
Ntp3
Rp4
(dp5
VVERSION
p6
I2
sV_num_trees
p7
I100
sV_label_proportion
p8
NsV_variable_importance_path
p9
NsV_variable_importance_enabled
p10
I00
sV_kwargs
p11
(dp12
sV_num_forests
p13
I2
sb."""
_TYPE = "clazyflow.classifiers.parallelVigraRfLazyflowClassifier\nParallelVigraRfLazyflowClassifier\np0\n."
# Read by vigra, which requires all of them; only the number of trees affects predictions.
_OPTIONS = {
    "training_set_proportion_": 1,
    "training_set_size_": 0,
    "mtry_": 0,
    "min_split_node_size_": 1,
    "sample_with_replacement_": 1,
    "prepare_online_learning_": 0,
    "predict_weighted_": 0,
    "training_set_calc_switch_": 1,
    "training_set_func_": 0,
    "stratification_method_": 3,
    "mtry_switch_": 6,
    "mtry_func_": 0,
}


@dataclass(frozen=True)
class Material:
    """Input of a case.

    images    arguments for the command line; none for the start-up
    checksum  of the first image's voxels, 0 without one
    """

    project: Project
    images: tuple[str, ...]
    checksum: int = 0


def prepare(case: Case, options: argparse.Namespace) -> Material:
    """Find or generate the project and the images of a case."""
    folder = data_folder(options.data)
    if options.project is not None:
        project, base = read_project(options.project), _read_input(options.input, read_project(options.project))
        if base.ndim != case.dimensions:
            raise SystemExit(
                f"{options.input} is {base.ndim}-D, the case {case.name} is {case.dimensions}-D; choose --case"
            )
        axes = project.lanes[-1].images["Raw Data"].axes or "zyx"[-base.ndim :]
        key = f"{options.input.stem}-{zlib.crc32(str(options.input.resolve()).encode()):08x}"
        source: Callable[[], np.ndarray] = lambda: base  # noqa: E731
    else:
        kind = f"cells{case.dimensions}d"
        trees = TREES_QUICK if case.name.endswith("quick") else TREES_EACH
        project = _own_project(folder / f"{kind}_{FORESTS * trees}_trees.ilp", case.dimensions, trees)
        axes, key = "zyxc"[-1 - case.dimensions :], kind
        size = tuple(min(a, b) for a, b in zip(case.shape, MAX_SIZES[case.dimensions], strict=False))
        source = lambda: make_cells(size, seed=7 + case.dimensions)[0]  # noqa: E731
    if not case.shape:
        return Material(project, ())
    size_text = "x".join(map(str, case.shape))
    paths = [folder / f"{key}_{size_text}{f'_{i:03}' if case.files > 1 else ''}.h5" for i in range(case.files)]
    if not all(p.exists() for p in paths):
        image = enlarge(source(), case.shape)
        for i, path in enumerate(paths):
            _write_image(path, np.roll(image, 17 * i, axis=-1), axes)
    with h5py.File(paths[0], "r") as file:
        checksum = int(file["data"].attrs["crc32"])
    return Material(project, tuple(f"{p}/data" for p in paths), checksum)


def prepare_objects(case: Case, options: argparse.Namespace) -> tuple[Path, Path, Path]:
    """Find a recorded project with every object feature, and find or generate an image (y, x) and its segmentation."""
    folder, size = data_folder(options.data), "x".join(map(str, case.shape))
    raw, segmentation = (folder / f"objects_{size}_{name}.h5" for name in ("raw", "segmentation"))
    if not (raw.exists() and segmentation.exists()):
        most = tuple(min(n, most) for n, most in zip(case.shape, MAX_SIZES[case.dimensions], strict=True))
        image, inside = make_cells(most, seed=11)
        _write_image(raw, enlarge(image, case.shape), "yxc")
        _write_image(segmentation, enlarge((inside > 0.1).astype(np.uint8), case.shape), "yxc")
    return OBJECT_PROJECT, raw, segmentation


def data_folder(given: Path | None) -> Path:
    """Folder of generated data, created if missing."""
    if given is not None:
        root = given
    elif sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "pixelforest-bench"
    elif sys.platform == "darwin":
        root = Path.home() / "Library" / "Caches" / "pixelforest-bench"
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pixelforest-bench"
    folder = root.resolve() / GENERATION
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def selection(dimensions: int) -> FeatureSelection:
    """Select all 37 features of ilastik's dialog; the smallest scale has only the Gaussian."""
    matrix = tuple(tuple(i == 0 or j > 0 for j in range(len(SCALES))) for i in range(len(FEATURE_IDS)))
    return FeatureSelection(FEATURE_IDS, SCALES, matrix, (dimensions == 2,) * len(SCALES))


# ------------------------------------------------------------------------------------------------------------- images


def make_cells(shape: tuple[int, ...], *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Make an image, uint8, and each voxel's depth inside a cell, float32 from 0 (background) to 1 (middle)."""
    rng = np.random.default_rng(seed)
    inside = np.zeros(shape, np.float32)
    brightness = np.zeros(shape, np.float32)
    largest = 16 if len(shape) == 2 else 12
    for _ in range(max(3, int(np.prod(shape)) // _BLOB_VOXELS[len(shape)])):
        centre = rng.uniform(0, shape)
        radii = rng.uniform(0.4 * largest, largest, len(shape))
        light = rng.uniform(35, 90)
        low = [max(0, int(c - r)) for c, r in zip(centre, radii, strict=True)]
        box = tuple(slice(a, int(c + r) + 2) for a, c, r in zip(low, centre, radii, strict=True))
        axes = np.ogrid[tuple(slice(s.start, min(s.stop, n)) for s, n in zip(box, shape, strict=True))]
        squares = sum(((a - c) / r) ** 2 for a, c, r in zip(axes, centre, radii, strict=True))
        depth = np.clip(1 - squares, 0, 1).astype(np.float32)
        inside[box] = np.maximum(inside[box], depth)
        brightness[box] = np.maximum(brightness[box], light * depth)
    image = 40 + brightness + _background(shape, rng)
    return np.clip(rng.poisson(image), 0, 255).astype(np.uint8), inside


def _background(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Make slow waves across the image, with the same period for every size."""
    waves = np.zeros(shape, np.float32)
    for _ in range(4):
        turn = sum(
            (a * rng.uniform(-1, 1) / 90 for a in np.ogrid[tuple(slice(n) for n in shape)]),
            np.float64(rng.uniform(0, 6)),
        )
        waves += 6 * np.sin(turn)
    return waves


def make_segmentations(case: Case) -> dict[str, np.ndarray]:
    """Make segmentations (z, y, x) uint8 of a case's size: cells, noise, scattered voxels."""
    largest = tuple(min(n, most) for n, most in zip(case.shape, MAX_SIZES[case.dimensions], strict=True))
    _, inside = make_cells(largest, seed=11)
    shape = (1,) * (3 - len(case.shape)) + case.shape
    rng = np.random.default_rng(12)
    return {
        "cells": enlarge((inside > 0.1).astype(np.uint8), case.shape).reshape(shape),
        "noise": (rng.random(shape, np.float32) < NOISE).astype(np.uint8),
        "sparse": (rng.random(shape, np.float32) < 1e-4).astype(np.uint8),
    }


def enlarge(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Crop, or repeat and mirror, an image to a shape."""
    for axis, n in enumerate(shape):
        copies = -(-n // image.shape[axis])
        parts = [np.flip(image, axis) if i % 2 else image for i in range(copies)]
        image = np.concatenate(parts, axis) if copies > 1 else image
        image = image[(slice(None),) * axis + (slice(n),)]
    return np.ascontiguousarray(image)


def _write_image(path: Path, image: np.ndarray, axes: str) -> None:
    """Write a dataset ``data`` with the given axes; axes that the image lacks have length 1."""
    own = "zyx"[-image.ndim :]
    whole = image[(...,) + (np.newaxis,) * len(set(axes) - set(own))]
    names = own + "".join(a for a in axes if a not in own)
    with _new_file(path) as file:
        data = file.create_dataset("data", data=whole.transpose([names.index(a) for a in axes]))
        data.attrs["axistags"] = axistags(axes)
        data.attrs["crc32"] = zlib.crc32(np.ascontiguousarray(image).tobytes())


def _read_input(path: Path, project: Project) -> np.ndarray:
    """Read the first time point and channel of an image, (y, x) or (z, y, x)."""
    training = project.lanes[-1].images.get("Raw Data")
    with open_image(str(path), role_index=0, training=training, options=InputOptions()) as image:
        volume = image.read(Box((0,) * 5, (1, *image.shape[1:4], 1)))[0, ..., 0]
    return np.asarray(volume[0] if volume.shape[0] == 1 else volume)


# ----------------------------------------------------------------------------------------------------------- projects


def _own_project(path: Path, dimensions: int, trees: int) -> Project:
    """Find or write the project with ``trees`` trees in each of its forests."""
    if not path.exists():
        _write_project(path, dimensions, trees)
    return read_project(path)


def _write_project(path: Path, dimensions: int, trees: int) -> None:
    """Train on a generated image, and store everything that ilastik also needs to open the project."""
    shape, axes = TRAINED_ON[dimensions], "zyxc"[-1 - dimensions :]
    image, inside = make_cells(shape, seed=dimensions)
    rng = np.random.default_rng(100 + dimensions)
    labels = _draw_labels(inside, _DOUBTFUL[dimensions], rng)
    features = all_features(image.reshape((1,) * (3 - dimensions) + shape), dimensions)
    places = labels > 0
    matrix, classes = features.reshape(-1, features.shape[3])[places.reshape(-1)], labels[places].astype(np.int64) - 1
    image_path = path.with_name(f"{path.stem}_training.h5")
    _write_image(image_path, image, axes)
    with _new_file(path) as file:
        file["ilastikVersion"], file["workflowName"], file["currentApplet"] = b"1.4.3", b"Pixel Classification", 0
        file["time"] = b"Thu Jan  1 00:00:00 1970"
        _put_input(file, image_path, axes, (*shape, 1))
        _put_selection(file.create_group("FeatureSelections"), dimensions)
        _put_labels(file.create_group("PixelClassification"), labels, axes)
        stored = file.create_group("PixelClassification/ClassifierForests")
        stored["pickled_type"], stored["known_labels"] = _TYPE.encode(), np.array([1, 2], np.uint32)
        for i in range(FORESTS):
            _put_forest(stored.create_group(f"Forest{i:04}"), matrix, classes, trees, rng)
        file["Prediction Export/StorageVersion"] = b"0.1"


def all_features(image: np.ndarray, dimensions: int) -> np.ndarray:
    """Compute every feature of an image (z, y, x) with pixelforest, (z, y, x, f) float32."""
    plan = plan_features(selection(dimensions), channels=1, depth=image.shape[0])
    backend = kernels.load("cpu")
    loaded = backend.pixels.load_plan(plan)
    z, y, x = image.shape
    stack = backend.pixels.feature_stack(
        backend.pixels.to_device(image[np.newaxis]), (0, 0, 0), ((0, 0, 0), (z, y, x)), (z, y, x), loaded
    )
    return np.asarray(backend.pixels.to_host(backend.pixels.features(stack)))


def _draw_labels(inside: np.ndarray, doubtful: float, rng: np.random.Generator) -> np.ndarray:
    """Draw labels 1 (cell) and 2 (background) on scattered voxels, uint8; fewer where the class is ambiguous."""
    labels = np.zeros(inside.shape, np.uint8)
    is_doubtful = (inside > 0) & (inside < 0.25)
    for label, candidates in ((1, inside >= 0.05), (2, inside < 0.02)):
        chance = np.where(is_doubtful, doubtful, 1.0) * candidates
        chosen = rng.choice(inside.size, LABELLED // 2, replace=False, p=(chance / chance.sum()).reshape(-1))
        labels.reshape(-1)[chosen] = label
    return labels


def _put_input(file: h5py.File, image: Path, axes: str, shape: tuple[int, ...]) -> None:
    group = file.create_group("Input Data")
    group["StorageVersion"] = b"0.2"
    group["Role Names"] = np.array([b"Raw Data", b"Prediction Mask"])
    group.create_group("infos/lane0000/Prediction Mask")
    group.create_group("local_data")
    info = group.create_group("infos/lane0000/Raw Data")
    for name, text in {
        "__class__": "RelativeFilesystemDatasetInfo",
        "filePath": f"{image.name}/data",
        "nickname": image.stem,
        "display_mode": "default",
        "axistags": axistags(axes),
    }.items():
        info[name] = text.encode()
    info["allowLabels"], info["normalizeDisplay"], info["shape"] = True, False, np.array(shape, np.int64)


def _put_selection(group: h5py.Group, dimensions: int) -> None:
    chosen = selection(dimensions)
    group["StorageVersion"] = b"0.1"
    group["FeatureIds"] = np.array([i.encode() for i in chosen.ids])
    group["Scales"], group["SelectionMatrix"] = np.array(chosen.scales), np.array(chosen.matrix)
    group["ComputeIn2d"] = np.array(chosen.compute_in_2d)


def _put_labels(group: h5py.Group, labels: np.ndarray, axes: str) -> None:
    group["StorageVersion"], group["ClassifierFactory"] = b"0.1", _FACTORY.encode()
    for name, value in {
        "LabelNames": np.array([b"cell", b"background"]),
        "LabelColors": np.array([[255, 225, 25], [0, 130, 200]]),
        "PmapColors": np.array([[255, 225, 25], [0, 130, 200]]),
    }.items():
        group[name] = value
        group[name].attrs["isEmpty"] = False
    group.create_group("Bookmarks")
    block = group.create_dataset("LabelSets/labels000/block0000", data=labels[..., np.newaxis])
    block.attrs["blockSlice"] = f"[{','.join(f'0:{n}' for n in block.shape)}]"
    block.attrs["axistags"] = axistags(axes)


def _put_forest(
    group: h5py.Group, matrix: np.ndarray, classes: np.ndarray, trees: int, rng: np.random.Generator
) -> None:
    group.attrs["vigra_random_forest_version"] = np.array([0.1])
    for name, value in {**_OPTIONS, "tree_count_": trees}.items():
        group[f"_options/{name}"] = np.array([float(value)])
    rows, columns = matrix.shape
    for name, number in {
        "column_count_": columns,
        "class_count_": 2,
        "row_count_": rows,
        "actual_mtry_": _tried(columns),
        "actual_msample_": rows,
        "problem_type_": 1,
        "is_weighted_": 1,
        "used_": 1,
        "precision_": 0,
        "response_size_": 1,
    }.items():
        group[f"_ext_param/{name}"] = np.array([float(number)])
    group["_ext_param/class_weights_"], group["_ext_param/labels"] = np.ones(2), np.array([1, 2], np.uint32)
    for i in range(trees):
        drawn = rng.integers(rows, size=rows)
        topology, parameters = grow_tree(matrix[drawn], classes[drawn], rng)
        name = f"Tree_{i:0{len(str(trees - 1))}}"
        group[f"{name}/topology"], group[f"{name}/parameters"] = topology, parameters


def grow_tree(matrix: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Grow a tree in vigra's layout: nodes split at the best of a few random columns until leaves are pure."""
    count = int(classes.max()) + 1
    topology, parameters = [matrix.shape[1], count], list[float]()
    waiting: list[tuple[np.ndarray, int | None]] = [(np.arange(len(matrix)), None)]
    while waiting:
        rows, slot = waiting.pop()
        if slot is not None:
            topology[slot] = len(topology)
        votes = np.bincount(classes[rows], minlength=count)
        split = None if votes.max() == len(rows) else _best_split(matrix[rows], classes[rows], count, rng)
        if split is None:
            topology += [LEAF, len(parameters)]
            parameters += [float(len(rows)), *(votes / len(rows)).tolist()]
            continue
        column, threshold = split
        at = len(topology)
        topology += [0, len(parameters), -1, -1, column]
        parameters += [1.0, threshold]
        is_left = matrix[rows, column] < threshold
        waiting += [(rows[is_left], at + 2), (rows[~is_left], at + 3)]
    return np.array(topology, np.int32), np.array(parameters, np.float64)


def _tried(columns: int) -> int:
    return int(np.sqrt(columns) + 0.5)


def _best_split(
    matrix: np.ndarray, classes: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[int, float] | None:
    """Find column and threshold of the lowest Gini impurity; None if no column separates the samples."""
    columns = rng.permutation(matrix.shape[1])
    tried = _tried(len(columns))
    for some in (columns[:tried], columns[tried:]):
        order = np.argsort(matrix[:, some], axis=0, kind="stable")
        values = np.take_along_axis(matrix[:, some], order, axis=0).astype(np.float64)
        left = np.cumsum(np.eye(count)[classes[order]], axis=0)[:-1]
        right = np.bincount(classes, minlength=count) - left
        purity = (left**2).sum(-1) / left.sum(-1) + (right**2).sum(-1) / right.sum(-1)
        middle = (values[1:] + values[:-1]) / 2
        purity[(middle <= values[:-1]) | (middle > values[1:])] = -1
        row, j = np.unravel_index(int(purity.argmax()), purity.shape)
        if purity[row, j] > 0:
            return int(some[j]), float(middle[row, j])
    return None


def axistags(axes: str) -> str:
    """Attribute with the axes of an HDF5 image."""
    flags = {"c": 1, "t": 8}
    keys = [{"key": a, "typeFlags": flags.get(a, 2), "resolution": 0, "description": ""} for a in axes]
    return json.dumps({"axes": keys})


@contextmanager
def _new_file(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file that gets its name only when it is complete."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with h5py.File(temporary, "w") as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)

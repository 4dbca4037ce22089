"""Small hand-made projects, in the layout of each generation of ilastik, for tests to read and to damage."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

LEAF = 0x40000000
FEATURE_IDS = (
    "GaussianSmoothing",
    "LaplacianOfGaussian",
    "GaussianGradientMagnitude",
    "DifferenceOfGaussians",
    "StructureTensorEigenvalues",
    "HessianOfGaussianEigenvalues",
)
SCALES = (0.3, 0.7, 1.6)
# Gaussian at 0.7 and 1.6, Hessian at 1.6: four columns a channel in 2-D, five in 3-D.
SELECTED = ((0, 1), (0, 2), (5, 2))
PARALLEL = "parallelVigraRfLazyflowClassifier\nParallelVigraRfLazyflowClassifier"
ROOT_GROUPS = ("Input Data", "FeatureSelections", "PixelClassification", "Prediction Export")

Node = tuple[Any, ...]  # ("leaf", weight, probabilities) or (column, threshold, left, right)


def leaf(*probabilities: float, weight: float = 1.0) -> Node:
    return ("leaf", weight, probabilities)


def vigra_tree(node: Node, columns: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Topology and parameters of a tree, laid out as vigra does: depth first, right child first."""
    topology, parameters = [columns, classes], []
    waiting: list[tuple[Node, int | None]] = [(node, None)]
    while waiting:
        current, slot = waiting.pop()
        if slot is not None:
            topology[slot] = len(topology)
        if current[0] == "leaf":
            topology += [LEAF, len(parameters)]
            parameters += [current[1], *current[2]]
        else:
            at = len(topology)
            topology += [0, len(parameters), -1, -1, current[0]]
            parameters += [1.0, current[1]]
            waiting += [(current[2], at + 2), (current[3], at + 3)]
    return np.array(topology, np.int32), np.array(parameters, np.float64)


def random_tree(rng: np.random.Generator, columns: int, classes: int, depth: int) -> Node:
    """A tree with mixed leaves: pure ones and fractions."""
    if depth == 0 or rng.random() < 0.15:
        probabilities = np.eye(classes)[rng.integers(classes)] if rng.random() < 0.7 else rng.dirichlet([1.0] * classes)
        return leaf(*probabilities, weight=float(rng.integers(1, 50)))
    return (
        int(rng.integers(columns)),
        float(rng.normal()),
        random_tree(rng, columns, classes, depth - 1),
        random_tree(rng, columns, classes, depth - 1),
    )


def axistags(axes: str) -> str:
    flags = {"c": 1, "t": 8}
    keys = [{"key": a, "typeFlags": flags.get(a, 2), "resolution": 0, "description": ""} for a in axes]
    return json.dumps({"axes": keys})


def put_text(group: h5py.Group, name: str, value: str, style: str = "variable") -> None:
    """A text in one of the types that generations of ilastik and h5py have used."""
    group.pop(name, None) if name in group else None
    if style == "variable":
        group[name] = value
    elif style == "bytes":
        group.create_dataset(name, data=value.encode(), dtype=h5py.string_dtype("ascii"))
    elif style == "fixed":
        group[name] = np.bytes_(value.encode())
    elif style == "void":
        group[name] = np.void(value.encode())
    else:
        raise AssertionError(style)


def put_texts(group: h5py.Group, name: str, values: Sequence[str], style: str = "variable") -> None:
    if name in group:
        del group[name]
    if style == "fixed":
        group[name] = np.array([value.encode() for value in values] or [b""])
    else:
        group.create_dataset(name, data=list(values), dtype=h5py.string_dtype())


def put_forest(
    group: h5py.Group,
    trees: Sequence[Node],
    *,
    columns: int,
    classes: int,
    weighted: bool = False,
    declared: int | None = None,
) -> None:
    group.attrs["vigra_random_forest_version"] = np.array([0.1])
    for name, value in {
        "tree_count_": len(trees) if declared is None else declared,
        "predict_weighted_": weighted,
    }.items():
        group[f"_options/{name}"] = np.array([float(value)])
    for name, value in {"column_count_": columns, "class_count_": classes}.items():
        group[f"_ext_param/{name}"] = np.array([float(value)])
    width = len(str(max(len(trees) - 1, 0)))
    for i, tree in enumerate(trees):
        topology, parameters = vigra_tree(tree, columns, classes)
        group[f"Tree_{i:0{width}}/topology"] = topology
        group[f"Tree_{i:0{width}}/parameters"] = parameters


def put_image(
    file: h5py.File, lane: int, axes: str, shape: Sequence[int] | None, *, role: str = "Raw Data", **texts: str
) -> h5py.Group:
    group = file.require_group(f"Input Data/infos/lane{lane:04}/{role}")
    put_text(group, "axistags", axistags(axes))
    for name, text in {"nickname": f"image {lane}", "filePath": f"./image{lane}.h5/data", **texts}.items():
        put_text(group, name, text)
    if shape is not None:
        group["shape"] = np.array(shape, np.int64)
    return group


def put_labels(
    file: h5py.File, lane: str, block: int, start: Sequence[int], values: np.ndarray, axes: str = ""
) -> None:
    dataset = file.create_dataset(f"PixelClassification/LabelSets/{lane}/block{block:04}", data=values)
    parts = [f"{a}:{a + n}" for a, n in zip(start, values.shape, strict=True)]
    dataset.attrs["blockSlice"] = f"[{','.join(parts)}]"
    if axes:
        dataset.attrs["axistags"] = axistags(axes)


def write_project(
    path: Path,
    *,
    version: str | None = "1.4.3",
    workflow: str | None = "Pixel Classification",
    axes: str = "yxc",
    shape: Sequence[int] | None = (30, 40, 1),
    columns: int = 4,
    classes: int = 2,
    label_names: Sequence[str] | None = ("Background", "Cell"),
    known_labels: Sequence[int] | None = (1, 2),
    forests: Sequence[Sequence[Node]] | None = None,
    compute_in_2d: Sequence[bool] | None = (True, True, True),
    pickled_type: str | None = PARALLEL,
    text_style: str = "variable",
    depth: int = 3,
) -> Path:
    """A complete small project: one lane, two forests of three and two trees unless told otherwise."""
    rng = np.random.default_rng(7)
    if forests is None:
        forests = [[random_tree(rng, columns, classes, depth) for _ in range(n)] for n in (3, 2)]
    list_style = "fixed" if text_style == "fixed" else "variable"
    with h5py.File(path, "w") as file:
        if version is not None:
            put_text(file, "ilastikVersion", version, text_style)
        if workflow is not None:
            put_text(file, "workflowName", workflow, text_style)
        for name in ROOT_GROUPS:
            put_text(file.require_group(name), "StorageVersion", "0.2" if name == "Input Data" else "0.1", text_style)
        put_texts(file["Input Data"], "Role Names", ["Raw Data", "Prediction Mask"], list_style)
        put_image(file, 0, axes, shape)
        file.require_group("Input Data/infos/lane0000/Prediction Mask")

        features = file["FeatureSelections"]
        put_texts(features, "FeatureIds", FEATURE_IDS, list_style)
        features["Scales"] = np.array(SCALES)
        matrix = np.zeros((len(FEATURE_IDS), len(SCALES)), bool)
        for place in SELECTED:
            matrix[place] = True
        features["SelectionMatrix"] = matrix
        if compute_in_2d is not None:
            features["ComputeIn2d"] = np.array(compute_in_2d, bool)

        pixels = file["PixelClassification"]
        if label_names is not None:
            put_texts(pixels, "LabelNames", label_names or [""], list_style)
            pixels["LabelNames"].attrs["isEmpty"] = not label_names
        stored = pixels.create_group("ClassifierForests")
        if pickled_type is not None:
            put_text(stored, "pickled_type", f"clazyflow.classifiers.{pickled_type}\np0\n.", text_style)
        if known_labels is not None:
            stored["known_labels"] = np.array(known_labels, np.uint32)
        for i, trees in enumerate(forests):
            put_forest(stored.create_group(f"Forest{i:04}"), trees, columns=columns, classes=classes)

        export = file["Prediction Export"]
        put_text(export, "OutputFormat", "hdf5", text_style)
        put_text(export, "OutputFilenameFormat", "{dataset_dir}/{nickname}_{result_type}", text_style)
    return path

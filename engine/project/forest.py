"""Trained classifier of a project: random forests as vigra stores them, validated and laid out for prediction.

Every returned tree is valid: one root, every other node with one parent, columns and addresses in range, leaves with
finite numbers. Prediction is decided in ``engine/pixels`` and the kernels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ...frozen import frozen
from ..errors import ClassifierMissing
from .annotations import read_label_names
from .content import ByContent
from .hdf5 import Kind, ProjectFile
from .tree_arrays import StoredTree, TreeError, unpack_trees

GROUP = "PixelClassification"
PARALLEL_FORESTS = "ParallelVigraRfLazyflowClassifier"
SINGLE_FORESTS = ("VigraRfLazyflowClassifier", "VigraRfPixelwiseClassifier")
SCIKIT_LEARN = "SklearnLazyflowClassifier"
# Newest known layout of vigra's forests.
VIGRA_FOREST_VERSION = 0.1
MAX_CLASSES = 1 << 16
MAX_COLUMNS = 1 << 24
MAX_TREES = 1 << 20
# First class reference of a text (protocol 0) pickle. Only read as text: pickles are never loaded.
_CLASS_REFERENCE = re.compile(r"c(lazyflow\.classifiers(?:\.\w+)*)\n(\w+)\n")


@frozen
class StoredForest:
    """One random forest. ``is_weighted``: a leaf's probabilities are multiplied by its weight."""

    name: str
    trees: tuple[StoredTree, ...]
    class_count: int
    column_count: int
    is_weighted: bool


@frozen(eq=False)
class Classifier(ByContent):
    """Forests of a project and the meaning of their classes.

    forests        in name order, equal in classes and columns
    known_labels   label value (from 1) of each class of the forests
    label_names    of all classes of the project; a result has one channel each
    feature_names  as stored, informative; None if not stored. Old files name features differently: never compare
    kind           ilastik's class name of the stored classifier
    averages       True: forests are averaged, each weighted by its number of trees. False: there is one forest, and its
                   prediction is the result, without that multiplication and division
    """

    forests: tuple[StoredForest, ...]
    known_labels: tuple[int, ...]
    label_names: tuple[str, ...]
    feature_names: tuple[str, ...] | None
    kind: str
    averages: bool

    @property
    def class_count(self) -> int:
        """Number of classes of the forests; at most the number of label names."""
        return self.forests[0].class_count

    @property
    def column_count(self) -> int:
        """Number of feature columns the forests were trained on."""
        return self.forests[0].column_count

    @property
    def node_count(self) -> int:
        return sum(len(tree.feature) for forest in self.forests for tree in forest.trees)

    @property
    def tree_count(self) -> int:
        return sum(len(forest.trees) for forest in self.forests)


def read_classifier(file: ProjectFile, group: str = GROUP, *, label_names: tuple[str, ...] | None = None) -> Classifier:
    """Read the classifier of an applet's group; the names of its classes are read there, too, unless they are given.

    Raises ClassifierMissing if there is none, or one that ilastik itself would discard or that cannot be run here;
    ProjectError if it is damaged.
    """
    stored = f"{group}/ClassifierForests"
    if not file.has_applet(group) or not file.has_group(stored):
        raise _missing(file, stored, "holds no trained classifier")
    kind = _read_kind(file, stored)
    if kind == PARALLEL_FORESTS:
        places = [f"{stored}/{name}" for name in file.groups(stored) if name.startswith("Forest")]
    else:
        places = [f"{stored}/forest"] if file.has_group(f"{stored}/forest") else []
    if not places:
        raise _missing(file, stored, "holds no forest")
    forests = _read_forests(file, places)
    label_names = read_label_names(file, group) if label_names is None else label_names
    known_labels = _read_known_labels(
        file, stored, forests[0].class_count, label_names, are_mapped=not group.startswith("Object")
    )
    return Classifier(
        forests=forests,
        known_labels=known_labels,
        label_names=label_names,
        feature_names=file.texts(f"{stored}/feature_names"),
        kind=kind,
        averages=kind == PARALLEL_FORESTS,
    )


def _missing(file: ProjectFile, path: str, what: str) -> ClassifierMissing:
    stage = "object" if path.startswith("Object") else "pixel"
    return ClassifierMissing(
        str(file.error(path, f"{what}; open the project in ilastik, train the {stage} classifier and save"))
    )


def _read_kind(file: ProjectFile, stored: str) -> str:
    """Read the classifier's class name; without one, ilastik assumes its default."""
    path = f"{stored}/pickled_type"
    text = file.text(path)
    if text is None:
        return PARALLEL_FORESTS
    found = _CLASS_REFERENCE.search(text)
    name = found[2] if found else None
    if name == SCIKIT_LEARN:
        raise _missing(
            file,
            path,
            "is a scikit-learn classifier, stored as a pickle, which is never loaded; choose a random forest",
        )
    if name not in (PARALLEL_FORESTS, *SINGLE_FORESTS):
        what = f"of an unknown type '{name}'" if name else "of a type that cannot be recognised"
        raise _missing(file, path, f"is a classifier {what}, which cannot be used")
    return name


def _read_known_labels(
    file: ProjectFile, stored: str, class_count: int, label_names: Sequence[str], *, are_mapped: bool
) -> tuple[int, ...]:
    """Read the label value of each class of the forests.

    are_mapped   True: ilastik maps classes of forests with fewer classes than names by their labels (pixels); False:
                 class i is label i + 1 (objects)
    Forests of objects are trained for all labels from 1 to their number of classes, whether or not an object has them,
    while ``known_labels`` lists those that objects have.
    """
    path = f"{stored}/known_labels"
    values = file.array(path, "integers", max_bytes=8 * MAX_CLASSES)
    in_order = tuple(range(1, class_count + 1))
    known = in_order if values is None else tuple(int(v) for v in values.reshape(-1))
    is_named_by_place = class_count == len(label_names) or not are_mapped
    if len(known) < class_count and is_named_by_place and _are_increasing_from(known, 1, class_count):
        known = in_order
    if len(known) != class_count:
        raise file.error(path, f"names {len(known)} labels, but the forests know {class_count} classes")
    if class_count > len(label_names):
        raise _missing(
            file,
            stored,
            f"knows {class_count} classes, but the project names {len(label_names)}, so ilastik discards it",
        )
    if class_count < len(label_names) and not _are_increasing_from(known, 1, len(label_names)):
        raise file.error(path, f"holds {list(known[:8])}, which are not labels from 1 to {len(label_names)}")
    return known


def _are_increasing_from(values: Sequence[int], low: int, high: int) -> bool:
    return bool(values) and low <= values[0] and values[-1] <= high and all(a < b for a, b in pairwise(values))


def _read_forests(file: ProjectFile, places: Sequence[str]) -> tuple[StoredForest, ...]:
    """Read the forests at ``places``. All trees are unpacked together, which makes this fast."""
    headers = [_read_header(file, place) for place in places]
    first = headers[0]
    for header in headers[1:]:
        if (header.class_count, header.column_count) != (first.class_count, first.column_count):
            raise file.error(
                header.place,
                f"has {header.class_count} classes and {header.column_count} columns where {first.place} has"
                f" {first.class_count} and {first.column_count}",
            )
    tree_places = [f"{header.place}/{name}" for header in headers for name in header.tree_names]
    topologies = [_read_vector(file, f"{place}/topology", "integers") for place in tree_places]
    parameters = [_read_vector(file, f"{place}/parameters", "numbers") for place in tree_places]
    try:
        trees = unpack_trees(topologies, parameters, class_count=first.class_count, column_count=first.column_count)
    except TreeError as damage:
        raise file.error(tree_places[damage.tree], f"{damage}; the file is damaged") from None
    forests, start = [], 0
    for header in headers:
        stop = start + len(header.tree_names)
        forests.append(
            StoredForest(
                name=header.place.rpartition("/")[2],
                trees=trees[start:stop],
                class_count=header.class_count,
                column_count=header.column_count,
                is_weighted=header.is_weighted,
            )
        )
        start = stop
    return tuple(forests)


@frozen
class _ForestHeader:
    """Facts about a stored forest, known before its trees are read."""

    place: str
    class_count: int
    column_count: int
    is_weighted: bool
    tree_names: tuple[str, ...]


def _read_header(file: ProjectFile, place: str) -> _ForestHeader:
    version = file.attribute_number(place, "vigra_random_forest_version")
    if version is not None and not 0 < version <= VIGRA_FOREST_VERSION:
        raise file.error(place, f"is a forest of version {version}; only {VIGRA_FOREST_VERSION} is known")
    tree_count = _read_count(file, f"{place}/_options/tree_count_", MAX_TREES)
    names = [name for name in file.groups(place) if not name.startswith("_")]
    if len(names) < tree_count:
        raise file.error(place, f"holds {len(names)} trees where it declares {tree_count}; the file is damaged")
    weighted = file.number(f"{place}/_options/predict_weighted_")
    if weighted not in (0, 1):
        what = "is missing" if weighted is None else f"is {weighted}, where 0 or 1 belongs"
        raise file.error(f"{place}/_options/predict_weighted_", f"{what}; the file is damaged")
    return _ForestHeader(
        place=place,
        class_count=_read_count(file, f"{place}/_ext_param/class_count_", MAX_CLASSES),
        column_count=_read_count(file, f"{place}/_ext_param/column_count_", MAX_COLUMNS),
        is_weighted=weighted != 0,
        tree_names=tuple(names[:tree_count]),
    )


def _read_count(file: ProjectFile, path: str, limit: int) -> int:
    count = file.integer(path)
    if count is None:
        raise file.error(path, "is missing; the file is damaged")
    if not 1 <= count <= limit:
        raise file.error(path, f"is {count}, which is not a number from 1 to {limit}; the file is damaged")
    return count


def _read_vector(file: ProjectFile, path: str, kind: Kind) -> np.ndarray:
    vector = file.array(path, kind)
    if vector is None:
        raise file.error(path, "is missing; the file is damaged")
    if vector.ndim != 1:
        raise file.error(path, f"has shape {vector.shape} where a list belongs; the file is damaged")
    return vector

"""Forests out of projects: the node tables predict what vigra's arrays predict, and what is no tree is refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest

from pixelforest.engine.errors import ClassifierMissing, ProjectError
from pixelforest.engine.project import Classifier, StoredTree, open_project, read_classifier
from pixelforest.engine.project.tree_arrays import MAX_LEVELS, TreeError, unpack_trees

MakeProject = Callable[..., Path]
LEAF = 0x40000000
STORED = "PixelClassification/ClassifierForests"


def classifier_of(path: Path) -> Classifier:
    with open_project(path) as file:
        return read_classifier(file)


def refusal(path: Path, kind: type[ProjectError] = ProjectError) -> str:
    with pytest.raises(kind) as caught:
        classifier_of(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def walk(tree: StoredTree, features: np.ndarray) -> np.ndarray:
    """Weight and probabilities of the leaves that rows of features (n, C) end in: (n, 1 + K)."""
    node = np.zeros(len(features), np.int64)
    while (inner := np.flatnonzero(tree.feature[node] >= 0)).size:
        at = node[inner]
        goes_left = features[inner, tree.feature[at]].astype(np.float64) < tree.threshold[at]
        node[inner] = np.where(goes_left, tree.left[at], tree.right[at])
    return np.column_stack([tree.weight[node], tree.probabilities[node]])


def unpack_one(topology: Any, parameters: Any, *, columns: int = 3, classes: int = 2) -> StoredTree:
    arrays = [np.asarray(topology, np.int32)], [np.asarray(parameters, np.float64)]
    return unpack_trees(*arrays, class_count=classes, column_count=columns)[0]


# -- what a good forest becomes ---------------------------------------------------------------------------------


def test_the_worked_example() -> None:
    topology = [25, 2, 0, 0, 9, 7, 16, LEAF, 2, LEAF, 5]
    tree = unpack_one(topology, [1.0, 0.00211, 63, 0, 1, 94, 1, 0], columns=25)
    assert tree.feature.tolist() == [16, -1, -1]
    assert tree.threshold.tolist() == [0.00211, 0, 0]
    assert tree.left.tolist() == [1, -1, -1]
    assert tree.right.tolist() == [2, -1, -1]
    assert tree.probabilities.tolist() == [[0, 0], [1, 0], [0, 1]]
    assert tree.weight.tolist() == [0, 94, 63]
    assert (tree.node_count, tree.leaf_count) == (3, 2)


def test_a_tree_of_one_leaf() -> None:
    tree = unpack_one([3, 2, LEAF, 0], [5, 0.25, 0.75])
    assert tree.feature.tolist() == [-1]
    assert tree.probabilities.tolist() == [[0.25, 0.75]]


@pytest.mark.parametrize("seed", range(8))
def test_node_tables_end_in_the_leaves_that_vigra_ends_in(
    builders: ModuleType, reference_forest: ModuleType, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    columns, classes = int(rng.integers(1, 12)), int(rng.integers(1, 6))
    nodes = [builders.random_tree(rng, columns, classes, depth) for depth in (0, 1, 3, 9, 6)]
    stored = [builders.vigra_tree(node, columns, classes) for node in nodes]
    trees = unpack_trees(*zip(*stored, strict=True), class_count=classes, column_count=columns)
    features = rng.normal(size=(80, columns)).astype(np.float32)
    features[0, 0], features[1, 0], features[2] = np.inf, -np.inf, np.nan
    for tree, (topology, parameters) in zip(trees, stored, strict=True):
        expected = [reference_forest.find_leaf(topology, parameters, row) for row in features]
        assert np.array_equal(walk(tree, features), expected)


@pytest.mark.parametrize("seed", range(4))
def test_nodes_are_in_depth_first_order(builders: ModuleType, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tree = unpack_one(*builders.vigra_tree(builders.random_tree(rng, 3, 2, 8), 3, 2))
    order, waiting = [], [0]
    while waiting:
        node = waiting.pop()
        order.append(node)
        if tree.feature[node] >= 0:
            waiting += [int(tree.right[node]), int(tree.left[node])]
    assert order == list(range(tree.node_count))


def test_node_tables_cannot_be_written_to(make_project: MakeProject) -> None:
    tree = classifier_of(make_project()).forests[0].trees[0]
    for name in ("feature", "threshold", "left", "right", "probabilities", "weight"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(tree, name)[0] = 1
    assert (tree.feature.dtype, tree.left.dtype, tree.right.dtype) == (np.int32,) * 3
    assert (tree.threshold.dtype, tree.probabilities.dtype, tree.weight.dtype) == (np.float64,) * 3


def test_infinite_thresholds_are_kept() -> None:
    for threshold in (np.inf, -np.inf):
        tree = unpack_one([3, 2, 0, 0, 7, 9, 1, LEAF, 2, LEAF, 5], [1, threshold, 1, 1, 0, 1, 0, 1])
        assert np.array_equal(tree.threshold[:1], [threshold])


@pytest.mark.slow
def test_a_chain_as_deep_as_can_be_is_read_without_recursion() -> None:
    depth = MAX_LEVELS - 2
    topology, parameters = [3, 2], []
    for _ in range(depth):
        at = len(topology)
        topology += [0, len(parameters), at + 5, at + 7, 0, LEAF, len(parameters) + 2]
        parameters += [1.0, 0.5, 1.0, 1.0, 0.0]
    topology += [LEAF, len(parameters)]
    parameters += [1.0, 0.0, 1.0]
    assert unpack_one(topology, parameters).node_count == 2 * depth + 1


# -- speed ------------------------------------------------------------------------------------------------------


def test_a_large_forest_unpacks_quickly(builders: ModuleType) -> None:
    """100 trees of about 2000 nodes; takes 0.05 s, the bound is for a busy machine."""
    rng = np.random.default_rng(3)
    full = rng.integers(0, 50, 1 << 10)

    def grow(level: int, at: int) -> Any:
        if level == 10:
            return builders.leaf(1.0, 0.0)
        return (int(full[at]), 0.5, grow(level + 1, 2 * at % 1024), grow(level + 1, (2 * at + 1) % 1024))

    topology, parameters = builders.vigra_tree(grow(0, 1), 50, 2)
    start = time.perf_counter()
    trees = unpack_trees([topology] * 100, [parameters] * 100, class_count=2, column_count=50)
    assert time.perf_counter() - start < 1.0
    assert sum(tree.node_count for tree in trees) == 100 * 2047


# -- what is no tree --------------------------------------------------------------------------------------------

GOOD_TOPOLOGY = (3, 2, 0, 0, 7, 9, 1, LEAF, 2, LEAF, 5)
GOOD_PARAMETERS = (1.0, 0.5, 4.0, 1.0, 0.0, 6.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, 4, "declares"),
        (1, 3, "declares"),
        (2, 1, "type ilastik does not make 1"),
        (2, 2, "type ilastik does not make 2"),
        (2, LEAF + 1, "type ilastik does not make"),
        (2, -1, "type ilastik does not make -1"),
        (3, -1, "outside its parameters, at -1"),
        (3, 7, "outside its parameters, at 7"),
        (8, 6, "outside its parameters, at 6"),
        (10, 2**31 - 1, "outside its parameters"),
        (4, 2, "reached twice"),
        (4, 9, "child of two"),
        (4, 0, "outside its topology, at 0"),
        (4, 1, "outside its topology, at 1"),
        (4, -7, "outside its topology, at -7"),
        (5, 11, "outside its topology, at 11"),
        (5, 10, "outside its topology"),
        (5, 2**31 - 1, "outside its topology"),
        (6, 3, "3 columns a node asks for 3"),
        (6, -1, "columns a node asks for -1"),
        (7, 0, "lies outside its topology"),
    ],
)
def test_each_damaged_number_is_noticed(place: int, value: int, message: str) -> None:
    unpack_one(GOOD_TOPOLOGY, GOOD_PARAMETERS)
    topology = [*GOOD_TOPOLOGY]
    topology[place] = value
    with pytest.raises(TreeError, match=message):
        unpack_one(topology, GOOD_PARAMETERS)


@pytest.mark.parametrize("length", range(len(GOOD_TOPOLOGY)))
def test_a_topology_cut_short_is_noticed(length: int) -> None:
    with pytest.raises(TreeError):
        unpack_one(GOOD_TOPOLOGY[:length], GOOD_PARAMETERS)


@pytest.mark.parametrize("length", range(len(GOOD_PARAMETERS)))
def test_parameters_cut_short_are_noticed(length: int) -> None:
    with pytest.raises(TreeError):
        unpack_one(GOOD_TOPOLOGY, GOOD_PARAMETERS[:length])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [2, 4, 7])
def test_leaves_with_undefined_numbers_are_refused(place: int, value: float) -> None:
    parameters = [*GOOD_PARAMETERS]
    parameters[place] = value
    with pytest.raises(TreeError, match="infinite or undefined"):
        unpack_one(GOOD_TOPOLOGY, parameters)


def test_branches_that_meet_again_cannot_explode() -> None:
    """Thirty levels whose two children are one node would be a billion nodes."""
    topology = [3, 2]
    for _ in range(30):
        at = len(topology)
        topology += [0, 0, at + 5, at + 5, 0]
    topology += [LEAF, 2]
    with pytest.raises(TreeError, match="child of two"):
        unpack_one(topology, [1.0, 0.5, 1.0, 1.0, 0.0])


def test_leaves_that_share_their_numbers_cannot_explode() -> None:
    topology = [3, 1000, 0, 0, 7, 9, 1, LEAF, 2, LEAF, 2]
    with pytest.raises(TreeError, match="share"):
        unpack_one(topology, [1.0, 0.5, *[0.0] * 1001], classes=1000)


@pytest.mark.slow
def test_a_chain_deeper_than_sense_is_refused_in_time() -> None:
    topology, parameters = [3, 2], []
    for _ in range(4 * MAX_LEVELS):
        at = len(topology)
        topology += [0, len(parameters), at + 5, at + 7, 0, LEAF, len(parameters) + 2]
        parameters += [1.0, 0.5, 1.0, 1.0, 0.0]
    topology += [LEAF, 0]
    with pytest.raises(TreeError, match="deeper"):
        unpack_one(topology, parameters)


# -- forests in projects ----------------------------------------------------------------------------------------


def test_forests_come_in_name_order(make_project: MakeProject) -> None:
    def rename(file: h5py.File) -> None:
        stored = file[STORED]
        stored.move("Forest0000", "Forest0010")
        stored["Forest0010"].copy("Tree_2", stored["Forest0001"], "Tree_3")

    classifier = classifier_of(make_project(rename))
    assert [forest.name for forest in classifier.forests] == ["Forest0001", "Forest0010"]
    assert [len(forest.trees) for forest in classifier.forests] == [2, 3], "only the declared number of trees counts"
    assert classifier.tree_count == 5
    assert classifier.averages
    assert not classifier.forests[0].is_weighted


def test_trees_come_in_name_order(make_project: MakeProject, builders: ModuleType) -> None:
    trees = [builders.leaf(i / 20, 1 - i / 20) for i in range(13)]
    classifier = classifier_of(make_project(forests=[trees]))
    assert [tree.probabilities[0, 0] for tree in classifier.forests[0].trees] == [i / 20 for i in range(13)]


@pytest.mark.parametrize("style", ["variable", "bytes", "fixed", "void"])
def test_the_type_is_read_from_text_of_any_kind(make_project: MakeProject, style: str) -> None:
    assert classifier_of(make_project(text_style=style)).kind == "ParallelVigraRfLazyflowClassifier"


def test_without_a_type_it_is_ilastiks_default(make_project: MakeProject) -> None:
    classifier = classifier_of(make_project(pickled_type=None))
    assert classifier.kind == "ParallelVigraRfLazyflowClassifier"
    assert classifier.averages


@pytest.mark.parametrize("name", ["VigraRfLazyflowClassifier", "VigraRfPixelwiseClassifier"])
def test_a_single_forest_is_not_averaged(make_project: MakeProject, name: str) -> None:
    def move(file: h5py.File) -> None:
        del file[f"{STORED}/Forest0001"]
        file[STORED].move("Forest0000", "forest")

    module = name[0].lower() + name[1:]
    classifier = classifier_of(make_project(move, pickled_type=f"{module}\n{name}"))
    assert (classifier.kind, classifier.averages, len(classifier.forests)) == (name, False, 1)
    assert classifier.forests[0].name == "forest"


def test_known_labels_and_names_may_be_missing(make_project: MakeProject, builders: ModuleType) -> None:
    def label(file: h5py.File) -> None:
        values = np.array([[[1], [0]], [[100], [4]]], np.uint8)
        builders.put_labels(file, "labels000", 0, (3, 4, 0), values)
        builders.put_labels(file, "labels001", 0, (3, 4, 0), np.full((1, 1, 1), 2, np.uint8))

    classifier = classifier_of(make_project(label, known_labels=None, label_names=None))
    assert classifier.known_labels == (1, 2)
    assert classifier.label_names == ("Label 1", "Label 2", "Label 3", "Label 4")
    assert classifier_of(make_project(label, label_names=[])).label_names == classifier.label_names


def test_classes_may_be_missing(make_project: MakeProject) -> None:
    classifier = classifier_of(make_project(label_names=("a", "b", "c"), known_labels=(1, 3)))
    assert (classifier.class_count, classifier.known_labels) == (2, (1, 3))


def test_feature_names_are_handed_on_but_decide_nothing(make_project: MakeProject, builders: ModuleType) -> None:
    def name(file: h5py.File) -> None:
        builders.put_texts(file[STORED], "feature_names", ["b'Gaussian Smoothing (\\xcf\\x83=0.3)'", "other"])

    assert classifier_of(make_project(name)).feature_names == ("b'Gaussian Smoothing (\\xcf\\x83=0.3)'", "other")
    assert classifier_of(make_project()).feature_names is None


def test_another_group_can_be_read(make_project: MakeProject) -> None:
    path = make_project(lambda file: file.move("PixelClassification", "PixelClassification01"))
    with open_project(path) as file:
        assert read_classifier(file, "PixelClassification01").tree_count == 5
        with pytest.raises(ClassifierMissing):
            read_classifier(file)


def remove(*paths: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        for path in paths:
            del file[path]

    return change


def replace(path: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if path in file:
            del file[path]
        file[path] = value

    return change


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (remove("PixelClassification"), {}, "holds no trained classifier"),
        (remove("PixelClassification/StorageVersion"), {}, "holds no trained classifier"),
        (remove(STORED), {}, "train the pixel classifier and save"),
        (remove(f"{STORED}/Forest0000", f"{STORED}/Forest0001"), {}, "holds no forest"),
        (None, {"label_names": ("only",)}, "knows 2 classes, but the project names 1"),
        (remove("PixelClassification/LabelNames"), {}, "knows 2 classes, but the project names 0"),
        (None, {"pickled_type": "sklearnLazyflowClassifier\nSklearnLazyflowClassifier"}, "scikit-learn"),
        (None, {"pickled_type": "other\nNewClassifier"}, "unknown type 'NewClassifier'"),
        (replace(f"{STORED}/pickled_type", "cos\nsystem\n(S'true'\ntR."), {}, "cannot be recognised"),
        (replace(f"{STORED}/pickled_type", ""), {}, "cannot be recognised"),
    ],
)
def test_without_a_usable_classifier_it_says_what_to_do(
    make_project: MakeProject, change: Any, options: dict[str, Any], message: str
) -> None:
    assert message in refusal(make_project(change, **options), ClassifierMissing)


FIRST = f"{STORED}/Forest0000"


@pytest.mark.sampled(8)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replace(f"{FIRST}/_options/tree_count_", [4.0]), "holds 3 trees where it declares 4"),
        (replace(f"{FIRST}/_options/tree_count_", [0.0]), "tree_count_: is 0"),
        (replace(f"{FIRST}/_options/tree_count_", [-1.0]), "tree_count_: is -1"),
        (replace(f"{FIRST}/_options/tree_count_", [1e300]), "tree_count_: is 1000"),
        (replace(f"{FIRST}/_options/tree_count_", [np.nan]), "whole number"),
        (replace(f"{FIRST}/_options/tree_count_", "three"), "where numbers belong"),
        (remove(f"{FIRST}/_options"), "tree_count_: is missing"),
        (remove(f"{FIRST}/_options/predict_weighted_"), "predict_weighted_: is missing"),
        (remove(f"{FIRST}/_ext_param/class_count_"), "class_count_: is missing"),
        (replace(f"{FIRST}/_ext_param/class_count_", [3.0]), "has 2 classes and 4 columns where"),
        (replace(f"{FIRST}/_ext_param/column_count_", [5.0]), "has 2 classes and 4 columns where"),
        (replace(f"{FIRST}/_ext_param/column_count_", [1e18]), "column_count_: is"),
        (remove(f"{FIRST}/Tree_1/topology"), "Tree_1/topology: is missing"),
        (remove(f"{FIRST}/Tree_1/parameters"), "Tree_1/parameters: is missing"),
        (replace(f"{FIRST}/Tree_1/topology", np.zeros(9)), "Tree_1/topology: holds values of type float64"),
        (replace(f"{FIRST}/Tree_1/topology", np.zeros((3, 3), np.int32)), "where a list belongs"),
        (replace(f"{FIRST}/Tree_1/topology", np.zeros(0, np.int32)), "Tree_1: its topology has only 0"),
        (replace(f"{FIRST}/Tree_1/topology", np.array([4, 2, 0, 0, 2, 2, 0])), "Tree_1: a node is reached twice"),
        (replace(f"{FIRST}/Tree_1/topology", np.array([4, 2, 2**62, 0])), "Tree_1: a node is of a type"),
        (replace(f"{FIRST}/Tree_1/parameters", "text"), "Tree_1/parameters: holds values of type object"),
        (replace(f"{STORED}/known_labels", np.array([1, 2, 3])), "names 3 labels"),
        (replace(f"{STORED}/known_labels", np.array([1.0, 2.0])), "where integers belong"),
    ],
)
def test_a_damaged_forest_is_refused_with_its_place(make_project: MakeProject, change: Any, message: str) -> None:
    text = refusal(make_project(change))
    assert message in text
    assert "project.ilp', PixelClassification/ClassifierForests" in text


def test_a_forest_of_a_later_version_is_refused(make_project: MakeProject) -> None:
    def age(file: h5py.File) -> None:
        file[FIRST].attrs["vigra_random_forest_version"] = np.array([0.2])

    assert "version 0.2" in refusal(make_project(age))


@pytest.mark.parametrize("known", [(0, 1), (2, 2), (3, 1), (1, 4)])
def test_known_labels_that_name_no_class_are_refused(make_project: MakeProject, known: tuple[int, int]) -> None:
    assert "not labels from 1 to 3" in refusal(make_project(label_names=("a", "b", "c"), known_labels=known))


# -- recorded projects ------------------------------------------------------------------------------------------


def check_against_reference(path: Path, group: str, reference: ModuleType) -> int:
    """Compare every tree of a project with a walk through vigra's own arrays; returns the number of trees."""
    rng = np.random.default_rng(0)
    with open_project(path) as file:
        classifier = read_classifier(file, group)
    checked = 0
    with h5py.File(path, "r", locking=False) as file:
        stored = file[f"{group}/ClassifierForests"]
        for forest in classifier.forests:
            names = sorted(name for name in stored[forest.name] if not name.startswith("_"))
            for name, tree in zip(names, forest.trees, strict=True):
                topology, parameters = (stored[forest.name][name][part][()] for part in ("topology", "parameters"))
                inner = tree.feature >= 0
                features = rng.normal(size=(12, forest.column_count)).astype(np.float32)
                # Half the rows exactly on thresholds: the comparison must be strict.
                features[:6, tree.feature[inner]] = tree.threshold[inner]
                expected = [reference.find_leaf(topology, parameters, row) for row in features]
                assert np.array_equal(walk(tree, features), expected), (path, name)
                checked += 1
    return checked


def test_every_tree_of_our_golden_projects_equals_vigras_arrays(repository: Path, reference_forest: ModuleType) -> None:
    projects = sorted((repository / "tests" / "golden").glob("px*/project.ilp"))
    assert projects
    for path in projects:
        assert check_against_reference(path, "PixelClassification", reference_forest) >= 20


@pytest.mark.slow
def test_every_tree_of_the_recorded_projects_equals_vigras_arrays(
    shared_folder: Path, reference_forest: ModuleType
) -> None:
    for path in sorted({*shared_folder.glob("golden/*/project.ilp"), *shared_folder.glob("fixtures/*/project.ilp")}):
        with h5py.File(path, "r", locking=False) as file:
            groups = [name for name in file if name.startswith("PixelClassification")]
        for group in groups:
            assert check_against_reference(path, group, reference_forest) >= 20

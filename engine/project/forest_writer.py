"""Layout of a trained forest in HDF5, as vigra writes it. Groups are those of the caller; no file is opened here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .forest import VIGRA_FOREST_VERSION
from .hdf5_writer import put_array

# Options and results of vigra's trainer. vigra reads all of them; only tree_count_ and predict_weighted_ matter.
_OPTIONS = {
    "training_set_proportion_": 1,
    "training_set_size_": 0,
    "mtry_": 0,
    "min_split_node_size_": 1,
    "sample_with_replacement_": 1,
    "prepare_online_learning_": 0,
    "predict_weighted_": 0,
    "training_set_calc_switch_": 1,
    "stratification_method_": 3,
    "mtry_switch_": 6,
    "mtry_func_": 0,
    "training_set_func_": 0,
}
_RESULTS = {"problem_type_": 1, "is_weighted_": 1, "used_": 1, "precision_": 0, "response_size_": 1}


def write_forest(
    group: Any,
    trees: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    labels: Sequence[int],
    columns: int,
    samples: int,
    tried: int,
) -> None:
    """Write a forest into an empty group of h5py.

    Parameters
    ----------
    group
        An h5py group, or an open file.
    trees
        Topology and parameters of each tree.
    labels
        Label of each class.
    columns, samples, tried
        Number of feature columns, of training samples, and of columns that a node tried.
    """
    group.attrs["vigra_random_forest_version"] = np.array([VIGRA_FOREST_VERSION])
    results = {**_RESULTS, "column_count_": columns, "class_count_": len(labels), "row_count_": samples}
    results |= {"actual_mtry_": tried, "actual_msample_": samples}
    for name, values in (("_options", {**_OPTIONS, "tree_count_": len(trees)}), ("_ext_param", results)):
        for key, value in sorted(values.items()):
            put_array(group, f"{name}/{key}", np.array([float(value)]))
    put_array(group, "_ext_param/class_weights_", np.ones(len(labels)))
    put_array(group, "_ext_param/labels", np.array(labels, np.uint32))
    digits = len(str(len(trees) - 1))
    for number, (topology, parameters) in enumerate(trees):
        put_array(group, f"Tree_{number:0{digits}d}/topology", topology)
        put_array(group, f"Tree_{number:0{digits}d}/parameters", parameters)

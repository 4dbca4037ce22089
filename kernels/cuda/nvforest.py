"""Forest inference by nvForest, the successor of cuML's ``fil``: its sums, our divisions.

Votes of pure leaves are whole numbers below 2^24, so their float32 sums are exact in any order and the result has the
bits of our own kernels. Sums of mixed leaves depend on the order, which nvForest does not guarantee: those differ in
the last digits. Only this module imports nvforest and treelite, and only when a forest is loaded.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from ...frozen import frozen
from ..contract import DeviceUnavailable, ForestArrays, TreeArrays
from ..shared.nodes import PackedForest, exact_float32_threshold, pack_forest
from .device import Device, DeviceArray
from .forest import StackOnDevice
from .launch import KernelFile

FILE = KernelFile("nvforest.cu")
ROWS = 1 << 20
"""Voxels processed at a time: enough to keep a GPU busy, while their rows take 4 bytes a column each."""

Place = Literal["gpu", "cpu"]


@frozen
class _Group:
    """A model with the trees that it sums: a group of votes for pure leaves, else a stored forest."""

    model: Any
    first: int
    stop: int


class NvForest:
    """Classifier in nvForest on one device; several threads may use it, one at a time.

    columns  of a row: those that the trees can read, whatever else is selected
    """

    def __init__(self, device: Device, forests: Sequence[ForestArrays], place: Place) -> None:
        self.device, self.place = device, place
        self.packed: PackedForest = pack_forest(forests)
        self._vote_value = device.upload(self.packed.vote_value)
        self.columns = 1 + max(0, *(int(tree.feature.max()) for forest in forests for tree in forest.trees))
        self._groups = _build_groups(forests, self.packed, self.columns, device.index, place)
        # A model has one handle with one stream, which only one thread at a time may use.
        self._lock = threading.Lock()
        device.synchronize()  # other threads' streams do not wait for this one

    @property
    def classes(self) -> int:
        return self.packed.classes

    def predict(self, stack: StackOnDevice) -> DeviceArray:
        """Predict class probabilities (z, y, x, k) float32 of a tile. Waits for the device.

        Raises DeviceOutOfMemory.
        """
        z, y, x, columns = stack.shape
        voxels = z * y * x
        out = self.device.empty((z, y, x, self.classes), np.float32)
        most = min(ROWS, voxels)
        rows = self.device.empty((most, self.columns), np.float32)
        is_valid = self.device.empty((most,), np.uint8)
        gather = FILE.kernel(self.device, "gather_rows")
        for first in range(0, voxels, most):
            count = min(most, voxels - first)
            part = rows.view(0, (count, self.columns))
            numbers = (np.int32(columns), np.int32(self.columns), np.int64(first), np.int32(count))
            gather(
                (-(-count // 32), 1, 1),
                (32, 8, 1),
                (stack.values, np.int64(stack.column_stride), *numbers, part, is_valid),
            )
            for number, group in enumerate(self._groups):
                self._add_group(number, self._sums(group, part), is_valid, first, count, out)
        return out

    def sum_leaves(self, rows: DeviceArray, *, chunk_size: int | None = None) -> list[DeviceArray]:
        """Sum leaves in nvForest for rows (n, ``columns``): for each group of trees (n, its classes) float32.

        chunk_size  rows per step of nvForest, a power of 2 up to 32; None: its own choice
        """
        return [self._sums(group, rows, chunk_size) for group in self._groups]

    def _sums(self, group: _Group, rows: DeviceArray, chunk_size: int | None = None) -> DeviceArray:
        if self.place == "cpu":
            return self.device.upload(np.asarray(group.model.predict_proba(self.device.download(rows))))
        with self._lock:
            self.device.synchronize()  # nvForest works on a stream of its own, and waits for it before it returns
            return self.device.adopt(group.model.predict_proba(rows, chunk_size=chunk_size))

    def _add_group(
        self, number: int, sums: DeviceArray, is_valid: DeviceArray, first: int, count: int, out: DeviceArray
    ) -> None:
        packed, group = self.packed, self._groups[number]
        values = packed.vote_value.shape[1]
        row = self._vote_value.view(number * values if packed.is_pure else 0, (values,))
        averages = group.stop - group.first if packed.averages else 0
        FILE.kernel(self.device, "add_group")(
            (-(-count // 256), 1, 1), (256, 1, 1),
            (
                sums, np.int32(sums.shape[1]), is_valid, np.int64(first), np.int32(count), row,
                np.int32(values if packed.is_pure else 0), np.float32(averages),
                np.int32(number == 0), np.int32(number == len(self._groups) - 1), np.float32(packed.divisor),
                np.int32(packed.classes), out,
            ),
        )  # fmt: skip


def load_forest(device: Device, forests: Sequence[ForestArrays], *, place: Place = "gpu") -> NvForest:
    """Load stored forests, in name order, into nvForest; ``place`` "cpu" selects its CPU mode.

    Raises DeviceUnavailable if nvForest is missing or refuses the device, ValueError if the forests' classes differ.
    """
    return NvForest(device, forests, place)


def find_missing() -> str | None:
    """Return the reason why nvForest cannot be used, as a phrase; None if it can. Does not look for a GPU."""
    try:
        import nvforest  # noqa: F401
        import treelite.model_builder  # noqa: F401
    except (ImportError, OSError) as error:
        return f"{error.name or error} is not installed" if isinstance(error, ModuleNotFoundError) else str(error)
    return None


def require_library() -> None:
    """Raise DeviceUnavailable, naming the package to install, if nvForest cannot be used."""
    if missing := find_missing():
        raise DeviceUnavailable(f"nvForest cannot be used: {missing}; install pixelforest[rapids13] or [rapids12]")


def working_bytes(columns: int, classes: int, voxels: int) -> int:
    """Device memory for prediction in addition to a tile's features and probabilities."""
    width = max(classes, 2)
    return min(ROWS, voxels) * (4 * columns + 4 * width + 1)


def _build_groups(
    forests: Sequence[ForestArrays], packed: PackedForest, columns: int, index: int, place: Place
) -> tuple[_Group, ...]:
    require_library()
    import nvforest

    trees = [(tree, forest.is_weighted) for forest in forests for tree in forest.trees]
    groups = []
    for first, stop in (packed.groups if packed.is_pure else packed.forests).tolist():
        model = build_model(trees[first:stop], columns, packed.classes)
        where = {"device": "gpu", "device_id": index} if place == "gpu" else {"device": "cpu"}
        try:
            groups.append(_Group(nvforest.load_from_treelite_model(model, **where), first, stop))
        except RuntimeError as error:
            raise DeviceUnavailable(f"nvForest cannot use this device: {' '.join(str(error).split())}") from error
    return tuple(groups)


def build_model(trees: Sequence[tuple[TreeArrays, bool]], columns: int, classes: int) -> Any:
    """Build a treelite model for rows (n, columns) that sums the leaves of trees, each given with its is_weighted flag.

    Values and thresholds are float32; a value goes left if it is less, exactly as in double.
    """
    from treelite import model_builder as builder

    width = max(classes, 2)  # a classifier of one class is refused
    model = builder.ModelBuilder(
        threshold_type="float32",
        leaf_output_type="float32",
        metadata=builder.Metadata(
            num_feature=columns,
            task_type="kMultiClf",
            average_tree_output=False,
            num_target=1,
            num_class=[width],
            leaf_vector_shape=(1, width),
        ),
        tree_annotation=builder.TreeAnnotation(
            num_tree=len(trees), target_id=[0] * len(trees), class_id=[-1] * len(trees)
        ),
        postprocessor=builder.PostProcessorFunc("identity_multiclass"),
        base_scores=[0.0] * width,
    )
    for tree, is_weighted in trees:
        _add_tree(model, tree, width, is_weighted=is_weighted)
    return model.commit()


def _add_tree(model: Any, tree: TreeArrays, width: int, *, is_weighted: bool) -> None:
    leaves = np.zeros((len(tree.feature), width), np.float32)
    leaves[:, : tree.probabilities.shape[1]] = tree.probabilities * (tree.weight[:, None] if is_weighted else 1.0)
    thresholds = exact_float32_threshold(tree.threshold).tolist()
    nodes = zip(tree.feature.tolist(), thresholds, tree.left.tolist(), tree.right.tolist(), strict=True)
    model.start_tree()
    for node, (feature, threshold, left, right) in enumerate(nodes):
        model.start_node(node)
        if feature < 0:
            model.leaf(leaves[node].tolist())
        else:
            # Values that are not less go right, including NaN in a threshold or a voxel.
            model.numerical_test(
                feature, threshold, default_left=False, opname="<", left_child_key=left, right_child_key=right
            )
        model.end_node()
    model.end_tree()

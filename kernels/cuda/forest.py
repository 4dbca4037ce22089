"""Forest prediction on a device: choice among the traversal variants of forest.cu, and their launch.

A warp takes a patch of 32 neighbouring voxels, keeps their features in shared memory and evaluates all trees on them.
Costs were counted, not timed: visits by traversing the forests of ilastik's own projects of the benchmark (2-D, 100
trees of 57 nodes, 49 columns; 3-D, 87 nodes, 61 columns) and the 2-D one retrained on contradictory labels (deep: 620
leaves a tree), instructions in the machine code for the H100, which issues 9e11 warp instructions a second: 1 Gpixel/s
allows 28 000 a patch.

- ``lanes``, each voxel on its own: 13 instructions a step and 22 a tree. The last of 32 neighbours reaches its leaf
  after 5.2 steps (3-D 6.1, deep 26): 10 300 a patch, at most 2.7 Gpixel/s (deep 0.75)
- ``masks``, each node once for all voxels that reach it: about 15 a node, 20 a leaf; 6.8 nodes and 2.0 leaves a tree
  (8.9 and 2.6, deep 79 and 14): 16 000, 1.8 Gpixel/s (deep 0.2). ``masks_wide``, 64 voxels: 8.0 and 2.7, 2.7 Gpixel/s
- ``entered_…``: first the minimum and maximum of every column in the patch (350), then one lane per tree descends as
  far as these bounds decide the path (17 a step, 6 steps for 32 trees: 500). 70 of 100 trees are then at a leaf (3-D
  50, deep 0), which counts for all voxels at once; the others take 6 more steps: 4 700 in all, 6 Gpixel/s. Reading the
  features (196 bytes a pixel) allows 15
- ``…_staged``: nodes in shared memory, all of them or as many trees as fit, in turn. The latency of a step is about 100
  cycles for shared memory or L1, 300 for L2, which 32 warps cannot hide: deep trees would reach 0.25 Gpixel/s; copying
  all nodes (1 MB) for 700 voxels at a time costs a tenth of the traversal
- ``direct``: only sums in shared memory; for images with so many channels that the features do not fit

So ``entered_staged`` should be the fastest wherever it fits. bench/cuda_forest.py measures all of them on a GPU.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ...frozen import frozen
from ..contract import ForestArrays, Voxels
from ..shared.nodes import PackedForest, pack_forest
from .device import Device, DeviceArray
from .launch import Compilation, KernelFile

FILE = KernelFile("forest.cu")
WARP = 32
_WARPS = 8  # of a block without staged nodes: small blocks are replaced evenly
_STAGED_WARPS = 32
_NODE_BYTES = 8
_MIN_WARPS = 4  # whose features must fit into a block's shared memory; otherwise they are read from global memory
_STAGING_WARPS = 12  # that must fit into shared memory in addition to nodes
_STAGED_NODES = 4096  # a tree; of larger ones a block of voxels visits too few to copy them all


@frozen
class Variant:
    """One traversal variant; ``number`` is its number in forest.cu.

    voxels   of a lane
    enters   descends by the bounds of the patch first
    staged   nodes are copied to shared memory
    keeps    features are copied to shared memory
    """

    name: str
    number: int
    voxels: int = 1
    enters: bool = False
    staged: bool = False
    keeps: bool = True


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("direct", 1, keeps=False),
        Variant("lanes", 2),
        Variant("lanes_staged", 3, staged=True),
        Variant("masks", 4),
        Variant("masks_wide", 5, voxels=2),
        Variant("entered_lanes", 6, enters=True),
        Variant("entered_masks", 7, enters=True),
        Variant("entered_staged", 8, enters=True, staged=True),
        Variant("entered_wide", 9, voxels=2, enters=True),
    )
}


class StackOnDevice(Protocol):
    """Features of a tile: column c of voxel i (raster order) at ``values[c * column_stride + i]``, float32."""

    @property
    def values(self) -> DeviceArray: ...

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Size of the stack along (z, y, x, f)."""
        ...

    @property
    def column_stride(self) -> int: ...


@frozen
class Launch:
    """Launch parameters of one variant for one number of columns.

    warps         of a block
    classes       first class and number of classes of each launch; several launches only if the sums do not fit
    node_bytes    shared memory for nodes
    shared_bytes  shared memory of a block
    segments      rows in the layout of forest.cu
    """

    variant: Variant
    warps: int
    classes: tuple[tuple[int, int], ...]
    node_bytes: int
    shared_bytes: int
    segments: DeviceArray


@frozen
class Tables:
    """Arrays of a forest on the device, as read by kernels; see PackedForest.

    segments  rows in the layout of forest.cu, for nodes in global memory
    """

    records: DeviceArray
    roots: DeviceArray
    vote_value: DeviceArray
    probabilities: DeviceArray
    weights: DeviceArray
    segments: DeviceArray


class CudaForest:
    """A classifier on one device; may be used by several threads.

    variant  a name in VARIANTS instead of the best one, for tests and benchmarks
    """

    def __init__(self, device: Device, packed: PackedForest, variant: str | None = None) -> None:
        self.device, self.packed, self._variant = device, packed, variant
        self._launches: dict[int, Launch] = {}
        self._lock = threading.Lock()
        nothing = np.zeros(1)
        self.tables = Tables(
            records=device.upload(packed.records),
            roots=device.upload(packed.roots.astype(np.int32)),
            vote_value=device.upload(packed.vote_value),
            probabilities=device.upload((nothing if packed.is_pure else packed.probabilities).astype(np.float32)),
            weights=device.upload(nothing if packed.is_pure else packed.weights),
            segments=device.upload(plan_segments(packed, None)),
        )
        device.synchronize()  # other threads' streams do not wait for this one

    @property
    def classes(self) -> int:
        return self.packed.classes

    def launch(self, columns: int) -> Launch:
        """Launch parameters for stacks with this number of columns."""
        with self._lock:
            if columns not in self._launches:
                limit = self.device.shared_bytes_per_block
                variant = VARIANTS[self._variant or choose_variant(self.packed, columns, limit)]
                self._launches[columns] = plan_launch(self.device, self.packed, columns, variant)
                self.device.synchronize()
            return self._launches[columns]

    def predict(self, stack: StackOnDevice) -> DeviceArray:
        """Predict class probabilities (z, y, x, k) float32 of a tile. Does not wait. Raises DeviceOutOfMemory."""
        packed, launch, tables = self.packed, self.launch(stack.shape[3]), self.tables
        z, y, x, columns = stack.shape
        out = self.device.empty((z, y, x, packed.classes), np.float32)
        variant = launch.variant
        bits = patch_bits((z, y, x), WARP * variant.voxels)
        patches = int(np.prod([((n - 1) >> b) + 1 for n, b in zip((z, y, x), bits, strict=True)]))
        blocks = -(-patches // launch.warps)
        if variant.staged:  # not more than run at once, so that nodes are copied once for many patches
            by_threads = self.device.threads_per_multiprocessor // (WARP * launch.warps)
            resident = min(self.device.shared_bytes_per_block // launch.shared_bytes, by_threads)
            blocks = min(blocks, self.device.multiprocessors * max(1, resident))
        kernel = FILE.kernel(self.device, *kernel_of(variant, is_pure=packed.is_pure))
        for first_class, class_count in launch.classes:
            kernel(
                (blocks, 1, 1), (WARP * launch.warps, 1, 1),
                (
                    stack.values, np.int64(stack.column_stride), *_ints(columns, z, y, x, *bits), tables.records,
                    tables.roots, *_ints(packed.offset_bits), launch.segments, *_ints(launch.segments.shape[0]),
                    tables.vote_value, *_ints(packed.vote_value.shape[1]), tables.probabilities, tables.weights,
                    *_ints(packed.averages), np.float32(packed.divisor),
                    *_ints(packed.classes, first_class, class_count, launch.node_bytes), out,
                ),
                shared_bytes=launch.shared_bytes,
            )  # fmt: skip
        return out


def load_forest(device: Device, forests: Sequence[ForestArrays], *, variant: str | None = None) -> CudaForest:
    """Load stored forests, in name order, as a classifier on the device. Raises ValueError if their classes differ."""
    return CudaForest(device, pack_forest(forests), variant)


def kernel_of(variant: Variant, *, is_pure: bool) -> tuple[str, tuple[str, ...]]:
    """Name and defines of a variant's kernel in forest.cu."""
    leaves, number = ("pure", 1) if is_pure else ("mixed", 2)
    return f"{variant.name}_{leaves}", (f"ONLY={variant.number}", f"LEAVES={number}")


def forest_kernels(packed: PackedForest, device: Device) -> list[Compilation]:
    """List the kernels to compile for a forest before the number of columns of the stacks is known.

    The columns that the forest uses are assumed. If a stack has hundreds more, another kernel is compiled on demand.
    """
    columns, _, _ = packed.fields()
    used = 1 + int(columns[columns != packed.leaf_column].max(initial=0))
    variant = VARIANTS[choose_variant(packed, used, device.shared_bytes_per_block)]
    return [(FILE, kernel_of(variant, is_pure=packed.is_pure)[1])]


def all_forest_kernels() -> list[Compilation]:
    """List the kernels to compile for any forest."""
    chosen = (VARIANTS[name] for name in ("entered_staged", "entered_lanes", "direct"))
    return [(FILE, kernel_of(variant, is_pure=is_pure)[1]) for variant in chosen for is_pure in (True, False)]


def choose_variant(packed: PackedForest, columns: int, limit: int) -> str:
    """Choose the variant expected to be fastest if a block has ``limit`` bytes of shared memory."""
    variant = VARIANTS["entered_staged"]
    few, many = (count * _warp_bytes(variant, columns, packed.classes) for count in (_MIN_WARPS, _STAGING_WARPS))
    if few > limit and _MIN_WARPS * _warp_bytes(variant, columns, 1) > limit:
        return "direct"
    is_small = len(packed.records) <= _STAGED_NODES * len(packed.roots)
    return "entered_staged" if is_small and many + _node_bytes(packed, limit) <= limit else "entered_lanes"


def plan_launch(device: Device, packed: PackedForest, columns: int, variant: Variant) -> Launch:
    """Plan the launch of a variant: warps of a block, shared memory, and the pieces of trees and classes.

    Raises ValueError if not even one warp fits.
    """
    limit = device.shared_bytes_per_block
    node_bytes = _node_bytes(packed, limit) if variant.staged else 0
    count = packed.classes
    while count > 1 and _MIN_WARPS * _warp_bytes(variant, columns, count) > limit - node_bytes:
        count = -(-count // 2)
    warp_bytes = _warp_bytes(variant, columns, count)
    warps = min(_STAGED_WARPS if variant.staged else _WARPS, (limit - node_bytes) // warp_bytes)
    if warps < 1:
        raise ValueError(f"{columns} columns and {node_bytes} bytes of nodes do not fit into {limit} bytes of a block")
    return Launch(
        variant,
        warps,
        tuple((first, min(count, packed.classes - first)) for first in range(0, packed.classes, count)),
        node_bytes,
        node_bytes + warps * warp_bytes,
        device.upload(plan_segments(packed, node_bytes if variant.staged else None)),
    )


def plan_segments(packed: PackedForest, node_bytes: int | None) -> np.ndarray:
    """Plan segments (n, 7) int32: first and last + 1 tree, first and last + 1 node, group, its trees, 1 if it ends.

    Groups are those of votes for pure leaves, else the stored forests. node_bytes: size of the nodes that are in shared
    memory at a time (None: they are read from global memory); a group may need several segments of nodes, and nodes in
    shared memory may serve several groups.
    """
    stops = [*packed.roots[1:].tolist(), len(packed.records)]
    room = len(packed.records) if node_bytes is None else node_bytes // _NODE_BYTES
    filling, fillings = (0, 0), []
    for first_node, stop_node in zip(packed.roots.tolist(), stops, strict=True):
        filling = (filling[0] if stop_node - filling[0] <= room else first_node, stop_node)
        fillings.append(filling)
    last = dict(fillings)
    rows = []
    for group, (first, stop) in enumerate((packed.groups if packed.is_pure else packed.forests).tolist()):
        begin = first
        for tree in range(first + 1, stop + 1):
            if tree == stop or fillings[tree][0] != fillings[begin][0]:
                node = fillings[begin][0]
                rows.append((begin, tree, node, last[node], group, stop - first, tree == stop))
                begin = tree
    return np.array(rows, np.int32)


def patch_bits(tile: Voxels, voxels: int) -> Voxels:
    """Size of a warp's patch as powers of two along z, y, x: as square or cubic as the tile allows."""
    total = voxels.bit_length() - 1
    room = [(n - 1).bit_length() for n in tile]
    wide = (0, total // 2, total - total // 2) if tile[0] == 1 else (total // 3, (total + 1) // 3, (total + 2) // 3)
    bits = [min(b, r) for b, r in zip(wide, room, strict=True)]
    for axis in (2, 1, 0):
        bits[axis] += min(room[axis] - bits[axis], total - sum(bits))
    return bits[0], bits[1], bits[2] + total - sum(bits)


def _node_bytes(packed: PackedForest, limit: int) -> int:
    """Shared memory for nodes: all of them if they take at most a third of it, else at least the largest tree."""
    largest = int(np.diff([*packed.roots, len(packed.records)]).max()) * _NODE_BYTES
    return _rounded(min(len(packed.records) * _NODE_BYTES, max(largest, limit // 3)), 128)


def _warp_bytes(variant: Variant, columns: int, classes: int) -> int:
    """Shared memory of one warp: its features, sums, bounds, and the votes common to all its voxels."""
    patch = columns * variant.voxels * WARP if variant.keeps else 0
    bounds = 2 * columns if variant.enters else 0
    return 4 * (patch + classes * variant.voxels * WARP + _rounded(bounds + classes, WARP))


def _rounded(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _ints(*numbers: int) -> tuple[np.int32, ...]:
    return tuple(np.int32(n) for n in numbers)

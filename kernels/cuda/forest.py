"""Forest prediction on a device: choice between the two traversals of forest.cu, and their launch.

A warp takes a patch of 32 neighbouring voxels and evaluates all trees on them. Every voxel follows its own path.

- ``entered`` keeps the features of the patch and their bounds in shared memory. First one lane per tree descends as far
  as the bounds decide the path for all voxels of the patch, which is to a leaf for 70 of 100 trees in 2-D and for 50 in
  3-D; the others are followed from there.
- ``direct`` has only sums in shared memory, so that a multiprocessor holds all the warps it can, which hide the latency
  of nodes and features in device memory.

bench/gpu_model.py has both on six devices: ``entered`` is faster where shared memory holds the patches of MIN_BLOCKS
blocks, from H100 on; ``direct`` elsewhere and for images with very many channels. The factor between them is within the
error of the model, so a backend times both on its first tile, unless only one suits the device at all. Variants that
lost, counted and modelled, are at the head of bench/cuda_forest.py.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import numpy as np

from ...frozen import frozen
from ..contract import ForestArrays, Voxels
from ..shared.nodes import PackedForest, pack_forest
from .device import Device, DeviceArray
from .launch import Compilation, KernelFile
from .tuning import read_choice, time_variants

FILE = KernelFile("forest.cu")
WARP = 32
WARPS = 8  # of a block: small blocks are replaced evenly
MIN_BLOCKS = 3  # of ``entered`` that a multiprocessor must hold
MIN_TIMED_WAVES = 2  # a smaller tile leaves multiprocessors without work for too large a part of the time
_MIN_WARPS = 4  # of a block, whose sums must fit into its shared memory


@frozen
class Variant:
    """One traversal; ``number`` is its number in forest.cu.

    enters   features of a patch and their bounds are in shared memory
    """

    name: str
    number: int
    enters: bool


VARIANTS = {variant.name: variant for variant in (Variant("direct", 1, False), Variant("entered", 2, True))}


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
    shared_bytes  shared memory of a block
    """

    variant: Variant
    warps: int
    classes: tuple[tuple[int, int], ...]
    shared_bytes: int


@frozen
class Tables:
    """Arrays of a forest on the device, as read by kernels; see PackedForest.

    groups   first and last + 1 tree of each group: votes of pure leaves, or a stored forest
    """

    records: DeviceArray
    roots: DeviceArray
    vote_value: DeviceArray
    probabilities: DeviceArray
    weights: DeviceArray
    groups: DeviceArray


class CudaForest:
    """A classifier on one device; may be used by several threads.

    variant  a name in VARIANTS instead of the best one, for tests and benchmarks
    tunes    the best one is timed on the first tile that is large enough, instead of following from the device's shared
             memory alone
    """

    def __init__(
        self, device: Device, packed: PackedForest, variant: str | None = None, *, tunes: bool = False
    ) -> None:
        self.device, self.packed, self._variant, self._tunes = device, packed, variant, tunes
        self._launches: dict[int, Launch] = {}
        self._timed: dict[tuple[int, bool], Launch] = {}
        self._lock, self._timing = threading.Lock(), threading.Lock()
        nothing = np.zeros(1)
        self.tables = Tables(
            records=device.upload(packed.records),
            roots=device.upload(packed.roots.astype(np.int32)),
            vote_value=device.upload(packed.vote_value),
            probabilities=device.upload((nothing if packed.is_pure else packed.probabilities).astype(np.float32)),
            weights=device.upload(nothing if packed.is_pure else packed.weights),
            groups=device.upload((packed.groups if packed.is_pure else packed.forests).astype(np.int32)),
        )
        device.synchronize()  # other threads' streams do not wait for this one

    @property
    def classes(self) -> int:
        return self.packed.classes

    def launch(self, columns: int) -> Launch:
        """Launch parameters for stacks with this number of columns, by the device's shared memory."""
        with self._lock:
            if columns not in self._launches:
                variant = VARIANTS[self._variant or choose_variant(self.packed, columns, self.device)]
                self._launches[columns] = plan_launch(self.device, self.packed, columns, variant)
            return self._launches[columns]

    def predict(self, stack: StackOnDevice) -> DeviceArray:
        """Predict class probabilities (z, y, x, k) float32 of a tile. Raises DeviceOutOfMemory.

        Does not wait, except for the times of the first tile.
        """
        out = self.device.empty((*stack.shape[:3], self.packed.classes), np.float32)
        self._run(self._choose_launch(stack, out), stack, out)
        return out

    def _choose_launch(self, stack: StackOnDevice, out: DeviceArray) -> Launch:
        """Choose the launch for a stack; ``out`` is overwritten if variants are timed."""
        z, y, x, columns = stack.shape
        launches = candidate_launches(self.device, self.packed, columns) if self._tunes else {}
        waves = z * y * x / (self.device.threads_per_multiprocessor * self.device.multiprocessors)
        if len(launches) < 2 or waves < MIN_TIMED_WAVES:
            return self.launch(columns)
        with self._timing:  # tiles of other threads wait, since their work would lengthen the times
            if (columns, z == 1) not in self._timed:
                work = (
                    f"forest: {columns} columns, {'2-D' if z == 1 else '3-D'}, {self.packed.roots.shape[0]} trees, "
                    f"{self.packed.records.shape[0]} nodes, {launches}"
                )
                name = read_choice(self.device, work, launches) or time_variants(
                    self.device,
                    work,
                    {name: partial(self._run, launch, stack, out) for name, launch in launches.items()},
                )
                self._timed[columns, z == 1] = launches[name]
            return self._timed[columns, z == 1]

    def _run(self, launch: Launch, stack: StackOnDevice, out: DeviceArray) -> None:
        packed, tables = self.packed, self.tables
        z, y, x, columns = stack.shape
        bits = patch_bits((z, y, x))
        patches = int(np.prod([((n - 1) >> b) + 1 for n, b in zip((z, y, x), bits, strict=True)]))
        blocks = -(-patches // launch.warps)
        kernel = FILE.kernel(self.device, *kernel_of(launch.variant, is_pure=packed.is_pure))
        for first_class, class_count in launch.classes:
            kernel(
                (blocks, 1, 1), (WARP * launch.warps, 1, 1),
                (
                    stack.values, np.int64(stack.column_stride), *_ints(columns, z, y, x, *bits), tables.records,
                    tables.roots, *_ints(packed.offset_bits), tables.groups, *_ints(tables.groups.shape[0]),
                    tables.vote_value, *_ints(packed.vote_value.shape[1]), tables.probabilities, tables.weights,
                    *_ints(packed.averages), np.float32(packed.divisor),
                    *_ints(packed.classes, first_class, class_count), out,
                ),
                shared_bytes=launch.shared_bytes,
            )  # fmt: skip


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
    variant = VARIANTS[choose_variant(packed, used, device)]
    return [(FILE, kernel_of(variant, is_pure=packed.is_pure)[1])]


def all_forest_kernels() -> list[Compilation]:
    """List the kernels to compile for any forest."""
    return [
        (FILE, kernel_of(variant, is_pure=is_pure)[1]) for variant in VARIANTS.values() for is_pure in (True, False)
    ]


def choose_variant(packed: PackedForest, columns: int, device: Device) -> str:
    """Choose the variant expected to be faster; a block may use all the shared memory of a multiprocessor."""
    needed = MIN_BLOCKS * WARPS * _warp_bytes(VARIANTS["entered"], columns, packed.classes)
    return "entered" if needed <= device.shared_bytes_per_block else "direct"


def candidate_launches(device: Device, packed: PackedForest, columns: int) -> dict[str, Launch]:
    """Plan the launches among which a device is asked, the expected one first: those with blocks of WARPS warps.

    A variant whose blocks do not fit with all their warps is much slower, so that nothing has to be timed.
    """
    expected = choose_variant(packed, columns, device)
    found = {}
    for name in (expected, *(name for name in VARIANTS if name != expected)):
        with contextlib.suppress(ValueError):
            launch = plan_launch(device, packed, columns, VARIANTS[name])
            if launch.warps == WARPS and len(launch.classes) == 1:
                found[name] = launch
    return found


def plan_launch(device: Device, packed: PackedForest, columns: int, variant: Variant) -> Launch:
    """Plan the launch of a variant: warps of a block, shared memory, and the pieces of classes.

    Raises ValueError if not even one warp fits.
    """
    limit, count = device.shared_bytes_per_block, packed.classes
    while count > 1 and _MIN_WARPS * _warp_bytes(variant, columns, count) > limit:
        count = -(-count // 2)
    warp_bytes = _warp_bytes(variant, columns, count)
    warps = min(WARPS, limit // warp_bytes)
    if warps < 1:
        raise ValueError(f"{columns} columns do not fit into {limit} bytes of shared memory of a block")
    pieces = tuple((first, min(count, packed.classes - first)) for first in range(0, packed.classes, count))
    return Launch(variant, warps, pieces, warps * warp_bytes)


def patch_bits(tile: Voxels) -> Voxels:
    """Size of a warp's patch as powers of two along z, y, x: as square or cubic as the tile allows."""
    total = WARP.bit_length() - 1
    room = [(n - 1).bit_length() for n in tile]
    wide = (0, total // 2, total - total // 2) if tile[0] == 1 else (total // 3, (total + 1) // 3, (total + 2) // 3)
    bits = [min(b, r) for b, r in zip(wide, room, strict=True)]
    for axis in (2, 1, 0):
        bits[axis] += min(room[axis] - bits[axis], total - sum(bits))
    return bits[0], bits[1], bits[2] + total - sum(bits)


def _warp_bytes(variant: Variant, columns: int, classes: int) -> int:
    """Shared memory of one warp: its features, sums, bounds, and the votes common to all its voxels."""
    patch, bounds = (columns * WARP, 2 * columns) if variant.enters else (0, 0)
    return 4 * (patch + classes * WARP + _rounded(bounds + classes, WARP))


def _rounded(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _ints(*numbers: int) -> tuple[np.int32, ...]:
    return tuple(np.int32(n) for n in numbers)

"""Components of equal value, found on the device by union-find over voxels, kept on the host as runs along x.

A slab's values are uploaded and its runs downloaded: the same record as the CPU backend's, array by array, so that all
later steps (faces between slabs, sizes, overlaps, ids) are the CPU's, which process runs instead of voxels. Labels of
voxels exist on the device only while the slab is processed; data that grows with the frame is on the host, in the
engine's storage, within its budget. Downloaded as voxels, labels would take 4 bytes each, more than the values, and be
copied again; a run takes 12.

Bricks of 256 rows of 32 voxels are labelled in shared memory, where only the first voxels of runs are joined; then one
pair of voxels is joined for each stretch of a brick's face along which nothing changes. The smaller position becomes
the root, so roots are first voxels, and numbering them by a prefix sum gives ids in scan order.

Bytes moved for a voxel of b bytes, with r runs a voxel: bricks b + 4; faces of bricks of 32 x 16 x 16 (b + 4) / 4 along
y and z, and along x up to 4, because a single voxel loads 32 bytes; counting, numbering and writing runs 3 b and
3 min(4, 32 r), because only the labels of first voxels are read; the runs 12 r. That is 19 for uint8 with a run
every 20 voxels, 28 for noise with one every 4: 160 and 107 Gvox/s at the 3 TB/s of an H100, so the upload is the
bottleneck, then the atomics.
"""

from __future__ import annotations

import numpy as np

from ...frozen import frozen
from ..contract import Storage, Voxels
from ..cpu.host.labels import SlabRuns, comparable
from .device import Device, DeviceArray
from .launch import TYPE_NAMES, KernelFile

MAX_VOXELS = (1 << 31) - 1  # of a slab: positions are 32-bit numbers, their highest bit is a flag
BRICK_ROWS, LANES, STRETCH = 256, 32, 1024  # as in labels.cu
_BRICK_THREADS, _THREADS, _SCAN_THREADS = 512, 256, 1024
_MAX_BRICK_DEPTH = 16

FILE = KernelFile("labels.cu")
TYPES = {name: TYPE_NAMES[name] for name in ("uint8", "uint16", "uint32", "uint64", "float32", "float64")}
"""Types labelled without conversion, with their CUDA names; other types have the same components as one of these."""


def label_slab(device: Device, values: np.ndarray, storage: Storage) -> SlabRuns:
    """Find the components of a slab of 1 to MAX_VOXELS voxels, see ``contract.LabelBackend.label_slab``.

    Raises DeviceOutOfMemory: 4 bytes a voxel are needed in addition to values and runs. Raises KernelError for values
    of types that cannot be compared.
    """
    flat = comparable(values)
    depth, height, width = values.shape
    found = find_runs(device, device.upload(flat), (depth, height, width))
    on_host = []
    for array in (found.first, found.start, found.stop, found.component):
        on_host.append(storage.array(array.shape, array.dtype))
        if on_host[-1].size:
            on_host[-1][...] = device.download(array)
    first, start, stop, component = on_host
    return SlabRuns((depth, height, width), first, start, stop, component, found.count)


@frozen
class DeviceRuns:
    """Runs of a slab on the device; arrays as in ``cpu.host.labels.SlabRuns``. ``count``: number of components."""

    first: DeviceArray
    start: DeviceArray
    stop: DeviceArray
    component: DeviceArray
    count: int


def find_runs(device: Device, values: DeviceArray, shape: Voxels) -> DeviceRuns:
    """Find runs and components of a slab's flat values, of one of TYPES, on the device. Waits for their numbers."""
    depth, height, width = shape
    defines = (f"VALUE={TYPES[values.dtype.name]}",)
    voxels, stretches = depth * height * width, -(-depth * height * width // STRETCH)
    labels = device.empty((voxels,), np.uint32)
    _unite(device, values, labels, shape, defines)

    def over_stretches(kernel: str, *arguments: DeviceArray) -> None:
        sizes = np.uint32(voxels), np.uint32(width), np.uint32(stretches)
        blocks = -(-stretches * LANES // _THREADS)
        FILE.kernel(device, kernel, defines)((blocks, 1, 1), (_THREADS, 1, 1), (values, labels, *sizes, *arguments))

    counts, totals = device.empty((2, stretches), np.uint32), device.empty((2,), np.uint32)
    over_stretches("count_runs", counts)
    FILE.kernel(device, "add_up_counts", defines)(
        (2, 1, 1), (_SCAN_THREADS, 1, 1), (counts, np.uint32(stretches), totals)
    )
    over_stretches("number_roots", counts.view(stretches, (stretches,)))
    runs, count = (int(n) for n in device.download(totals))
    first, room = device.empty((depth * height + 1,), np.int64), max(1, runs)
    start, stop = device.empty((room,), np.int32), device.empty((room,), np.int32)
    component = device.empty((room,), np.uint32)
    over_stretches("write_runs", counts.view(0, (stretches,)), first, start, stop, component)
    return DeviceRuns(first, start.view(0, (runs,)), stop.view(0, (runs,)), component.view(0, (runs,)), count)


def _unite(device: Device, values: DeviceArray, labels: DeviceArray, shape: Voxels, defines: tuple[str, ...]) -> None:
    """Label bricks, then join them across their faces."""
    depth, height, width = shape
    brick_depth = 1
    while brick_depth < min(depth, _MAX_BRICK_DEPTH):
        brick_depth *= 2
    brick_height = BRICK_ROWS // brick_depth
    sizes = np.uint32(width), np.uint32(height), np.uint32(depth), np.uint32(brick_height.bit_length() - 1)
    bricks = -(-width // LANES) * -(-height // brick_height) * -(-depth // brick_depth)
    label, join = (FILE.kernel(device, name, defines) for name in ("label_bricks", "join_bricks"))
    label((bricks, 1, 1), (_BRICK_THREADS, 1, 1), (values, labels, *sizes))
    pairs = (
        (width - 1) // LANES * height * depth,
        (height - 1) // brick_height * width * depth,
        (depth - 1) // brick_depth * width * height,
    )
    for axis, n in enumerate(pairs):
        if n:
            arguments = (values, labels, *sizes, np.uint32(axis), np.uint32(n))
            join((-(-n // _THREADS), 1, 1), (_THREADS, 1, 1), arguments)

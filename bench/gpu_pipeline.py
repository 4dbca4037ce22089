"""Simulation of runs on a GPU: reading, copies, kernels and writing of all tiles, and which stage the others wait for.

Nothing here is timed. Kernels take the times of bench/gpu_model.py (results/2026-11-30-gpu-machine-code.md, with the
forest's variant that is chosen without timing), copies the bandwidth of PCI Express, the host's stages the rates in
HOSTS. Tiles go through the stages of the engine in order:

- READERS threads read the same file, at most READ_AHEAD tiles more than there are threads; like other formats, HDF5 is
  read without its library's lock, except for damaged files and rare layouts
- each tile in work has a thread; of these, TILES_IN_FLIGHT copy into pinned memory, upload, launch, wait and download
- the device has one queue of kernels, and one engine for each direction of copies
- converted results are written by the tile's thread: one at a time into an HDF5 file, in parallel into other formats

These constants follow from it, and are printed with what they follow from: TILES_IN_FLIGHT and READERS
(kernels/cuda/tiles.py), FLAT_TILE and SOLID_TILE (kernels/cuda/pixel_backend.py), GPU_START_S (engine/backends.py).
Where the others wait for the device, rates have the error bar of the kernels' model, a factor of 1.5.
"""

from __future__ import annotations

import heapq
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from cases import make_parser, parse
from data import selection
from measure import Report

from pixelforest.box import Box
from pixelforest.engine.backends import CPU_VOXELS_PER_S, GPU_START_S
from pixelforest.engine.pixels.feature_plan import plan_features
from pixelforest.engine.resources import Resources
from pixelforest.engine.tiling.halo import source_box
from pixelforest.engine.tiling.plan import READ_AHEAD, TileCost, plan_tiles
from pixelforest.kernels import load
from pixelforest.kernels.contract import ResultPlan, TilePreference, Voxels, as_voxels
from pixelforest.kernels.cuda.features import CudaPlan, load_plan
from pixelforest.kernels.cuda.pinned import rounded_bytes
from pixelforest.kernels.cuda.pixel_backend import FLAT_TILE, MIN_FLAT_TILE, MIN_SOLID_TILE, SOLID_TILE
from pixelforest.kernels.cuda.tiles import MEMORY_SHARE, READERS, TILES_IN_FLIGHT, device_bytes

CORES = 16
CLASSES = 2
IMAGES: dict[int, tuple[Voxels, ...]] = {
    2: ((1, 16384, 16384), (1, 8192, 8192)),
    3: ((1024, 1024, 1024), (512, 512, 512)),
}
TILES: dict[int, tuple[Voxels, ...]] = {
    2: ((1, 512, 512), (1, 1024, 1024), (1, 1024, 2048), (1, 2048, 2048), (1, 4096, 4096)),
    3: ((64, 128, 128), (128, 128, 256), (128, 256, 256), (192, 256, 256), (256, 256, 256), (256, 256, 512)),
}
PRODUCT = {2: (FLAT_TILE, MIN_FLAT_TILE), 3: (SOLID_TILE, MIN_SOLID_TILE)}
# Gaussians are computed for the halo too: their share of the instructions for features, as docs/gpu.md has them.
GAUSSIAN_SHARE = {2: 1900 / 5700, 3: 2900 / 11300}
LAUNCHES = {2: 32, 3: 40}  # of a tile: seven scales with their passes, forest, results
LAUNCH_S = 20e-6  # of a kernel or copy, in Python, which runs in one thread at a time
ENGINE_S = 0.5e-3  # of a tile, in Python
WAKE_S = 100e-6  # until a thread that waits for the device continues
# Parts of GPU_START_S, which are the same on every device.
IMPORT_S = 0.5  # CuPy beside NumPy: 0.4 to 0.8, measured
CONTEXT_S = 0.4  # driver and context; 0.2 to 0.5 are reported, more on machines with many GPUs
LOADING_S = 0.1  # about ten modules from the cache, and pinning of the first tiles' memory at 3 GB/s
CPU_RATE = {2: 2.8e6, 3: 1.6e6}  # voxels a second and core, from results/2026-11-22-table.md


@dataclass(frozen=True)
class Gpu:
    """Figures of a device.

    features, forest   10^9 voxels a second in 2-D and 3-D, by the model
    pci                bytes a second in one direction
    """

    name: str
    features: tuple[float, float]
    forest: tuple[float, float]
    pci: float
    memory: int

    def kernel_s(self, dimensions: int, voxels: int, source: int) -> float:
        """Seconds of all kernels of a tile; ``source``: voxels with the halo."""
        share, index = GAUSSIAN_SHARE[dimensions], dimensions - 2
        computed = share * source + (1 - share) * voxels
        return 1e-9 * (computed / self.features[index] + voxels / self.forest[index])


PCI_3, PCI_4, PCI_5 = 12e9, 25e9, 50e9
GPUS = (
    Gpu("T4", (0.42, 0.20), (0.15, 0.16), PCI_3, 15 << 30),
    Gpu("RTX 4090", (2.04, 1.27), (0.95, 0.85), PCI_4, 23 << 30),
    Gpu("A100", (2.46, 1.18), (0.85, 0.76), PCI_4, 39 << 30),
    Gpu("H100", (4.01, 1.86), (1.52, 1.23), PCI_5, 79 << 30),
    Gpu("B200", (4.34, 2.11), (1.79, 1.45), PCI_5, 180 << 30),
)


@dataclass(frozen=True)
class Host:
    """Rates of one thread of the host in bytes a second; ``is_serial``: one thread writes at a time."""

    name: str
    read: float
    write: float
    is_serial: bool
    value_bytes: int
    copy: float = 4e9  # into pinned memory


# Reading out of chunks that are not compressed: 0.4 to 1.0 GB/s in 2-D, 0.8 to 1.0 in 3-D, measured on two busy cores.
# Writing: results/2026-11-22-table.md, 134 MB in 0.29 s; compressed chunks results/2026-11-22-formats.md, two threads.
HOSTS = (
    Host("memory to memory, float32", 4e9, 4e9, is_serial=False, value_bytes=4),
    Host("HDF5 to OME-Zarr, uint8", 1e9, 0.2e9, is_serial=False, value_bytes=1),
    Host("HDF5 to HDF5, uint8", 1e9, 0.46e9, is_serial=True, value_bytes=1),
)


class Places:
    """Places of a resource, which tiles take in order. ``busy_s``: time for which they were taken, all together."""

    def __init__(self, count: int) -> None:
        self.free_at, self.busy_s = [0.0] * count, 0.0

    def take(self, ready: float) -> float:
        """Take the place that becomes free first; returns the time, at least ``ready``."""
        return max(ready, heapq.heappop(self.free_at))

    def give_back(self, start: float, stop: float) -> float:
        """Give back a place that was taken from ``start`` to ``stop``; returns ``stop``."""
        heapq.heappush(self.free_at, stop)
        self.busy_s += stop - start
        return stop

    def use(self, ready: float, seconds: float) -> float:
        """Take a place for some seconds; returns the time after them."""
        start = self.take(ready)
        return self.give_back(start, start + seconds)


@dataclass(frozen=True)
class Outcome:
    """Result of a simulated run.

    busy          share of the time in which a stage works, for stages in which tiles wait for each other
    alone         time of a tile in flight without others, divided by the longest of its parts
    pinned_bytes, device_bytes  of all tiles in flight
    """

    seconds: float
    busy: dict[str, float]
    alone: float
    pinned_bytes: int
    device_bytes: int


def simulate(
    tiles: Sequence[Box],
    image: Voxels,
    plan: CudaPlan,
    gpu: Gpu,
    host: Host,
    *,
    in_flight: int = TILES_IN_FLIGHT,
    readers: int = READERS,
) -> Outcome:
    """Run all tiles of an image through all stages."""
    dimensions = 2 if image[0] == 1 else 3
    reader, thread, flight = Places(readers), Places(CORES), Places(in_flight)
    upload, device, download = Places(1), Places(1), Places(1)
    python, writer = Places(1), Places(1 if host.is_serial else CORES)
    ends: list[float] = []
    pinned_bytes = needed_bytes = 0
    alone = 1.0
    for tile in tiles:
        box = source_box(tile, plan.source_halo, image)
        voxels, source = math.prod(tile.shape), math.prod(box.shape)
        out_bytes = CLASSES * host.value_bytes * voxels
        copy_s, python_s = source / host.copy, ENGINE_S + LAUNCHES[dimensions] * LAUNCH_S
        kernel_s, down_s = gpu.kernel_s(dimensions, voxels, source), out_bytes / gpu.pci + WAKE_S
        room = ends[-CORES - READ_AHEAD] if len(ends) >= CORES + READ_AHEAD else 0.0
        thread_from = thread.take(reader.use(room, source / host.read))
        flight_from = flight.take(thread_from)
        launched = python.use(flight_from + copy_s, python_s)
        computed = device.use(upload.use(launched, source / gpu.pci), kernel_s)
        done = flight.give_back(flight_from, download.use(computed, down_s))
        ends.append(thread.give_back(thread_from, writer.use(done, out_bytes / host.write)))
        parts = (copy_s, python_s, source / gpu.pci, kernel_s, down_s)
        alone = max(alone, sum(parts) / max(parts))
        pinned_bytes = max(pinned_bytes, in_flight * (rounded_bytes(source) + rounded_bytes(out_bytes)))
        sizes = as_voxels(tile.shape), as_voxels(box.shape)
        needed_bytes = max(needed_bytes, in_flight * device_bytes(plan, ResultPlan((), CLASSES, ()), *sizes))
    seconds = max(ends)
    stages = {
        "device": device,
        "reading": reader,
        "upload": upload,
        "download": download,
        "Python": python,
        "writing": writer,
    }
    busy = {name: places.busy_s / seconds / len(places.free_at) for name, places in stages.items()}
    return Outcome(seconds, busy, alone, pinned_bytes, needed_bytes)


def cut(image: Voxels, plan: CudaPlan, tile: Voxels, smallest: Voxels) -> list[Box]:
    """Cut an image as the engine does for a backend that prefers ``tile``."""
    resources = Resources(load("cpu"), CORES, 1 << 40)
    preference = TilePreference(tile, smallest, TILES_IN_FLIGHT)
    whole = Box((0, 0, 0), image)
    return plan_tiles(whole, image, plan.source_halo, TileCost(1, 1), resources=resources, preference=preference)


def main(words: Sequence[str] | None = None) -> int:
    """Run the simulation."""
    options = parse(make_parser(__doc__, defaults=(), quick=()), words)
    if options.dry_run:
        print("statistics of objects; tiles in flight, sizes of tiles, whole runs, from which size on: in 2-D and 3-D")
        return 0
    report = Report("gpu_pipeline", options.json)
    show_objects(report)
    for dimensions, images in IMAGES.items():
        plan = load_plan(plan_features(selection(dimensions), channels=1, depth=images[0][0]))
        show_in_flight(report, dimensions, images[0], plan)
        show_readers(report, dimensions, images[0], plan)
        for image in images:
            show_tiles(report, image, plan, TILES[dimensions])
        show_runs(report, dimensions, images[0], plan)
        show_break_even(report, dimensions, plan)
    return 0


@dataclass(frozen=True)
class Statistics:
    """Nanoseconds of one core for each voxel of a frame, 35 % of which are objects; measured on 2026-11-30.

    all_ns       all columns of bench/kernels/objects.py
    ordered_ns   only those whose sums depend on the order: variance, skewness, kurtosis, radii, axes
    table_bytes  for each voxel: the other columns, with 64 bins of a histogram, of all objects
    """

    name: str
    all_ns: float
    ordered_ns: float
    table_bytes: float


STATISTICS = (
    Statistics("objects of 23 voxels", 44.1, 28.8, 9.0),
    Statistics("objects of 380 voxels", 17.3, 15.0, 0.6),
)
PAINT_NS = 15.0  # of one core, engine/tiling/time_model.py


def show_objects(report: Report) -> None:
    """Print the time of a frame of objects, with all statistics on the CPU and with those of any order on a device.

    The frame is labelled on the device, measured in two passes that each read the image in one thread while CORES cores
    measure, and painted. With statistics on a device the image is copied to it in the first pass, and tables come back;
    sums that depend on the order stay on the CPU. The kernels on the device take no time.
    """
    report.begin(f"statistics of objects, ns a voxel of a frame with {CORES} cores, PCI Express 4", name="objects")
    for host in HOSTS[:2]:
        read_ns, copy_ns = 1e9 / host.read, 1e9 / host.copy
        for each in STATISTICS:
            rest_ns = read_ns + PAINT_NS / CORES
            on_cpu = rest_ns + 2 * max(read_ns, each.all_ns / 2 / CORES)
            down_ns = each.table_bytes * 1e9 / PCI_4
            ordered_ns = each.ordered_ns / 2 / CORES
            on_device = rest_ns + max(read_ns, ordered_ns + copy_ns / CORES) + max(read_ns, ordered_ns) + down_ns
            report.note(
                f"{host.name}, {each.name}: {on_cpu:.2f} on the CPU, {on_device:.2f} with a device, "
                f"{100 * (1 - on_device / on_cpu):.0f} % less",
                host=host.name,
                objects=each.name,
                on_cpu=on_cpu,
                on_device=on_device,
            )


def show_in_flight(report: Report, dimensions: int, image: Voxels, plan: CudaPlan) -> None:
    """Print rates for numbers of tiles in flight.

    With n tiles in flight, whose parts together take ``alone`` times as long as the longest of them, that part is busy
    for n / alone of the time, so that the next larger integer is needed.
    """
    tiles = cut(image, plan, *PRODUCT[dimensions])
    numbers = (1, 2, 3, 4)
    report.begin(f"{dimensions}-D, tiles in flight: {', '.join(map(str, numbers))}", name="in flight")
    for host in HOSTS[:2]:
        for gpu in GPUS:
            found = [simulate(tiles, image, plan, gpu, host, in_flight=number) for number in numbers]
            rates = [math.prod(image) / each.seconds / 1e9 for each in found]
            needed = math.ceil(found[0].alone)
            report.note(
                f"{host.name}, {gpu.name}: {', '.join(f'{rate:.2f}' for rate in rates)} G voxels/s; alone "
                f"{found[0].alone:.2f}, needed {needed}, in use {TILES_IN_FLIGHT}",
                device=gpu.name,
                host=host.name,
                rates=rates,
                needed=needed,
            )


def show_readers(report: Report, dimensions: int, image: Voxels, plan: CudaPlan) -> None:
    """Print rates for numbers of threads that read."""
    tiles = cut(image, plan, *PRODUCT[dimensions])
    numbers = (1, 2, 3, 4)
    report.begin(f"{dimensions}-D, threads that read: {', '.join(map(str, numbers))}", name="readers")
    for host in HOSTS:
        for gpu in GPUS:
            found = [simulate(tiles, image, plan, gpu, host, readers=number) for number in numbers]
            rates = [math.prod(image) / each.seconds / 1e9 for each in found]
            report.note(
                f"{host.name}, {gpu.name}: {', '.join(f'{rate:.2f}' for rate in rates)} G voxels/s; in use {READERS}",
                device=gpu.name,
                host=host.name,
                rates=rates,
            )


def show_tiles(report: Report, image: Voxels, plan: CudaPlan, sizes: Sequence[Voxels]) -> None:
    """Print rates for sizes of tiles."""
    title = f"{' x '.join(map(str, image))}, sizes of tiles, G voxels/s; in brackets: too large for the device"
    report.begin(title, name="tiles", image=image)
    for host in HOSTS[:2]:
        for size in sizes:
            tiles, texts, rates = cut(image, plan, size, size), [], {}
            for gpu in GPUS:
                found = simulate(tiles, image, plan, gpu, host)
                fits = found.device_bytes <= MEMORY_SHARE * gpu.memory
                rates[gpu.name] = math.prod(image) / found.seconds / 1e9
                text = f"{gpu.name} {rates[gpu.name]:.2f}"
                texts.append(text if fits else f"({text})")
            report.note(
                f"{host.name}, {' x '.join(map(str, size))}: {', '.join(texts)}; {found.device_bytes / 2**30:.1f} GiB "
                f"on the device, {found.pinned_bytes / 2**20:.0f} MiB pinned",
                host=host.name,
                tile=size,
                rates=rates,
                device_bytes=found.device_bytes,
                pinned_bytes=found.pinned_bytes,
            )


def show_runs(report: Report, dimensions: int, image: Voxels, plan: CudaPlan) -> None:
    """Print whole runs with the product's tiles, and what each stage does meanwhile."""
    tiles = cut(image, plan, *PRODUCT[dimensions])
    sizes = [" x ".join(map(str, shape)) for shape in (image, tiles[0].shape)]
    report.begin(f"{dimensions}-D, {sizes[0]}, {len(tiles)} tiles of {sizes[1]}", name="runs")
    for host in HOSTS:
        for gpu in GPUS:
            found = simulate(tiles, image, plan, gpu, host)
            rate = math.prod(image) / found.seconds
            shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in found.busy.items())
            text = f"{host.name}, {gpu.name}: {rate / 1e9:.2f} G voxels/s; busy: {shares}"
            report.note(text, device=gpu.name, host=host.name, rate=rate, busy=found.busy)


def show_break_even(report: Report, dimensions: int, plan: CudaPlan) -> None:
    """Print the number of voxels from which on a GPU is faster than CORES cores."""
    start_s = IMPORT_S + CONTEXT_S + LOADING_S
    by_rule = GPU_START_S * CPU_VOXELS_PER_S * CORES
    report.begin(
        f"{dimensions}-D, voxels from which on a GPU is faster than {CORES} cores; its start takes {start_s:.1f} s, "
        f"GPU_START_S is {GPU_START_S:.1f}; auto takes it from {by_rule / 1e6:.0f} M on",
        name="break even",
    )
    side = 8192 if dimensions == 2 else 256
    image: Voxels = (1, side, side) if dimensions == 2 else (side, side, side)
    tiles = cut(image, plan, *PRODUCT[dimensions])
    for gpu in GPUS:
        seconds = simulate(tiles, image, plan, gpu, HOSTS[1]).seconds
        saved = 1 / (CPU_RATE[dimensions] * CORES) - seconds / math.prod(image)
        voxels = start_s / saved if saved > 0 else math.inf
        text = f"{voxels / 1e6:.0f} M" if saved > 0 else "never"
        report.note(f"{gpu.name}: {text}", device=gpu.name, voxels=voxels, start_s=start_s)


if __name__ == "__main__":
    sys.exit(main())

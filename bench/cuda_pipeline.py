"""Bench of whole images on a GPU: from memory to memory, and from HDF5 to HDF5, with the limit of each.

From memory to memory: uint8 in, float32 probabilities out, the engine's tiles and threads, nothing read or written. The
limit is the slower direction of the copies, at the rates of one thread measured here; the kernels' own limits are those
of cuda_features.py and cuda_forest.py. From HDF5 to HDF5: uint8 in, uint8 probabilities out; the limit is the slower of
reading and writing the same bytes with h5py alone. The first run's bytes are compared with the CPU's.

Variants tried, with results. None has run on a GPU yet.
- three tiles in flight on a device, each with a stream and a thread of its own (tiles.TILES_IN_FLIGHT)
- tiles of 4 M pixels in 2-D and 8 M voxels in 3-D (pixel_backend.FLAT_TILE, SOLID_TILE); --tile tries others
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import h5py
import numpy as np
from cases import Case, chosen_cases, list_cases, make_parser, parse
from data import Material, prepare
from measure import Report, time_work, usable_processors

from pixelforest.box import Box
from pixelforest.engine.inputs.images import open_image
from pixelforest.engine.inputs.lanes import InputOptions
from pixelforest.engine.jobs import Request, resolve_job
from pixelforest.engine.resources import Resources
from pixelforest.engine.run import batch
from pixelforest.engine.workflows.pixel.flow import RAW, classify_lane, result_infos
from pixelforest.kernels import load
from pixelforest.kernels.contract import Backend, DeviceUnavailable
from pixelforest.kernels.cuda import pixel_backend
from pixelforest.kernels.cuda.backend import compose_backend
from pixelforest.kernels.cuda.device import Device

MEMORY_BYTES = 64 << 30
PROBE_BYTES = 256 << 20
CHECKED = 1 << 22  # voxels; larger images are not compared with the CPU


class Image:
    """Image in memory, read by the workflow."""

    path_text, drange = "memory", None

    def __init__(self, data: np.ndarray) -> None:
        self.data, self.shape, self.dtype = data, data.shape, data.dtype

    def read(self, box: Box) -> np.ndarray:
        return np.asarray(self.data[box.slices()])


class Sink:
    """Result in memory, written by the workflow."""

    conversion, held_bytes, grid = None, 0, None

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.region, self.data = Box.whole(shape), np.zeros(shape, np.float32)
        self.bytes_per_voxel = 4 * shape[4]

    def write(self, box: Box, data: np.ndarray) -> None:
        self.data[box.slices()] = data


def main(words: Sequence[str] | None = None, device: Device | None = None) -> int:
    """Run the bench. device: replaces the GPUs in tests."""
    parser = make_parser(__doc__, defaults=("2d-8192", "3d-512"), quick=("2d-quick",))
    parser.add_argument("--tile", type=int, nargs=3, metavar="N", help="largest tile along z, y, x")
    options = parse(parser, words)
    cases = chosen_cases(options)
    if options.dry_run:
        list_cases(cases)
        return 0
    try:
        backend = load("cuda") if device is None else compose_backend([device])
    except (DeviceUnavailable, ImportError) as error:
        print(f"there is nothing to measure without a GPU: {error}", file=sys.stderr)
        return 1
    if options.tile:
        pixel_backend.FLAT_TILE = pixel_backend.SOLID_TILE = tuple(options.tile)
    report = Report("cuda_pipeline", options.json)
    probe = (1 << 20) if options.quick else PROBE_BYTES
    up, down = copy_rates(backend.pixels.devices[0], probe)
    report.note(f"{backend.describe()}; pinned copies {up / 1e9:.1f} GB/s up, {down / 1e9:.1f} GB/s down")
    for case in cases:
        material = prepare(case, options)
        threads = options.threads or usable_processors()
        repeats = options.repeats or (1 if options.quick else 5)
        report.begin(f"{case.name}: {case.describe()}", name=case.name, shape=case.shape, project=str(material.project))
        with tempfile.TemporaryDirectory(prefix="pixelforest-bench-") as folder:
            measure_memory(report, case, material, backend, (up, down), threads=threads, repeats=repeats)
            measure_files(report, case, material, backend, Path(folder), threads=threads, repeats=repeats)
    return 0


def copy_rates(device: Device, size: int) -> tuple[float, float]:
    """Measure bytes a second to and from the device by one thread, including the copy into pinned memory."""
    array = np.ones(size, np.uint8)
    there = device.upload(array)
    device.download(there)
    rates = []
    for work in (lambda: device.upload(array), lambda: device.download(there)):
        seconds = []
        for _ in range(5):
            with device.timer() as timer:
                work()
            seconds.append(timer.milliseconds / 1000)
        rates.append(size / max(min(seconds), 1e-9))
    return rates[0], rates[1]


def measure_memory(
    report: Report,
    case: Case,
    material: Material,
    backend: Backend,
    rates: tuple[float, float],
    *,
    threads: int,
    repeats: int,
) -> None:
    """Measure from host memory to host memory, float32 probabilities."""
    image = read_image(material)
    raw = {RAW: image}
    info = result_infos(material.project, raw)["Probabilities"]  # type: ignore[arg-type]

    def run(on: Backend, sink: Sink) -> Sink:
        classify_lane(
            material.project,  # type: ignore[arg-type]
            raw,  # type: ignore[arg-type]
            {"Probabilities": sink},  # type: ignore[dict-item]
            resources=Resources(on, threads, MEMORY_BYTES),
            on_progress=lambda voxels: None,
        )
        return sink

    sink = Sink((*image.shape[:4], info.channels))
    run(backend, sink)
    if case.voxels <= CHECKED:
        same = run(load("cpu"), Sink(sink.data.shape)).data.tobytes() == sink.data.tobytes()
        report.note("the CPU's bytes" if same else "NOT THE SAME as the CPU's bytes", same=same)
    floor = max((image.data.nbytes / rates[0], "copy up"), (sink.data.nbytes / rates[1], "copy down"))
    timing = time_work(lambda: run(backend, sink), repeats=repeats)
    report.row("memory to memory, float32", timing, settings=f"{threads} threads", voxels=case.voxels, floor=floor)


def measure_files(
    report: Report, case: Case, material: Material, backend: Backend, folder: Path, *, threads: int, repeats: int
) -> None:
    """Measure from HDF5 to HDF5, uint8 probabilities."""
    image = read_image(material)
    source = folder / "source.h5"
    flat = case.dimensions == 2
    data = image.data[0, 0] if flat else image.data[0]
    chunks = (*(min(n, 256 if flat else 64) for n in data.shape[:-1]), data.shape[-1])
    with h5py.File(source, "w") as file:
        file.create_dataset("data", data=data, chunks=chunks)
    request = Request(
        project=str(material.project.path),
        inputs=(f"{source}/data",),
        input_axes="yxc" if flat else "zyxc",
        output_format="hdf5",
        output_filename_format=str(folder / "result.h5"),
        export_dtype="uint8",
        pipeline_result_drange="(0.0,1.0)",
        export_drange="(0,255)",
        threads=threads,
    )
    opened, batch.open_backend = batch.open_backend, lambda *asked, **work: backend
    try:
        timing = time_work(lambda: run_once(request), repeats=repeats)
    finally:
        batch.open_backend = opened
    with h5py.File(folder / "result.h5", "r") as file:
        result, result_chunks = file["exported_data"][()], file["exported_data"].chunks
    alone = max((seconds_to_read(source), "reading"), (seconds_to_write(folder, result, result_chunks), "writing"))
    report.row("HDF5 to HDF5, uint8", timing, settings=f"{threads} threads", voxels=case.voxels, floor=alone)


def run_once(request: Request) -> None:
    report = batch.run_batch(resolve_job(request))
    if report.failed:
        raise SystemExit(report.message)


def seconds_to_read(path: Path) -> float:
    started = time.perf_counter()
    with h5py.File(path, "r") as file:
        file["data"][()]
    return time.perf_counter() - started


def seconds_to_write(folder: Path, data: np.ndarray, chunks: tuple[int, ...] | None) -> float:
    started = time.perf_counter()
    with h5py.File(folder / "written.h5", "w") as file:
        file.create_dataset("data", data=data, chunks=chunks)
    return time.perf_counter() - started


def read_image(material: Material) -> Image:
    """Read the case's image into memory, (t, z, y, x, c)."""
    trained = material.project.lanes[-1].images.get(RAW) if material.project.lanes else None
    with open_image(material.images[0], role_index=0, training=trained, options=InputOptions()) as image:
        return Image(image.read(Box.whole(image.shape)))


if __name__ == "__main__":
    sys.exit(main())

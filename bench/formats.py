"""Bench of copying a large image from HDF5, or from memory, into each of the streaming formats.

Nothing is computed, so that only reading and writing count: an image is read tile by tile as a lane reads it and
written as a result of its own type, by the tile plan, the stream and the export of a real run. The second row of a pair
reads the same tiles from an array in memory instead. Both run as separate processes, in turn; seconds are those from
opening the output to its completion, peak memory is that of the whole process.

Reading methods tried, for tiles of 64 x 64 x 128 out of chunks of 80 x 80 x 80 in the order of a run; CPU s for
the 4 GB, one thread, all in the page cache:
- h5py's slices, 64 MB of chunk cache: 4.1 to 4.5. Its chunks are read 2.6 times, and copied row by row.
- whole chunks by ``read_direct_chunk`` into a cache of 64 MB: 4.6; by ``readinto`` from their offsets: 4.0. Copying
  them out of the kernel 2.6 times takes the time that the cheaper cropping saves.
- larger tiles, 128 x 128 x 256: no change for h5py (4.4); less work elsewhere, equally in both rows.
- the mapped file, a Box per piece, offsets requested chunk by chunk: 7.7. HDF5 searches its index from the start for
  each chunk (125 us here), and boxes took longer than copying.
- the mapped file, offsets in one pass, tuples: 2.6. Remapped every 256 MB, which count as memory.
- chunks in one piece (contiguous), a quarter of the image: h5py 2.3, mapped 0.6.
- gzip, a quarter of the image: HDF5 18.7 (18.9 s), zlib-ng on two threads, 128 MB of chunks: 9.0 (6.0 s).
  Kept, with 64 MB.
  With shuffle, uint16 of few values: 55 and 29.
- chunks of zlib level 4 decompressed by ISA-L, in use since, and by zlib-ng, MB/s on one core: raw uint8 234 and 190,
  probabilities 1060 and 1230, a segmentation 880 and 1310, labels 1630 and 3480. Raw images are read most, and
  one library suffices for compression and decompression.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from cases import Case, chosen_cases, list_cases, make_parser, parse
from data import data_folder, enlarge, make_cells
from measure import Report, Timing, run_process, usable_processors

from pixelforest.box import Box
from pixelforest.engine.export.images import ResultInfo, plan_export
from pixelforest.engine.export.settings import ExportSettings
from pixelforest.engine.export.tile_sinks import open_export
from pixelforest.engine.formats import output_format
from pixelforest.engine.inputs.images import InputImage, open_image
from pixelforest.engine.inputs.lanes import InputOptions
from pixelforest.engine.machine import parse_size
from pixelforest.engine.resources import Resources
from pixelforest.engine.storage.chunks import chunk_shape
from pixelforest.engine.tiling.plan import TileCost, plan_tiles
from pixelforest.engine.tiling.stream import stream_tiles
from pixelforest.kernels import load

GOAL = 0.8  # of the rate from memory
LAYOUTS = ("chunked", "compressed", "contiguous")
BASE = {2: (512, 512), 3: (128, 128, 128)}  # generated; larger images repeat and mirror it


@dataclass(frozen=True)
class Target:
    """Format with a name for its rows."""

    name: str
    format: str
    version: str = ""


TARGETS = {
    target.name: target
    for target in (
        Target("ome-zarr-0.5", "single-scale OME-Zarr", "0.5"),
        Target("ome-zarr-0.5-scales", "multi-scale OME-Zarr", "0.5"),
        Target("ome-zarr-0.4", "single-scale OME-Zarr", "0.4"),
        Target("n5", "n5"),
        Target("hdf5", "hdf5"),
        Target("compressed-hdf5", "compressed hdf5"),
    )
}


def main(words: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, defaults=("3d-4gb",), quick=("3d-quick",))
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="default: ome-zarr-0.5; repeatable")
    parser.add_argument("--memory", default="2G", help="what the tiles are planned with; default: 2G")
    parser.add_argument(
        "--layout",
        choices=LAYOUTS,
        default="chunked",
        help="of the input: as ilastik writes it, compressed, or h5py's own",
    )
    parser.add_argument("--leg", choices=("file", "memory"), help=argparse.SUPPRESS)
    parser.add_argument("--input-file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parse(parser, words)
    cases = chosen_cases(options)
    if options.dry_run:
        list_cases(cases)
        return 0
    threads = options.threads or usable_processors()
    targets = [TARGETS[name] for name in options.target or ("ome-zarr-0.5",)]
    if options.leg:
        seconds = _run_leg(
            options.leg, options.input_file, targets[0], options.out, threads, parse_size(options.memory)
        )
        (options.out / "seconds.json").write_text(json.dumps(seconds), encoding="utf-8")
        return 0
    repeats = options.repeats or (1 if options.quick else 3)
    report = Report("formats", options.json)
    for case in cases:
        path = _prepare(case, data_folder(options.data), options.layout)
        kind = f"{options.layout} HDF5"
        size = " x ".join(map(str, case.shape))
        report.begin(f"{case.name}: {size} uint8 from {kind}, {options.memory}", name=case.name, input=kind)
        for target in targets:
            _compare(report, case, target, path, threads=threads, repeats=repeats, memory=options.memory)
    return 0


def _compare(
    report: Report, case: Case, target: Target, path: Path, *, threads: int, repeats: int, memory: str
) -> None:
    """Measure the pair of rows of one format."""
    runs: dict[str, list[Timing]] = {"file": [], "memory": []}
    for _ in range(repeats):
        for leg, found in runs.items():
            found.append(_start_leg(leg, path, target, threads=threads, memory=memory))
    settings = f"{threads} thread{'s' if threads > 1 else ''}"
    timings = {leg: _join(found) for leg, found in runs.items()}
    share = timings["memory"].median / timings["file"].median
    cpu = [statistics.median(timings[leg].cpu) for leg in runs]
    report.row(f"{target.name}, from memory", timings["memory"], settings=settings, voxels=case.voxels)
    report.row(
        f"{target.name}, from the file",
        timings["file"],
        settings=settings,
        voxels=case.voxels,
        note=f"{100 * share:.0f} % of the rate from memory, goal {100 * GOAL:.0f}; {cpu[0] / cpu[1]:.2f} times its CPU",
        share=share,
    )


def _join(timings: Sequence[Timing]) -> Timing:
    return Timing(
        tuple(t.wall[0] for t in timings),
        tuple(t.cpu[0] for t in timings),
        max((t.peak_bytes for t in timings if t.peak_bytes is not None), default=None),
    )


def _start_leg(leg: str, path: Path, target: Target, *, threads: int, memory: str) -> Timing:
    """Start one process; seconds are measured inside it, peak memory is that of the whole process."""
    with tempfile.TemporaryDirectory(prefix="pixelforest-bench-", dir=path.parent) as folder:
        command = [sys.executable, __file__, f"--leg={leg}", f"--input-file={path}", f"--target={target.name}"]
        command += [f"--out={folder}", f"--threads={threads}", f"--memory={memory}"]
        whole = run_process(command)
        wall, cpu = json.loads((Path(folder) / "seconds.json").read_text(encoding="utf-8"))
    return Timing((wall,), (cpu,), whole.peak_bytes)


def _run_leg(
    leg: str, path: Path, target: Target, folder: Path, threads: int, memory_bytes: int
) -> tuple[float, float]:
    """Write the image once. Returns wall and CPU seconds."""
    options = InputOptions()
    with open_image(f"{path}/data", role_index=0, training=None, options=options) as image:
        voxels = image.read(Box.whole(image.shape)) if leg == "memory" else None
        wall, cpu = time.perf_counter(), time.process_time()
        _export(image, voxels, target, folder, threads, memory_bytes)
        return time.perf_counter() - wall, time.process_time() - cpu


def _export(
    image: InputImage, voxels: np.ndarray | None, target: Target, folder: Path, threads: int, memory_bytes: int
) -> None:
    """Export the image, or its voxels in memory, to a file as a run would."""
    settings = ExportSettings(
        "Input", output_format(target.format), "{nickname}", folder, ome_zarr_version=target.version
    )
    export = open_export(plan_export(ResultInfo("Input", image.dtype, image.shape[4]), image, settings))
    cost = TileCost(
        per_source=image.shape[4] * image.dtype.itemsize,
        per_voxel=export.bytes_per_voxel,
        fixed=export.held_bytes,
        grid=export.grid,
    )
    inside = Box(export.region.start[1:4], export.region.stop[1:4])
    tiles = plan_tiles(
        inside, image.shape[1:4], (0, 0, 0), cost, resources=Resources(load("cpu"), threads, memory_bytes)
    )

    def read(tile: Box) -> np.ndarray:
        place = Box((0, *tile.start, 0), (1, *tile.stop, image.shape[4]))
        return image.read(place) if voxels is None else voxels[place.slices()]

    def write(tile: Box, data: np.ndarray) -> None:
        export.write(Box((0, *tile.start, 0), (1, *tile.stop, image.shape[4])), data)

    try:
        stream_tiles(tiles, read, write, threads=threads)
        export.finish()
    except BaseException:
        export.abort()
        raise


def _prepare(case: Case, folder: Path, layout: str) -> Path:
    """Write the image to a file slab by slab, chunked as by ilastik or contiguous."""
    size = "x".join(map(str, case.shape))
    path = folder / f"formats_{layout}_{size}.h5"
    if path.exists():
        return path
    shape = (1,) * (3 - len(case.shape)) + case.shape
    base = make_cells(BASE[case.dimensions], seed=11)[0]
    part = path.with_suffix(".part")
    chunks = None if layout == "contiguous" else chunk_shape(shape, "zyx", 1)
    with h5py.File(part, "w") as file:
        data = file.create_dataset(
            "data", shape, np.uint8, chunks=chunks, compression=1 if layout == "compressed" else None
        )
        if case.dimensions == 2:
            data[0] = enlarge(base, case.shape)
        else:
            slab = enlarge(base, (base.shape[0], *shape[1:]))
            for z in range(0, shape[0], slab.shape[0]):
                data[z : z + slab.shape[0]] = slab[: shape[0] - z]
        data.attrs["axistags"] = json.dumps({"axes": [{"key": a, "typeFlags": 2} for a in "zyx"]})
    shutil.move(part, path)
    return path


if __name__ == "__main__":
    raise SystemExit(main())

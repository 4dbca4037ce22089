"""Bench of a whole slide of 2 GB: memory, and CPU time compared with the same pixels as plain tiled TIFF.

The slide is made in the layout of Aperio (SVS): levels of JPEG tiles with subsampled chroma. Its pixels are also
written as plain TIFF in uncompressed tiles. Two regions, one four times as large, are cut out of both and segmented by
the command line, in turn; memory that grows with the region or the slide would show. Results must be the same. Then a
region is only read, by pixelforest, and by cuCIM if it is installed.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import h5py
import imagecodecs
import numpy as np
import tifffile
from measure import Timing, join_timings, run_process

from pixelforest.box import Box
from pixelforest.engine.formats.images.tiff import open_tiff

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden"
TILE = 256
LEVELS = 3
STRIP = 1024  # rows of the results compared at once
READ = 1024  # pixels of a region that is only read, along y and x
SLIDE, PLAIN = FILES = ("slide.svs", "plain.tif")


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=184 * TILE, help="pixels of the slide along y and x")
    parser.add_argument("--region", type=int, default=20000, help="of the larger region")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", type=Path, help="folder for the files; default: a temporary one")
    parser.add_argument("--quick", action="store_true", help="a slide of 1536 x 1536")
    parser.add_argument("--dry-run", action="store_true", help="list the rows and measure nothing")
    options = parser.parse_args(words)
    if options.quick:
        options.size, options.region, options.repeats = 1536, 1100, 1
    if options.dry_run:
        print(f"slide of {options.size} x {options.size}\nregions of {options.region // 2} and {options.region}")
        return 0
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{os.cpu_count()} processors{load} at the start")
    with tempfile.TemporaryDirectory(prefix="pixelforest-bench-", dir=options.data) as name:
        folder = Path(name)
        write_slide(folder / SLIDE, options.size)
        write_plain(folder / PLAIN, folder / SLIDE)
        for file in FILES:
            print(f"{file}: {(folder / file).stat().st_size / 1e6:.0f} MB")
        for region in (options.region // 2, options.region):
            measure_runs(folder, region, options)
        measure_reading(folder / SLIDE, min(options.region, 8 * READ), options.repeats)
    return 0


def write_slide(path: Path, size: int) -> None:
    """Write a slide of a few hundred different tiles, in an order that does not repeat from row to row."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(60, 200, (TILE, TILE, 3))
    tiles = []
    for _ in range(300 if size > 4 * TILE * LEVELS else 20):
        cells = np.kron(rng.permuted(coarse[: TILE // 16, : TILE // 16], axis=0), np.ones((16, 16, 1)))
        noise = rng.normal(0, 20, (TILE, TILE, 3))
        pixels = np.clip(cells + noise, 0, 255).astype(np.uint8)
        tiles.append(imagecodecs.jpeg8_encode(pixels, 95, colorspace="rgb", outcolorspace="ycbcr", subsampling="420"))

    def level_tiles(side: int, seed: int) -> Iterator[bytes]:
        for number in np.random.default_rng(seed).integers(0, len(tiles), (-(-side // TILE)) ** 2):
            yield tiles[number]

    text = f"Aperio Image Library v12.0.15\n{size}x{size} [0,0 {size}x{size}] ({TILE}x{TILE}) JPEG/RGB|MPP = 0.25"
    layout: dict[str, Any] = {"photometric": "ycbcr", "subsampling": (2, 2), "compression": "jpeg", "metadata": None}
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for level in range(LEVELS):
            side = size >> level
            writer.write(
                level_tiles(side, level), shape=(side, side, 3), dtype=np.uint8, tile=(TILE, TILE),
                description=text if level == 0 else "Aperio", **layout,
            )  # fmt: skip


def write_plain(path: Path, slide: Path) -> None:
    """Write the largest level of the slide in tiles of the same size."""
    with tifffile.TiffFile(slide) as tiff:
        page = tiff.pages.first
        tiles = (data[0] for data, _, _ in page.segments(maxworkers=1))
        tifffile.imwrite(
            path, tiles, shape=page.shape, dtype=page.dtype, tile=(TILE, TILE), photometric="rgb", bigtiff=True,
            metadata=None, maxworkers=1,
        )  # fmt: skip


def measure_runs(folder: Path, region: int, options: argparse.Namespace) -> None:
    """Segment a region of each file, in turn, and print CPU times and memory."""
    runs: dict[str, list[Timing]] = {file: [] for file in FILES}
    for _ in range(options.repeats):
        for file in FILES:
            command = [
                *(sys.executable, "-m", "pixelforest", "--headless", "--device=cpu", f"--threads={options.threads}"),
                f"--project={GOLDEN / 'px2d_rgb' / 'project.ilp'}",
                *("--export_source=Simple Segmentation", "--output_format=hdf5"),
                f"--cutout_subregion=[(0,0,None),({region},{region},None)]",
                f"--output_filename_format={folder / file}.h5",
                str(folder / file),
            ]
            runs[file].append(run_process(command))
    timings = {file: join_timings(done) for file, done in runs.items()}
    plain_cpu_s = median(timings[PLAIN].cpu)
    for file, timing in timings.items():
        cpu_s = median(timing.cpu)
        print(
            f"{region} x {region} of {file}: {cpu_s:.1f} CPU s, {cpu_s / region**2 * 1e9:.0f} ms per Mpx, "
            f"{cpu_s / plain_cpu_s:.2f} of {PLAIN}; {median(timing.wall):.1f} s; {(timing.peak_bytes or 0) >> 20} MiB"
        )
    same = is_same(*(folder / f"{file}.h5" for file in FILES))
    print(f"results of {' and '.join(FILES)}: {'the same' if same else 'NOT THE SAME'}")


def is_same(a: Path, b: Path) -> bool:
    with h5py.File(a) as one, h5py.File(b) as other:
        first, second = one["exported_data"], other["exported_data"]
        starts = range(0, len(first), STRIP)
        values = {int(v) for v in np.unique(first[:STRIP])}
        equal = all(np.array_equal(first[y : y + STRIP], second[y : y + STRIP]) for y in starts)
        return first.shape == second.shape and len(values) > 1 and equal


def measure_reading(path: Path, side: int, repeats: int) -> None:
    """Read regions by one thread, and print CPU times; count values in which another library differs."""
    starts = list(itertools.product(range(0, side, READ), repeat=2))
    with open_tiff(path) as image:
        axes, shape = image.info.axes, dict(zip(image.info.axes, image.info.shape, strict=True))

        def own(y: int, x: int) -> np.ndarray:
            bounds = {"y": (y, min(y + READ, side)), "x": (x, min(x + READ, side))}
            pairs = [bounds.get(axis, (0, shape[axis])) for axis in axes]
            return np.moveaxis(image.read(Box(*map(tuple, zip(*pairs, strict=True)))), axes.index("c"), -1)

        readers: dict[str, Callable[[int, int], np.ndarray]] = {"pixelforest": own}
        try:
            cucim: Any = importlib.import_module("cucim")
        except ImportError:
            pass
        else:
            cucim.CuImage.cache("nocache")
            slide = cucim.CuImage(str(path))
            readers["cuCIM"] = lambda y, x: np.asarray(
                slide.read_region((x, y), (min(READ, side - x), min(READ, side - y)), 0)
            )
        times: dict[str, list[float]] = {name: [] for name in readers}
        for _ in range(repeats):
            for name, read in readers.items():
                start = time.process_time()
                for y, x in starts:
                    read(y, x)
                times[name].append(time.process_time() - start)
        for name, read in readers.items():
            differing = sum(int((read(y, x) != own(y, x)).sum()) for y, x in starts)
            note = "" if name == "pixelforest" else f", {differing} values differ"
            print(f"reading {side} x {side}, {name}: {1e9 * min(times[name]) / side**2:.1f} CPU ms per Mpx{note}")


if __name__ == "__main__":
    sys.exit(main())

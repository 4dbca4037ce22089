"""Bench of an image of 10^9 pixels in little memory: HDF5 to uint8 probabilities in HDF5, by the command line.

The run's virtual memory is limited as by ``ulimit -v``, and the maximum resident set is reported. The image is the
bench picture, repeated and mirrored, so the result must repeat with it away from the border: every period is compared
with the first. The image is larger than memory: never more than a strip of it is loaded.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from cases import LIMIT_TEXT, Case, chosen_cases, list_cases, make_parser, parse
from data import MAX_SIZES, axistags, data_folder, enlarge, make_cells, prepare
from measure import Report, join_timings, run_process, usable_processors

CHUNK = 512
ADDRESSES_MB = 1536
GOAL_BYTES = 1 << 30
STRIP = 256  # rows of the result compared at once


def main(words: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, defaults=("2d-32768",), quick=("2d-quick",))
    parser.add_argument("--addresses", type=int, default=ADDRESSES_MB, metavar="MB", help=LIMIT_TEXT)
    options = parse(parser, words)
    cases = chosen_cases(options)
    if options.dry_run:
        list_cases(cases)
        return 0
    threads = options.threads or usable_processors()
    report = Report("large_image", options.json)
    for case in cases:
        if case.dimensions != 2:
            report.note(f"{case.name}: only flat images are made here")
            continue
        project = prepare(replace(case, shape=()), options).project
        folder = data_folder(options.data)
        path = write_image(folder, case)
        stored = path.stat().st_size / 1e9
        title = (
            f"{case.name}: {' x '.join(map(str, case.shape))} uint8 ({stored:.2f} GB of HDF5), {case.result} as uint8"
        )
        report.begin(title, name=case.name, shape=case.shape, addresses_mb=options.addresses, threads=threads)
        with tempfile.TemporaryDirectory(prefix="pixelforest-bench-", dir=folder) as place:
            result = Path(place) / "result.h5"
            command = [
                *(sys.executable, "-m", "pixelforest", "--headless", f"--project={project.path}"),
                *("--export_dtype=uint8", "--pipeline_result_drange=(0.0,1.0)", "--export_drange=(0,255)"),
                *("--output_format=compressed hdf5", f"--output_filename_format={result}", f"--threads={threads}"),
                f"{path}/data",
            ]
            runs = [run_process(command, address_bytes=options.addresses << 20) for _ in range(options.repeats or 1)]
            timing = join_timings(runs)
            compared = compare_periods(result, period=2 * min(MAX_SIZES[2][0], *case.shape))
        limit = f"ulimit -v {options.addresses << 10}" if options.addresses else "no limit"
        peak = timing.peak_bytes
        verdict = "" if peak is None else f"; {'within' if peak <= GOAL_BYTES else 'MORE THAN'} 1 GiB"
        note = f"{limit}{verdict}; {compared} periods of the result are the same"
        report.row("pixelforest", timing, settings=f"{threads} threads", voxels=case.voxels, note=note)
    return 0


def write_image(folder: Path, case: Case) -> Path:
    """Write the image, chunked and compressed, strip by strip, if it is missing."""
    height, width = case.shape
    path = folder / f"large_{height}x{width}.h5"
    if path.exists():
        return path
    size = tuple(min(a, b) for a, b in zip(case.shape, MAX_SIZES[2], strict=True))
    base = make_cells(size, seed=9)[0]
    unfinished = path.with_suffix(f".{os.getpid()}")
    try:
        with h5py.File(unfinished, "w") as file:
            chunks = (min(CHUNK, height), min(CHUNK, width), 1)
            data = file.create_dataset(
                "data", (height, width, 1), np.uint8, chunks=chunks, compression="gzip", compression_opts=1
            )
            data.attrs["axistags"] = axistags("yxc")
            for i, y in enumerate(range(0, height, len(base))):
                rows = base[::-1] if i % 2 else base
                strip = enlarge(rows, (min(len(base), height - y), width))
                data[y : y + len(strip)] = strip[..., np.newaxis]
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def compare_periods(path: Path, *, period: int) -> int:
    """Count equal whole periods away from the border. Ends the bench if one differs, or if all values are equal."""
    compared = 0
    with h5py.File(path, "r") as file:
        result = file["exported_data"]
        height, width = result.shape[:2]
        inner = [range(period, n - period - period // 2, period) for n in (height, width)]
        for first in range(0, period, STRIP):
            expected = None
            for y in inner[0]:
                rows = result[y + first : y + min(first + STRIP, period), :width]
                for x in inner[1]:
                    found = rows[:, x : x + period]
                    expected = found if expected is None else expected
                    if not np.array_equal(found, expected):
                        raise SystemExit(f"{path}: the result does not repeat with the image at row {y + first}, {x}")
                    compared += first == 0
        sample = result[: min(height, STRIP)]
        if sample.min() == sample.max():
            raise SystemExit(f"{path}: every probability is {sample.min()}")
    return compared


if __name__ == "__main__":
    raise SystemExit(main())

"""Bench of ``--resume``: a batch that is killed at random and continued, and what records cost.

Rows: the batch without records; with records; killed and continued, all its runs together; and a volume in OME-Zarr
without records, in blocks, and killed after its first block. The files of all are compared byte for byte, and records
are counted: an input that was done twice would have two.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import h5py
import imagecodecs
import numpy as np

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden"
PICTURE, VOLUME = (96, 128), (160, 320, 640)  # two blocks and a part of one


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="12 files, 2 kills, a small volume")
    parser.add_argument("--dry-run", action="store_true", help="list the rows and measure nothing")
    options = parser.parse_args(words)
    if options.quick:
        options.files, options.kills = 12, 2
    if options.dry_run:
        print(f"batch of {options.files} pictures, killed {options.kills} times\nvolume in blocks")
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure_batch(folder, options)
        measure_volume(folder, options)
    return 0


def measure_batch(folder: Path, options: argparse.Namespace) -> None:
    rng = np.random.default_rng(options.seed)
    images = [folder / f"{i:05d}.png" for i in range(options.files)]
    for image in images:
        image.write_bytes(imagecodecs.png_encode(rng.integers(0, 256, PICTURE, np.uint8)))
    command = [
        f"--project={GOLDEN / 'px2d_gray' / 'project.ilp'}",
        "--output_format=numpy",
        f"--threads={options.threads}",
    ]

    def start(out: str, *more: str) -> subprocess.Popen[bytes]:
        place = f"--output_filename_format={folder / out}/{{nickname}}"
        return run([*command, place, *more, *map(str, images)])

    plain_s = timed(start("plain"))
    recorded_s = timed(start("recorded", "--resume"))
    # States of the run, not times: the process is killed once so many more inputs are recorded.
    draw, killed_s, done = random.Random(options.seed), 0.0, 0
    for _ in range(options.kills):
        started_s = time.perf_counter()
        process = start("killed", "--resume")
        wanted = done + draw.randint(0, options.files // (options.kills + 1))
        while process.poll() is None and len(done_lanes(folder / "killed")) < wanted:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        done = len(done_lanes(folder / "killed"))
        killed_s += time.perf_counter() - started_s
    killed_s += timed(start("killed", "--resume"))
    records = done_lanes(folder / "killed")
    twice = sum(count - 1 for count in Counter(records).values())
    same = contents(folder / "plain") == contents(folder / "recorded") == contents(folder / "killed")
    print(f"{options.files} pictures without records: {plain_s:.1f} s")
    print(f"with records: {recorded_s:.1f} s, {1e3 * (recorded_s - plain_s) / options.files:.1f} ms a picture more")
    print(f"killed {options.kills} times and continued: {killed_s:.1f} s in all runs")
    print(f"recorded twice: {twice}; inputs: {len(set(records))}; {'the same files' if same else 'NOT THE SAME'}")


def measure_volume(folder: Path, options: argparse.Namespace) -> None:
    shape = (40, 48, 56) if options.quick else VOLUME
    with h5py.File(folder / "volume.h5", "w") as file:
        file["data"] = np.random.default_rng(options.seed).integers(0, 256, shape, np.uint8)
    command = [f"--project={GOLDEN / 'px3d' / 'project.ilp'}", f"--threads={options.threads}"]
    command += ["--output_format=single-scale OME-Zarr", str(folder / "volume.h5" / "data")]

    def start(out: str, *more: str) -> subprocess.Popen[bytes]:
        return run([*command, f"--output_filename_format={folder / out}/{{nickname}}", *more])

    whole_s, blocks_s = timed(start("whole")), timed(start("blocks", "--resume"))
    started_s = time.perf_counter()
    process = start("killed-volume", "--resume")
    while process.poll() is None and not any(
        file.stat().st_size for file in folder.glob("killed-volume/.*.run/*.jsonl")
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed_s = time.perf_counter() - started_s + timed(start("killed-volume", "--resume"))
    same = contents(folder / "whole") == contents(folder / "blocks") == contents(folder / "killed-volume")
    size = " x ".join(map(str, shape))
    share = 100 * (blocks_s / whole_s - 1)
    print(f"volume of {size} as OME-Zarr: {whole_s:.1f} s; with --resume: {blocks_s:.1f} s ({share:+.0f} %)")
    print(f"killed after its first block and continued: {killed_s:.1f} s in both runs")
    print("the same files" if same else "NOT THE SAME")


def run(words: Sequence[str]) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "pixelforest", "--headless", "--device=cpu", "--quiet", *words]
    return subprocess.Popen(argv, cwd=tempfile.gettempdir())


def timed(process: subprocess.Popen[bytes]) -> float:
    """Seconds until a process has ended, which must not fail."""
    started_s = time.perf_counter()
    if process.wait():
        raise SystemExit(f"a run ended with status {process.returncode}")
    return time.perf_counter() - started_s


def done_lanes(out: Path) -> list[str]:
    """Inputs recorded as done, once for each record."""
    lines = [line for file in out.glob(".pixelforest-resume/*.jsonl") for line in file.read_bytes().split(b"\n")[:-1]]
    return [record["lane"] for record in map(json.loads, lines) if "files" in record]


def contents(out: Path) -> dict[str, bytes]:
    """Results in a folder, without hidden files."""
    shown = [file for file in out.rglob("*") if file.is_file()]
    names = {str(file.relative_to(out)): file for file in shown}
    return {name: file.read_bytes() for name, file in names.items() if name[0] != "."}


if __name__ == "__main__":
    sys.exit(main())

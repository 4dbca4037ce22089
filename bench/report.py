"""Bench of ``--report_html``: processor time of whole runs with and without a page, in turn.

The images are noise of the size of a camera's; only their probabilities are exported. The machine's floor is the
difference between the runs without a page: every other one against the rest.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import imagecodecs
import numpy as np

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--side", type=int, default=1264)
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--source", default="Probabilities", help="results to export")
    parser.add_argument("--quick", action="store_true", help="2 images of 96x96, twice")
    parser.add_argument("--dry-run", action="store_true", help="say what is measured, and measure nothing")
    options = parser.parse_args(words)
    if options.quick:
        options.images, options.side, options.repeats = 2, 96, 2
    print(f"{options.images} images of {options.side}x{options.side}, {options.source}, one thread")
    if options.dry_run:
        return 0
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), options)
    return 0


def measure(folder: Path, options: argparse.Namespace) -> None:
    rng = np.random.default_rng(1)
    images = [folder / f"{i:03d}.png" for i in range(options.images)]
    for image in images:
        image.write_bytes(imagecodecs.png_encode(rng.integers(0, 256, (options.side, options.side), np.uint8)))
    command = [
        *(sys.executable, "-m", "pixelforest", "--headless", "--quiet", "--threads=1", "--device=cpu"),
        f"--project={GOLDEN / 'px2d_gray' / 'project.ilp'}",
        f"--export_source={options.source}",
        f"--output_filename_format={folder}/results/{{nickname}}_{{result_type}}",
        *map(str, images),
    ]
    page = f"--report_html={folder}/report.html"
    spend([*command, page])  # compiles modules, and fills caches
    plain, reported = [], []
    for _ in range(options.repeats):
        plain.append(spend(command))
        reported.append(spend([*command, page]))
    print(f"without a page: {median(plain):.3f} s, from {min(plain):.3f} to {max(plain):.3f}")
    print(f"with a page:    {median(reported):.3f} s, from {min(reported):.3f} to {max(reported):.3f}")
    for label, before, after in (("more", plain, reported), ("floor of this machine", plain[::2], plain[1::2])):
        of_medians, of_minima = (100 * (sum_up(after) / sum_up(before) - 1) for sum_up in (median, min))
        print(f"{label}: {of_medians:+.2f} % of the medians, {of_minima:+.2f} % of the minima")


def spend(command: Sequence[str]) -> float:
    """Run a command; return its processor time, seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())

"""Workbench of the label kernels: compares ids with other libraries, then times components of frames held in memory.

Variants tried, with results (CPU ms for 256x256x256 and 4096x4096 blobs, uint8, one thread of a busy machine):
- runs along x found 64 voxels at a time, joined by union-find, ids written once at the end: 24 and 35; in use
- the first four voxels of a run written without a branch: 45 instead of 73 for 4.2 million runs of noise; in use
- the search for changes not inlined: finding the runs takes 16.5 instead of 13.3, and 20 instead of 17
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from cases import chosen_cases, list_cases, make_parser, parse
from data import make_segmentations
from measure import Limits, Report, measure_limits, time_work, usable_processors
from peers import label_peers

from pixelforest.engine.objects.label import label_components
from pixelforest.engine.resources import Resources
from pixelforest.engine.storage.scratch import Scratch
from pixelforest.kernels import load

PLENTY = 1 << 34


def main(words: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, defaults=("2d-4096", "3d-256"), quick=("2d-quick",))
    options = parse(parser, words)
    cases = chosen_cases(options)
    if options.dry_run:
        list_cases(cases)
        return 0
    report = Report("kernels/labels", options.json)
    threads = options.threads or usable_processors()
    limits = [measure_limits(n, quick=options.quick) for n in sorted({1, threads})]
    for limit in limits:
        report.note(limit.describe())
    repeats = options.repeats or (1 if options.quick else 5)
    for case in cases:
        for kind, frame in make_segmentations(case).items():
            report.begin(f"{case.name}: {kind}", name=case.name, shape=frame.shape, kind=kind)
            _measure(report, frame, limits, repeats=repeats, with_peers=not options.no_peers)
    return 0


def label(frame: np.ndarray, threads: int) -> np.ndarray:
    """Label a frame as the engine does, including slabs."""
    with Scratch(PLENTY) as scratch:
        found = label_components(
            lambda box: frame[box.slices()],
            frame.shape,
            frame.dtype,
            resources=Resources(load("cpu"), threads, scratch.memory_bytes),
            scratch=scratch,
        )
        return found.labels


def _measure(report: Report, frame: np.ndarray, limits: Sequence[Limits], *, repeats: int, with_peers: bool) -> None:
    expected = label(frame, 1)
    for limit in limits:
        timing = time_work(lambda threads=limit.threads: label(frame, threads), repeats=repeats)
        floor = limit.floor(moved_bytes=frame.nbytes + 4 * int(np.count_nonzero(expected)))
        settings = f"{limit.threads} thread{'s' if limit.threads > 1 else ''}"
        objects = int(expected.max())
        report.row("pixelforest", timing, settings=settings, voxels=frame.size, floor=floor, note=f"{objects} objects")
    for name, work in label_peers().items() if with_peers else ():
        same = np.array_equal(work(frame), expected)
        timing = time_work(lambda work=work: work(frame), repeats=repeats)
        note = "same ids" if same else "NOT THE SAME ids"
        report.row(name, timing, settings="1 thread", voxels=frame.size, note=note)


if __name__ == "__main__":
    sys.exit(main())

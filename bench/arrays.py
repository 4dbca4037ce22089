"""Bench of a call of ``predict`` for a small image: the whole call on one thread, its kernels, and the rest.

The rest reads the array, checks it, plans and writes: it is the cost of a call that does not depend on the image's size
as the kernels do. Tried: nothing but what the profile showed; most of the rest are copies of the tile and its results.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import h5py
from cases import chosen_cases, list_cases, make_parser, parse
from data import prepare
from measure import Report, Timing

import pixelforest
from pixelforest.engine.backends import open_backend

GOAL_S = 0.002  # beside the kernels, for 256 x 256
CALLS = 200


def main(words: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, defaults=("2d-256",), quick=("2d-quick",))
    options = parse(parser, words)
    cases = chosen_cases(options)
    if options.dry_run:
        list_cases(cases)
        return 0
    report = Report("arrays", options.json)
    for case in cases:
        material = prepare(case, options)
        model = pixelforest.load(material.project.path, device="cpu", threads=1)
        path, _, dataset = material.images[0].rpartition("/")
        with h5py.File(path, "r") as file:
            image = file[dataset][()]
        calls = options.repeats or (3 if options.quick else CALLS)
        whole, kernels = time_calls(lambda: model.predict(image), calls)  # noqa: B023  # called at once
        size = " x ".join(map(str, case.shape))
        report.begin(
            f"{case.name}: {size} uint8, {case.result}, array to array", name=case.name, shape=case.shape, threads=1
        )
        report.row("predict", whole, voxels=case.voxels, settings="1 thread")
        report.row("kernels in it", kernels, voxels=case.voxels)
        rest = whole.minus(kernels)
        goal = f"goal {1e3 * GOAL_S:g} ms for 256 x 256{'' if rest.median <= GOAL_S else ', missed'}"
        report.row("the rest of the call", rest, note=f"{1e3 * rest.median:.2f} ms; {goal}")
    return 0


def time_calls(call: Any, calls: int) -> tuple[Timing, Timing]:
    """Time calls, and the kernels within each."""
    pixels = type(open_backend("cpu").pixels)
    plain, inside, whole, kernels = pixels.tile_results, [], [], []

    def timed(*arguments: Any) -> Any:
        start = time.perf_counter()
        try:
            return plain(*arguments)
        finally:
            inside.append(time.perf_counter() - start)

    with patch.object(pixels, "tile_results", timed):
        call()  # loads kernels and forest
        for _ in range(calls):
            inside.clear()
            start = time.perf_counter()
            call()
            whole.append(time.perf_counter() - start)
            kernels.append(sum(inside))
    return Timing(tuple(whole)), Timing(tuple(kernels))


if __name__ == "__main__":
    sys.exit(main())

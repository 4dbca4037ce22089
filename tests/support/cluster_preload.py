"""Loaded by workers of a Dask cluster that a test starts: small blocks, and a note of everything that is computed."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pixelforest
from pixelforest.engine.formats.support import ome_zarr_layout
from pixelforest.engine.run import turns
from pixelforest.engine.storage import chunks, store_writer
from pixelforest.engine.tiling import blocks
from pixelforest.engine.workflows.objects import shared_frame
from pixelforest.engine.workflows.objects import workflow as objects
from pixelforest.engine.workflows.pixel import workflow as pixel

COMPUTED, KILL, VERSION = "PIXELFOREST_TEST_COMPUTED", "PIXELFOREST_TEST_KILL", "PIXELFOREST_TEST_VERSION"
SLOW_DISK = "PIXELFOREST_TEST_SLOW_DISK"


def noted(classify: Callable[..., None]) -> Callable[..., None]:
    def classify_noted(project: Any, images: Any, exports: Any, **options: Any) -> None:
        regions = [export.region.start for export in exports.values()]
        with open(os.environ[COMPUTED], "a", encoding="utf-8") as file:
            file.write(f"{images[project.roles[0]].nickname} {regions[:1]}\n")
        classify(project, images, exports, **options)
        die_if_told()

    return classify_noted


def noted_step(compute: Callable[..., Any]) -> Callable[..., Any]:
    def compute_noted(step: Any, *more: Any) -> Any:
        with open(os.environ[COMPUTED], "a", encoding="utf-8") as file:
            file.write(f"{name_of(step)}\n")
        found = compute(step, *more)
        die_if_told()
        return found

    return compute_noted


def settled_late(settle: Callable[..., str]) -> Callable[..., str]:
    """Settle a block once the next one has begun; what had begun is noted in a file, once."""

    def settle_late(array: Any, box: Any) -> str:
        note = Path(os.environ[SLOW_DISK])
        end = time.monotonic() + 60
        if not note.exists():
            note.write_text("")
            while (begun := len(Path(os.environ[COMPUTED]).read_text().splitlines())) < 2 and time.monotonic() < end:
                time.sleep(0.01)
            note.write_text(f"{begun} blocks have begun")
        return settle(array, box)

    return settle_late


def name_of(step: Any) -> str:
    """Describe a step by what it computes."""
    box = step.slab if isinstance(step, shared_frame.FindStep) else (step.part.box, len(step.wanted))
    return f"{type(step).__name__} {step.frame.time} {box}"


def die_if_told() -> None:
    """End the first worker that finds the file."""
    with suppress(FileNotFoundError):
        os.unlink(os.environ[KILL])
        os.kill(os.getpid(), signal.SIGKILL)


if COMPUTED in os.environ and pixel.classify_lane.__name__ != noted(print).__name__:  # workers load this twice
    # As in killed_runs.SMALL_BLOCKS.
    blocks.BLOCK_VOXELS = 1 << 13
    ome_zarr_layout.CHUNK_BYTES = 1 << 13
    ome_zarr_layout.SHARDED_ABOVE = 16
    ome_zarr_layout.SHARD_CHUNKS = 2
    chunks.chunk_shape.__kwdefaults__["chunk_bytes"] = 1 << 13
    pixelforest.__version__ = os.environ.get(VERSION, pixelforest.__version__)
    pixel.classify_lane = noted(pixel.classify_lane)
    objects.classify_lane = noted(objects.classify_lane)
    for step in (shared_frame.FindStep, shared_frame.MeasureStep):
        step.compute = noted_step(step.compute)
    turns.LONG_S = math.inf
    if SLOW_DISK in os.environ:
        turns.LONG_S = 0.0
        store_writer.StoredArray.settle_block = settled_late(store_writer.StoredArray.settle_block)

"""Jobs of support/tile_jobs.py, small enough for the host stand-in, with the CPU's results."""

from __future__ import annotations

import numpy as np
import pytest
from support.tile_jobs import NAMES, assert_same_part, classify, make_mask

from pixelforest import kernels
from pixelforest.box import Box
from pixelforest.kernels.contract import Backend

# Parts (t, z, y, x) of the images, at edges and inside; the stand-in takes a second for 600 000 threads.
REGIONS = {
    "flat": Box((0, 0, 0, 120), (2, 1, 45, 190)),
    "solid": Box((0, 0, 5, 110), (1, 7, 25, 150)),
    "mixed": Box((0, 2, 15, 0), (1, 9, 35, 33)),
}
KINDS = list(REGIONS)
TILE = (4, 23, 37)
CPU = kernels.load("cpu")


def expected(kind: str, *, masked: bool = False, names: tuple[str, ...] = NAMES) -> dict[str, np.ndarray]:
    return classify(kind, CPU, region=REGIONS[kind], mask=make_mask(kind) if masked else None, names=names)


def assert_cpu_bytes(
    kind: str, backend: Backend, *, masked: bool = False, threads: int = 2, names: tuple[str, ...] = NAMES
) -> None:
    region, mask = REGIONS[kind], make_mask(kind) if masked else None
    found = classify(kind, backend, region=region, threads=threads, tile=TILE, mask=mask, names=names)
    everything = Box((0, 0, 0, 0), region.shape)
    assert_same_part(found, expected(kind, masked=masked, names=names), everything)


def limit_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the backend prefer small tiles, so that a job has several."""
    for name in ("FLAT_TILE", "MIN_FLAT_TILE", "SOLID_TILE", "MIN_SOLID_TILE"):
        monkeypatch.setattr(
            f"pixelforest.kernels.cuda.pixel_backend.{name}", TILE if "SOLID" in name else (1, *TILE[1:])
        )

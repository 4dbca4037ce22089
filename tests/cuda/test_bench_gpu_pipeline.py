"""Simulation of whole runs on GPUs, and the constants that follow from it."""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from pixelforest.engine.backends import CPU_VOXELS_PER_S, GPU_START_S
from pixelforest.kernels.cuda.pixel_backend import FLAT_TILE, SOLID_TILE
from pixelforest.kernels.cuda.tiles import READERS, TILES_IN_FLIGHT

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    import gpu_pipeline

    written = tmp_path / "rows.jsonl"
    assert gpu_pipeline.main([f"--json={written}"]) == 0
    return [json.loads(line) for line in written.read_text(encoding="utf-8").splitlines()]


def of(rows: list[dict], name: str) -> list[dict]:
    return [row for row in rows if row["case"]["name"] == name]


def test_constants_follow_from_the_simulation(rows: list[dict]) -> None:
    assert max(row["needed"] for row in of(rows, "in flight")) == TILES_IN_FLIGHT
    for row in of(rows, "in flight"):
        assert row["rates"] == sorted(row["rates"])
        assert row["rates"][TILES_IN_FLIGHT - 1] > 0.99 * row["rates"][-1]
    assert max(row["rates"][READERS - 1] / row["rates"][0] for row in of(rows, "readers")) > 1.1
    assert all(row["rates"][READERS - 1] > 0.98 * row["rates"][-1] for row in of(rows, "readers"))
    for product, dimensions in ((FLAT_TILE, 2), (SOLID_TILE, 3)):
        sizes = [row for row in of(rows, "tiles") if (row["case"]["image"][0] == 1) == (dimensions == 2)]
        scores: dict[tuple[int, ...], float] = defaultdict(lambda: 1.0)  # products of 20 rates
        for row in sizes:
            scores[tuple(row["tile"])] *= math.prod(row["rates"].values())
        assert all((other / scores[product]) ** (1 / 20) < 1.03 for other in scores.values())
        assert max(row["device_bytes"] for row in sizes if tuple(row["tile"]) == product) < 0.8 * (15 << 30)
    for row in of(rows, "break even"):
        assert row["start_s"] == GPU_START_S
        assert 1.0 < row["voxels"] / (GPU_START_S * CPU_VOXELS_PER_S * 16) < 4.0


def test_no_stage_works_more_than_all_the_time(rows: list[dict]) -> None:
    runs = of(rows, "runs")
    assert len(runs) == 2 * 3 * 5
    for row in runs:
        assert all(0 < share <= 1 for share in row["busy"].values()), row
        assert max(row["busy"].values()) > 0.85, "something is always waited for"


def test_statistics_on_a_device_would_gain_little(rows: list[dict]) -> None:
    """The reason why they are computed on the CPU."""
    found = of(rows, "objects")
    assert len(found) == 2 * 2
    assert all(0.8 * row["on_cpu"] < row["on_device"] < 1.1 * row["on_cpu"] for row in found)

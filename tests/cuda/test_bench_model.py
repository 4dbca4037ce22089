"""Bench that models GPUs: kernels with published times, and a short run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from support.cuda_host.interpreter import find_missing

BENCH = Path(__file__).resolve().parents[2] / "bench"
MISSING = find_missing()
DEVICES = {"T4", "RTX 4090", "A100", "H100", "H200", "B200"}
KERNELS = ("features_2d", "gaussian_1d_x", "label_bricks", "to_float", "uncertainty", "smooth_axis")
pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[dict]:
    monkeypatch.setattr(sys, "path", [str(BENCH), str(BENCH / "kernels"), *sys.path])
    import gpu_model

    written = tmp_path / "rows.jsonl"
    assert gpu_model.main(["--quick", f"--data={tmp_path}", f"--json={written}"]) == 0
    return [json.loads(line) for line in written.read_text(encoding="utf-8").splitlines()]


def test_the_model_agrees_with_published_times_and_covers_every_device(rows: list[dict]) -> None:
    checked = [row for row in rows if "published" in row]
    assert len(checked) == 4
    for row in checked:
        assert 0.8 < row["modelled"] / row["published"] < 1.25, row
    modelled = [row for row in rows if "rate" in row]
    assert {row["device"] for row in modelled} == DEVICES
    assert len(modelled) == 6 * len(DEVICES)
    for row in modelled:
        assert 1e7 < row["rate"] < 1e12
    kernels = {name: [row for row in rows if row.get("kernel") == name] for name in KERNELS}
    for name, found in kernels.items():
        assert [row["sectors"] > 0 for row in found if "sectors" in row] == [True], name
        assert {row["device"]: row["picoseconds"] > 0 for row in found if "picoseconds" in row} == dict.fromkeys(
            DEVICES, True
        ), name

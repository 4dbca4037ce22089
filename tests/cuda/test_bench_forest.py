"""Bench of forests on a GPU: runs on the stand-in, and prints one line without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.cuda_host.host_device import HostDevice

from pixelforest.kernels.cuda.forest import VARIANTS
from pixelforest.kernels.cuda.nvforest import find_missing

BENCH = Path(__file__).resolve().parents[2] / "bench"


def test_the_bench_of_forests_on_the_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCH), str(BENCH / "kernels"), *sys.path])
    import cuda_forest

    rows = tmp_path / "rows.jsonl"
    words = ["--quick", f"--data={tmp_path}", f"--json={rows}", "--variant=entered", "--variant=direct"]
    device = HostDevice()
    assert cuda_forest.main(words, device, place="cpu") == 0
    shown = capsys.readouterr().out
    assert "NOT THE SAME" not in shown
    assert shown.count("the default") == 2
    records = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    timed = {(record["case"]["forest"], record["name"]) for record in records if "wall" in record}
    names = {"entered", "direct"}
    if find_missing() is None:
        names |= {"nvForest", "nvForest, with rows made"}
        assert shown.count("nvForest takes") == 2
    assert timed == {(forest, name) for forest in ("project", "deep") for name in names}
    assert {"entered", "direct"} <= set(VARIANTS)


def test_the_bench_of_forests_without_a_gpu_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCH / "cuda_forest.py"), "--quick"],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("there is nothing to measure without a GPU: ")

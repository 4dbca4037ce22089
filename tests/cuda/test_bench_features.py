"""Bench of features on a GPU: runs on the stand-in, and prints one line without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.cuda_host.host_device import HostDevice

BENCH = Path(__file__).resolve().parents[2] / "bench"


def test_the_bench_of_features_on_the_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    import cuda_features

    rows = tmp_path / "rows.jsonl"
    words = ["--quick", "--case=2d-quick", f"--data={tmp_path}", f"--json={rows}"]
    assert cuda_features.main(words, HostDevice()) == 0
    shown = capsys.readouterr().out
    assert shown.count("have the CPU's bits") == 2
    records = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    names = [record["name"] for record in records if "wall" in record]
    assert names[0] == "everything: Gaussians and features"
    assert sum("Gaussian of radius" in name for name in names) == 7
    assert sum(name.endswith("features in 1 kernel") for name in names) == 7


def test_the_bench_of_features_without_a_gpu_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCH / "cuda_features.py"), "--quick"],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("there is nothing to measure without a GPU: ")

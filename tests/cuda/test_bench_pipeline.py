"""Bench of whole images, on the host stand-in and without a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from support.cuda_host.host_device import HostDevice

BENCH = Path(__file__).resolve().parents[2] / "bench"


def test_a_small_case_on_the_stand_in(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    device = HostDevice()
    assert import_module("cuda_pipeline").main(["--quick", "--threads=2"], device) == 0
    assert "features_2d" in device.launches
    said = capsys.readouterr().out
    assert "the CPU's bytes" in said
    assert "NOT THE SAME" not in said
    assert "memory to memory, float32" in said
    assert "HDF5 to HDF5, uint8" in said


def test_the_bench_of_images_without_a_gpu_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCH / "cuda_pipeline.py"), "--quick"],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("there is nothing to measure without a GPU: ")

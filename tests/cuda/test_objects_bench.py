"""Bench of object operations on a GPU: runs on the stand-in, and prints one line without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pixelforest.kernels.contract import DeviceUnavailable

TESTS = Path(__file__).resolve().parents[1]
BENCH = TESTS.parent / "bench"
ON_THE_STAND_IN = f"""
import sys
sys.path[:0] = [{str(BENCH)!r}, {str(TESTS)!r}]
from support.cuda_host.host_device import HostDevice
import cuda_objects
sys.exit(cuda_objects.main(sys.argv[1:], HostDevice()))
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, encoding="utf-8", check=False)


def test_a_quick_run_finds_the_same_and_stores_rows(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    done = run("-c", ON_THE_STAND_IN, "--quick", "--no-peers", "--threads=1", f"--json={rows}")
    assert done.returncode == 0, done.stderr
    assert "NOT THE SAME" not in done.stdout
    records = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    assert {"values to runs, on the device", "on the device", "pixelforest"} <= {record["name"] for record in records}


def test_a_dry_run_lists_cases() -> None:
    done = run(str(BENCH / "cuda_objects.py"), "--dry-run")
    assert done.returncode == 0
    assert "3d-512" in done.stdout


def test_one_line_without_a_gpu() -> None:
    try:
        from pixelforest.kernels.cuda.cupy_device import open_devices

        open_devices([0])
    except DeviceUnavailable:
        done = run(str(BENCH / "cuda_objects.py"), "--quick")
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith("nothing measured: ")
    else:
        pytest.skip("there is a GPU")

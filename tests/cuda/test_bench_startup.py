"""Bench of start-up: compiles with the host's compiler, and prints one line without CUDA's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.cuda_host.host_device import HostDevice

BENCH = Path(__file__).resolve().parents[2] / "bench"


def test_everything_that_a_run_needs_is_compiled_alone_and_side_by_side(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    import cuda_startup

    monkeypatch.setattr(cuda_startup, "_missing_gpu", lambda: "no GPU was looked for")
    rows, device = tmp_path / "rows.jsonl", HostDevice(optimise=False)
    assert cuda_startup.main(["--quick", f"--json={rows}"], device) == 0
    said = capsys.readouterr().out
    assert "one after the other" in said
    assert "in parallel" in said
    assert "whole processes: not measured, no GPU was looked for" in said
    files = [file.name for file, _ in cuda_startup.needed(2).values()]
    assert sorted(device.compiled) == sorted(["nothing.cu", *files, *files])
    assert sorted(files) == ["features.cu"] * 3 + ["filters.cu", "forest.cu", "results.cu", "sources.cu"]
    records = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    assert sum("wall" in record for record in records) == 1 + len(files) + 2


def test_an_unknown_architecture_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    import cuda_startup

    assert cuda_startup.main(["--quick", "--architecture=sm_1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("there is nothing to measure without NVRTC: ")

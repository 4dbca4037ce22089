"""Whole runs of recorded projects on the host stand-in: files hold the CPU's bytes for every export."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.cuda_host.faults import FaultyDevice
from support.cuda_host.host_device import HostDevice

from pixelforest import kernels
from pixelforest.engine.jobs import Request, resolve_job
from pixelforest.engine.run import batch
from pixelforest.engine.run.batch import BatchReport, run_batch
from pixelforest.kernels.contract import Backend
from pixelforest.kernels.cuda.backend import compose_backend

EVERYTHING = "Probabilities,Simple Segmentation,Uncertainty,Features,Labels"


@dataclass(frozen=True)
class Run:
    """A part of a recorded project's input; the stand-in takes a second for 600 000 threads."""

    folder: str
    inputs: tuple[str, ...]
    cutout: str
    sources: str = EVERYTHING
    mask: str = ""


RUNS = (
    Run("px2d_gray", ("raw.png",), "[(0, 160, 0), (33, 200, None)]"),
    Run("px2d_rgb", ("raw.png",), "[(100, 0, 0), (120, 30, None)]", "Probabilities,Simple Segmentation,Features"),
    Run("px2d_gray16_partial", ("raw.tif",), "[(60, 10, 0), (90, 50, None)]", "Probabilities,Uncertainty"),
    Run("px2d_mask", ("raw.png",), "[(50, 60, 0), (90, 90, None)]", mask="mask.png"),
    Run("px2dt", ("raw_tzyxc.h5/data",), "[(1, 0, 30, 20, 0), (3, 1, 60, 50, None)]", "Simple Segmentation"),
    Run(
        "autocontext_2d",
        ("raw.png",),
        "[(10, 70, 0), (34, 110, 1)]",
        "Probabilities Stage 2,Features Stage 1,Uncertainty Stage 1,Input Stage 2",
    ),
    Run("px3d", ("raw.h5/data",), "[(3, 10, 0, 0), (11, 26, 20, None)]", "Probabilities,Features"),
    Run("px3d_mixed", ("raw.h5/data",), "[(30, 0, 40, 0), (38, 14, 56, None)]", "Uncertainty,Simple Segmentation"),
)

Start = Callable[..., tuple[BatchReport, dict[str, np.ndarray]]]


@pytest.fixture
def start(copy_golden: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Run a project on a backend. Returns the report, and the content of the files by the name of the result."""

    def run(backend: Backend, case: Run, **options: object) -> tuple[BatchReport, dict[str, np.ndarray]]:
        folder = tmp_path / case.folder
        if not folder.exists():
            copy_golden(case.folder)
        out = tmp_path / f"out-{len(list(tmp_path.glob('out-*')))}"
        monkeypatch.setattr(batch, "open_backend", lambda *device, **work: backend)
        asked = {"threads": 2, "export_source": case.sources, "cutout_subregion": case.cutout} | options
        roles = [("raw_data", tuple(str(folder / name) for name in case.inputs))]
        if case.mask:
            roles.append(("prediction_mask", (str(folder / case.mask),)))
        request = Request(
            project=str(folder / "project.ilp"),
            inputs_by_role=tuple(roles),
            output_format="hdf5",
            output_filename_format=f"{out}/{{result_type}}.h5",
            **asked,  # type: ignore[arg-type]
        )
        report = run_batch(resolve_job(request))
        found = {}
        for file in out.glob("*.h5"):
            with h5py.File(file, "r") as opened:
                found[file.stem] = opened["exported_data"][()]
        return report, found

    return run


def assert_same_files(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, values in found.items():
        assert values.dtype == expected[name].dtype
        assert values.shape == expected[name].shape
        assert values.tobytes() == expected[name].tobytes(), name


@pytest.mark.parametrize("case", RUNS, ids=[case.folder for case in RUNS])
def test_the_files_hold_the_cpus_bytes(case: Run, start: Start) -> None:
    report, expected = start(kernels.load("cpu"), case)
    assert report.status == 0
    report, found = start(compose_backend([HostDevice()]), case)
    assert report.status == 0
    assert found.keys() == {name.strip() for name in case.sources.split(",")}
    assert_same_files(found, expected)


CONVERSIONS = (
    {"export_dtype": "uint8", "pipeline_result_drange": "(0.0,1.0)", "export_drange": "(0,255)"},
    {"export_dtype": "uint16", "pipeline_result_drange": "(0.2,0.5)", "export_drange": "(0,65535)"},
    {"export_dtype": "int8", "pipeline_result_drange": "(0.0,1.0)", "export_drange": "(0,200)", "clip": True},
    {"export_dtype": "float32", "pipeline_result_drange": "(0.0,1.0)", "export_drange": "(-1,1)"},
    {"export_dtype": "float64"},
    {"export_dtype": "uint8"},
)


@pytest.mark.parametrize("options", CONVERSIONS, ids=lambda options: " ".join(str(v) for v in options.values()))
def test_exports_of_other_types(options: dict[str, object], start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """Converted on the device or after it: the same bytes, and the same count of values that do not fit."""
    case = Run("px2d_gray", ("raw.png",), "[(10, 20, 0), (30, 60, 1)]", "Probabilities,Uncertainty,Features")
    lines = []
    files = []
    for backend in (kernels.load("cpu"), compose_backend([HostDevice()])):
        caplog.clear()
        _, found = start(backend, case, **options)
        files.append(found)
        texts = [record.getMessage() for record in caplog.records if "do not fit" in record.getMessage()]
        lines.append(sorted(text[text.index("Probabilities.h5") :] for text in texts if "Probabilities.h5" in text))
    assert_same_files(files[1], files[0])
    assert lines[1] == lines[0]


def test_a_fault_under_auto_is_one_warning(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    case = RUNS[0]
    _, expected = start(kernels.load("cpu"), case)
    report, found = start(compose_backend([FaultyDevice(fails_at_launch=12)], falls_back=True), case)
    assert report.status == 0
    assert_same_files(found, expected)
    assert [record.getMessage() for record in caplog.records if "failed" in record.getMessage()] == [
        "host stand-in (cuda:0) failed (an illegal address was met); the CPU goes on with what is left, with the same "
        "result"
    ]


def test_a_fault_of_a_device_that_was_asked_for_ends_the_run(start: Start) -> None:
    report, found = start(compose_backend([FaultyDevice(fails_at_launch=12)]), RUNS[0])
    assert (report.status, found) == (1, {})
    assert report.message == (
        "cuda:0 (host stand-in): an illegal address was met; device=cpu computes the same without it"
    )

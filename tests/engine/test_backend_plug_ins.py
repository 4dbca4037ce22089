"""A backend that one folder outside of the package brings, selected by its name."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.golden import GOLDEN
from support.plug_ins import install, run

from pixelforest.engine import backends
from pixelforest.frontend.options_table import OPTIONS
from pixelforest.kernels.shared.self_test import SELF_TESTS

PACKAGE = """
from pathlib import Path

from pixelforest.kernels.contract import DeviceUnavailable


def check_presence():
    if Path(__file__).with_name("no_abacus").exists():
        raise DeviceUnavailable("there is no abacus on this machine")
"""

BACKEND = """
from pixelforest.kernels.contract import Backend
from pixelforest.kernels.cpu.label_backend import CpuLabels
from pixelforest.kernels.cpu.object_backend import CpuObjects
from pixelforest.kernels.cpu.pixel_backend import CpuPixels


class AbacusPixels(CpuPixels):
    def __init__(self, indices):
        super().__init__()
        self._beads = indices or (0,)

    def describe(self):
        return f"abacus with beads {self._beads}"


def open_backend(indices=None):
    return Backend("abacus", AbacusPixels(indices), CpuLabels(), CpuObjects())
"""

SURVEY = """
def survey():
    return [("beads", "100")]
"""

GRAY = GOLDEN / "px2d_gray"


@pytest.fixture
def plug_in(tmp_path: Path) -> Path:
    files = {"abacus/__init__.py": PACKAGE, "abacus/backend.py": BACKEND, "abacus/survey.py": SURVEY}
    return install(tmp_path / "site", "[pixelforest.backends]\nabacus = abacus\n", files)


def words(folder: Path, device: str) -> list[object]:
    out = folder / "out.h5"
    return [f"--project={GRAY / 'project.ilp'}", f"--device={device}", f"--output_filename_format={out}"]


def test_a_backend_from_outside_computes_a_recorded_run(plug_in: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = run(plug_in, *words(tmp_path, "abacus:3"), f"--report_json={report}", GRAY / "raw.png")
    assert "Using device abacus with beads (3,)" in done.stdout
    assert json.loads(report.read_text())["lanes"][0]["device"] == "abacus"
    with h5py.File(tmp_path / "out.h5") as found, h5py.File(GRAY / "expected" / "probabilities.h5") as recorded:
        np.testing.assert_array_equal(found["exported_data"], recorded["exported_data"])


@pytest.mark.slow
def test_it_is_tested_and_described_by_doctor(plug_in: Path) -> None:
    shown = run(plug_in, "doctor", "--device=abacus").stdout
    part = shown.partition("\nabacus\n")[2]
    assert "beads" in part
    assert part.count("the CPU's bits") == len(SELF_TESTS)


@pytest.mark.slow
def test_its_absence_is_one_line_with_its_reason(plug_in: Path, tmp_path: Path) -> None:
    (plug_in / "abacus" / "no_abacus").touch()
    done = run(plug_in, *words(tmp_path, "abacus"), GRAY / "raw.png", status=1)
    assert done.stderr == "pixelforest: error: --device=abacus: there is no abacus on this machine\n"


@pytest.mark.slow
def test_a_backend_that_cannot_be_imported_is_described_and_refused(
    plug_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (plug_in / "abacus" / "__init__.py").write_text("import a_library_that_is_not_there\n")
    reason = "No module named 'a_library_that_is_not_there'"
    done = run(plug_in, *words(tmp_path, "abacus"), GRAY / "raw.png", status=1)
    assert done.stderr == f"pixelforest: error: --device=abacus: {reason}\n"
    monkeypatch.setattr(backends, "plugged_devices", lambda: {"abacus": "a_library_that_is_not_there"})
    assert backends.survey_backends()["abacus"] == [("plug-in", f"cannot be described: {reason}")]


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("device", "has_plug_in", "choices"),
    [
        ("abacus", False, "auto, cpu, cuda or cuda:0,1"),
        ("abacos", True, "auto, cpu, cuda, abacus or cuda:0,1"),
        ("abacus:", True, "auto, cpu, cuda, abacus or cuda:0,1"),
    ],
)
def test_other_names_are_refused_with_the_choices(
    plug_in: Path, tmp_path: Path, device: str, has_plug_in: bool, choices: str
) -> None:
    done = run(plug_in if has_plug_in else None, *words(tmp_path, device), GRAY / "raw.png", status=2)
    assert done.stderr == f"pixelforest: error: invalid value '{device}' for --device: choose {choices}\n"


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_known_devices_do_not_look_for_plug_ins(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for entry points reads the metadata of every installed package."""

    def find_plug_ins(group: str) -> None:
        raise AssertionError(group)

    monkeypatch.setattr(backends, "find_plug_ins", find_plug_ins)
    (option,) = (each for each in OPTIONS if each.name == "--device")
    assert option.parse is not None
    assert option.parse(device) == device
    assert backends.open_backend(device, voxels=1).name == "cpu"

"""The suites of ``pixelforest.testing``, run by the author of a plug-in: what is right passes, what is not fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BACKEND = """
import pytest
from pixelforest.kernels.contract import Backend
from pixelforest.kernels.cpu.label_backend import CpuLabels
from pixelforest.kernels.cpu.object_backend import CpuObjects
from pixelforest.kernels.cpu.pixel_backend import CpuPixels
from pixelforest.testing.backends import BackendSuite

class Wrong(CpuPixels):
    def features(self, stack):
        return super().features(stack) * 1.0000001

class TestRight(BackendSuite):
    @pytest.fixture
    def backend(self):
        return Backend("abacus", CpuPixels(), CpuLabels(), CpuObjects())

class TestWrong(BackendSuite):
    @pytest.fixture
    def backend(self):
        return Backend("abacus", Wrong(), CpuLabels(), CpuObjects())
"""

FORMAT = """
import numpy as np
from pixelforest.engine.formats import find_input_format, output_format
from pixelforest.testing.formats import InputFormatSuite, OutputFormatSuite

class TestRight(OutputFormatSuite):
    formats = (output_format("numpy"),)

    def read(self, file, chosen):
        return np.load(file)

class TestWrong(TestRight):
    def read(self, file, chosen):
        return np.load(file)[::-1]

class TestReader(InputFormatSuite):
    chosen = find_input_format("npy")

    def make(self, folder):
        image = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
        np.save(folder / "a.npy", image)
        return folder / "a.npy", "", image
"""


def run_pytest(folder: Path, text: str, *options: str) -> list[str]:
    """Run a file of tests outside of this project; lines of the summary, without the time."""
    (folder / "test_mine.py").write_text(text)
    words = ["-q", "-p", "no:cacheprovider", "--strict-markers", "-W", "error", "-rf", *options, "test_mine.py"]
    done = subprocess.run([sys.executable, "-m", "pytest", *words], cwd=folder, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    return [line.partition(" - ")[0] for line in lines if line.startswith("FAILED")] + [lines[-1].partition(" in ")[0]]


@pytest.mark.slow
def test_a_backend_is_right_or_found_wrong(tmp_path: Path) -> None:
    *failed, summary = run_pytest(
        tmp_path, BACKEND, "-k", "test_one_gaussian or test_no_rows or test_dropped_components"
    )
    assert failed
    assert all("::TestWrong::test_one_gaussian" in line for line in failed)
    assert summary == "10 failed, 14 passed, " + summary.rpartition(", ")[2]


def test_a_format_is_right_or_found_wrong(tmp_path: Path) -> None:
    *failed, summary = run_pytest(tmp_path, FORMAT, "-k", "any_order_of_axes or every_box")
    assert failed == ["FAILED test_mine.py::TestWrong::test_any_order_of_axes[numpy]"]
    assert summary == "1 failed, 2 passed, " + summary.rpartition(", ")[2]

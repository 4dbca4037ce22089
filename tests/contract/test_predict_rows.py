"""Forest prediction of rows in a process that has not loaded numba."""

from __future__ import annotations

import subprocess
import sys

import pytest

FRESH = """
import sys

import numpy as np
from pixelforest.testing.kernel_inputs import random_forest
from pixelforest import kernels

backend = kernels.load("cpu")
for pure in (True, False):
    forest = random_forest(np.random.default_rng(0), trees=13, columns=3, classes=3, pure=pure)
    loaded = backend.pixels.load_forest([forest], use="rows")
    answer = backend.pixels.predict_rows(np.ones((279, 3), np.float32), loaded)
    assert abs(float(answer.sum()) - 279) < 1e-3
assert "numba" not in sys.modules
"""


@pytest.mark.slow
def test_a_process_of_its_own_needs_nothing_of_numba() -> None:
    """In a process that has loaded numba, a kernel that calls its library would work, and nowhere else."""
    done = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

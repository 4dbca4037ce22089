"""Backends that tests are parametrised with."""

from __future__ import annotations

import pytest

from pixelforest import kernels

ON_THE_HOST = "cuda on the host"
AVAILABLE = [pytest.param(name, marks=pytest.mark.gpu if name == "cuda" else ()) for name in kernels.available()]

# The backends of a test that also runs the CUDA kernels on the CPU (support/cuda_host), which is slow.
also_on_the_host = pytest.mark.parametrize(
    "backend", [*AVAILABLE, pytest.param(ON_THE_HOST, marks=pytest.mark.slow)], indirect=True
)

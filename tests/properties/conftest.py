"""Every available backend, one after the other; a device that is not here is skipped with its reason."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pixelforest import kernels
from pixelforest.kernels.contract import Backend, KernelError

# Tests are no package: what several folders share is found from here, as ``reference.features`` and the like.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


@pytest.fixture(
    scope="session",
    params=[pytest.param(name, marks=pytest.mark.gpu if name == "cuda" else ()) for name in kernels.available()],
)
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "cpu":
        return kernels.load("cpu")
    try:
        return kernels.load(request.param)
    except (ImportError, KernelError) as error:
        pytest.skip(f"no {request.param} backend here: {error}")

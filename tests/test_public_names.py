"""The names other programs may import, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pixelforest
from pixelforest import engine

PUBLIC = {
    "BatchReport",
    "Job",
    "PixelforestError",
    "Project",
    "Request",
    "TrainedForest",
    "describe_project",
    "read_project",
    "resolve_job",
    "run_batch",
    "train_forest",
}
OF_THE_PACKAGE = {"Model", "Objects", "PixelforestError", "Request", "Table", "from_project_file", "load", "run"}
OF_THE_PACKAGE |= {"train_forest"}
HEAVY = ("numpy", "numba", "h5py", "tifffile", "imagecodecs", "PIL", "tensorstore", "scipy", "cupy")


def test_the_public_names_are_these() -> None:
    assert set(engine.__all__) == PUBLIC
    assert set(dir(engine)) >= PUBLIC
    assert all(getattr(engine, name) is not None for name in PUBLIC)


def test_the_names_of_the_package_are_these() -> None:
    assert set(pixelforest.__all__) == OF_THE_PACKAGE
    assert set(dir(pixelforest)) >= OF_THE_PACKAGE
    assert all(callable(getattr(pixelforest, name)) for name in OF_THE_PACKAGE)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = engine.nothing
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pixelforest.nothing


def test_the_version_is_the_installed_one() -> None:
    from importlib.metadata import version

    assert version("pixelforest") == pixelforest.__version__


@pytest.mark.parametrize("module", ["pixelforest", "pixelforest.cli", "pixelforest.engine", "pixelforest.engine.jobs"])
def test_importing_is_light(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""Environments that pin an old numba for another package, which fails with a present NumPy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.golden import GOLDEN

from pixelforest.kernels.cpu import loader

OLD = {"numba": "0.56.4", "llvmlite": "0.39.1"}
# A module that is imported leaves a file: an error could be caught by whoever imports it.
MODULE = """
from pathlib import Path
Path(__file__).with_name("imported").touch()
raise ImportError("Numba needs NumPy 1.23 or less")
"""
PIXELS = ["--project={}/px2d_gray/project.ilp", "--export_source=Simple Segmentation", "{}/px2d_gray/raw.png"]
OBJECTS = [
    "--project={}/obj2d_seg/project.ilp",
    "--export_source=Object Predictions",
    "--table_filename=table.csv",
    "--raw_data={}/obj2d_seg/raw.png",
    "--segmentation_image={}/obj2d_seg/seg.png",
]


@pytest.fixture
def old_packages(tmp_path: Path) -> Path:
    """Folder for Python's path with packages as pip installs them."""
    loader.load_library()  # in a checkout, it may have to be compiled before, with the right numba
    folder = tmp_path / "old"
    for name, version in OLD.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(MODULE, encoding="utf-8")
        metadata = folder / f"{name}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return folder


def run_python(old_packages: Path, *words: str) -> None:
    path = os.pathsep.join([str(old_packages), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=old_packages.parent,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    assert not list(old_packages.glob("*/imported"))


def test_the_stand_in_for_an_old_package_notices_its_import(old_packages: Path) -> None:
    with pytest.raises(AssertionError, match="Numba needs NumPy"):
        run_python(old_packages, "-c", "import numba")
    assert (old_packages / "numba" / "imported").exists()


@pytest.mark.parametrize("options", [PIXELS, OBJECTS], ids=["pixels", "objects"])
def test_a_run_does_not_import_an_old_numba(old_packages: Path, tmp_path: Path, options: list[str]) -> None:
    words = [word.format(GOLDEN) for word in options]
    output = f"--output_filename_format={tmp_path}/{{nickname}}_{{result_type}}.h5"
    run_python(old_packages, "-m", "pixelforest", "--headless", "--device=cpu", output, *words)
    assert list(tmp_path.glob("*.h5"))


def test_arrays_do_not_import_an_old_numba(old_packages: Path) -> None:
    program = (
        "import numpy, pixelforest\n"
        f"model = pixelforest.load({str(GOLDEN / 'px2d_gray' / 'project.ilp')!r})\n"
        "model.predict(numpy.zeros((40, 50), numpy.uint8))\n"
    )
    run_python(old_packages, "-c", program)

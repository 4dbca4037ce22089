"""Whole runs on a real GPU: the bytes of the CPU for every recorded run, and failures of devices and processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from support.emulated_gpu.build import are_in_use
from support.golden import GOLDEN, GoldenCase

from pixelforest import cli, kernels
from pixelforest.engine.run import batch
from pixelforest.kernels.contract import KernelError
from pixelforest.kernels.cuda.backend import compose_backend

pytestmark = pytest.mark.gpu

needs_a_real_gpu = pytest.mark.skipif(are_in_use(), reason="needs tiles with too much work for emulated GPUs")

GRAY = GOLDEN / "px2d_gray"
DEADLINE_S = 120


@pytest.fixture(scope="module", autouse=True)
def _needs_a_gpu() -> None:
    try:
        kernels.load("cuda")
    except (ImportError, KernelError) as error:
        pytest.skip(f"no GPU here: {error}")


def contents(folder: Path) -> dict[str, bytes]:
    """Every dataset with its attributes, and every other file, by name."""
    found: dict[str, bytes] = {}

    def add(name: str, item: h5py.Dataset | h5py.Group) -> None:
        found[f"{name} attributes"] = repr(sorted((k, str(v)) for k, v in item.attrs.items())).encode()
        if isinstance(item, h5py.Dataset):
            found[name] = f"{item.dtype} {item.shape} ".encode() + np.ascontiguousarray(item[()]).tobytes()

    for path in sorted(folder.rglob("*")):
        if path.suffix == ".h5":
            with h5py.File(path, "r") as file:
                file.visititems(lambda name, item, path=path: add(f"{path.name}/{name}", item))
        elif path.is_file():
            found[path.name] = path.read_bytes()
    return found


@pytest.mark.sampled(24)
@pytest.mark.parametrize("device", ["cuda", "cuda:0,0"])
def test_every_recorded_run_has_the_cpus_bytes(
    device: str, golden_case: GoldenCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A copy, since some cases write a table next to the project.
    folder = shutil.copytree(golden_case.folder, tmp_path / "case", ignore=shutil.ignore_patterns("expected"))
    monkeypatch.chdir(folder)
    results = {}
    for where in ("cpu", device):
        out = tmp_path / where.replace(":", "-")
        args = [word.replace("{out}", str(out)) for word in golden_case.args]
        status = cli.main([f"--project={golden_case.project}", f"--device={where}", *args])
        assert status == golden_case.exit_status
        results[where] = contents(out)
    assert results["cpu"] or golden_case.exit_status
    assert results[device].keys() == results["cpu"].keys()
    for name, values in results["cpu"].items():
        assert results[device][name] == values, name


def large_image(folder: Path, copies: int) -> Path:
    tile = np.asarray(Image.open(GRAY / "raw.png")).reshape(160, 200, 1)
    np.save(folder / "large.npy", np.tile(tile, (copies, copies, 1)))
    return folder / "large.npy"


def command(image: Path, out: Path, *options: str) -> list[str]:
    words = [f"--project={GRAY / 'project.ilp'}", "--output_format=hdf5", f"--output_filename_format={out}/result.h5"]
    return [sys.executable, "-m", "pixelforest", *words, *options, str(image)]


def read(out: Path) -> np.ndarray:
    with h5py.File(out / "result.h5", "r") as file:
        return np.asarray(file["exported_data"][()])


@pytest.mark.slow
@needs_a_real_gpu
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_run_that_is_killed_leaves_nothing_under_a_final_name(tmp_path: Path) -> None:
    image = large_image(tmp_path, 60)
    out = tmp_path / "out"
    with subprocess.Popen(command(image, out, "--device=cuda"), stdout=subprocess.DEVNULL) as process:
        end = time.monotonic() + DEADLINE_S
        while not (out.is_dir() and any(path.stat().st_blocks > 8 for path in out.iterdir())):
            assert process.poll() is None, "the run was over before it could be killed"
            assert time.monotonic() < end
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=DEADLINE_S)
    assert not (out / "result.h5").exists()


@pytest.mark.slow
@needs_a_real_gpu
def test_results_of_a_large_image_do_not_depend_on_the_device(tmp_path: Path) -> None:
    """Several tiles in work at once on their own streams, again and again."""
    image = large_image(tmp_path, 30)
    results = []
    for i, device in enumerate(("cpu", "cuda", "cuda", "cuda:0,0")):
        out = tmp_path / str(i)
        options = (f"--device={device}", "--export_dtype=uint8", "--export_drange=(0,255)")
        subprocess.run(command(image, out, *options), check=True, timeout=DEADLINE_S)
        results.append(read(out))
    for found in results[1:]:
        assert np.array_equal(found, results[0])


@pytest.mark.slow
def test_too_little_memory_splits_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The pool is given less than a tile needs, and plans with all of the device."""
    from pixelforest.kernels.cuda.cupy_device import CupyDevice

    copies, limit = (1, 3 << 20) if are_in_use() else (8, 40 << 20)
    image = large_image(tmp_path, copies)
    devices = [CupyDevice(0)]  # not the one that later tests use
    devices[0]._pool.set_limit(size=limit)
    for backend, out in ((kernels.load("cpu"), tmp_path / "cpu"), (compose_backend(devices), tmp_path / "cuda")):
        monkeypatch.setattr(batch, "open_backend", lambda *device, backend=backend, **work: backend)
        assert cli.main(command(image, out)[3:]) == 0
    assert caplog.text.count("tiles are split") == 1
    assert np.array_equal(read(tmp_path / "cuda"), read(tmp_path / "cpu"))


@pytest.mark.slow
@pytest.mark.skipif(are_in_use(), reason="measures time")
def test_the_first_result_comes_soon(tmp_path: Path) -> None:
    """Printed, not judged: the time of a whole process with an empty cache of kernels, then with a full one."""
    environment = {**os.environ, "PIXELFOREST_CACHE_DIR": str(tmp_path / "cache")}
    for state in ("empty", "full"):
        started = time.monotonic()
        subprocess.run(command(GRAY / "raw.png", tmp_path / state, "--device=cuda"), check=True, env=environment)
        print(f"first result with an {state} cache: {time.monotonic() - started:.2f} s")


@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_the_sanitizer_finds_nothing(tool: str, tmp_path: Path) -> None:
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        pytest.skip("there is no compute-sanitizer")
    options = ("--device=cuda", "--threads=1", "--export_source=Probabilities,Uncertainty,Features")
    cut = "--cutout_subregion=[(0, 0, None), (64, 64, None)]"
    words = command(GRAY / "raw.png", tmp_path, *options, cut)
    words[words.index(f"--output_filename_format={tmp_path}/result.h5")] = (
        f"--output_filename_format={tmp_path}/{{result_type}}.h5"
    )
    checked = [sanitizer, f"--tool={tool}", "--error-exitcode=99", "--target-processes=all", *words]
    done = subprocess.run(checked, capture_output=True, text=True, check=False)
    if "not supported" in done.stdout + done.stderr:
        pytest.skip(f"the sanitizer does not take this device: {done.stdout.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stdout[-4000:]

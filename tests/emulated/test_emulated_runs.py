"""Whole processes on emulated GPUs: the real CuPy and NVRTC, with a stand-in for the driver and the runtime below."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from support.emulated_gpu.build import find_missing
from support.emulated_gpu.run import Done, run
from support.golden import GOLDEN

from pixelforest import cli

REASON = find_missing()
# Doctor takes a minute of CPU time, and a busy machine gives a tenth.
pytestmark = [pytest.mark.skipif(REASON is not None, reason=str(REASON)), pytest.mark.timeout(1500)]

GRAY = GOLDEN / "px2d_gray"
CUT = "--cutout_subregion=[(30, 40, None), (110, 150, None)]"


def arguments(out: Path, *options: str) -> list[str]:
    words = [f"--project={GRAY / 'project.ilp'}", CUT, f"--output_filename_format={out}", *options]
    return [*words, str(GRAY / "raw.png")]


def classify(folder: Path, *options: str, **settings: int) -> tuple[Done, Path]:
    """Run on emulated GPUs; returns the process, and the file that it should have written."""
    out = folder / "emulated.h5"
    return run(["-m", "pixelforest", *arguments(out, *options)], folder, **settings), out


def values(path: Path) -> np.ndarray:
    with h5py.File(path, "r") as file:
        return np.asarray(file["exported_data"][()])


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Probabilities of the CPU."""
    out = tmp_path_factory.mktemp("cpu") / "cpu.h5"
    assert cli.main(arguments(out, "--device=cpu", "--quiet")) == 0
    return values(out)


def assert_result(done: Done, out: Path, expected: np.ndarray) -> None:
    assert (done.status, done.findings) == (0, ()), done.output
    np.testing.assert_array_equal(values(out), expected)


@pytest.mark.parametrize("capability", [75, 80, 86, 90, 120])
def test_every_architecture_has_the_cpus_bits(capability: int, tmp_path: Path, expected: np.ndarray) -> None:
    done, out = classify(tmp_path, "--device=cuda", capability=capability)
    assert_result(done, out, expected)
    assert done.use["launches"] > 0


@pytest.mark.parametrize(
    ("device", "contexts"), [("cuda", [0, 1, 2]), ("cuda:1", [1]), ("cuda:2,0", [0, 2]), ("cuda:1,1", [1])]
)
def test_devices_that_were_asked_for_are_used_and_no_others(
    device: str, contexts: list[int], tmp_path: Path, expected: np.ndarray
) -> None:
    done, out = classify(tmp_path, f"--device={device}", gpus=3)
    assert_result(done, out, expected)
    assert done.use["contexts"] == contexts


def test_the_first_stage_of_autocontext_stays_on_the_device(tmp_path: Path) -> None:
    """The bytes that are copied to the host are those of the result, and of the counts of values beyond its type."""
    folder, cut = GOLDEN / "autocontext_2d", "--cutout_subregion=[(30, 40, None), (70, 90, None)]"
    found = {}
    for device in ("cpu", "cuda"):
        found[device] = tmp_path / f"{device}.h5"
        words = [f"--project={folder / 'project.ilp'}", cut, f"--output_filename_format={found[device]}"]
        done = run(["-m", "pixelforest", *words, f"--device={device}", str(folder / "raw.png")], tmp_path)
        assert (done.status, done.findings) == (0, ()), done.output
    np.testing.assert_array_equal(values(found["cuda"]), values(found["cpu"]))
    assert values(found["cuda"]).shape == (40, 50, 2)
    assert done.use["to_host_bytes"] == 40 * 50 * 2 * 4


def test_streams_that_work_at_once(tmp_path: Path, expected: np.ndarray) -> None:
    done, out = classify(tmp_path, "--device=cuda", late=0)
    assert_result(done, out, expected)


def test_the_first_tile_is_timed_once(tmp_path: Path, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELFOREST_CACHE_DIR", str(tmp_path / "cache"))
    lines = ("timed on the first tile", "the fastest in an earlier run")
    for options, said in (((), lines[0]), ((), lines[1]), (("--no_tune",), None)):
        done, out = classify(tmp_path, "--device=cuda", *options, multiprocessors=1, races=0)
        assert_result(done, out, expected)
        assert [line for line in lines if line in done.output] == ([said] if said else [])
        out.unlink()


def test_little_memory_splits_tiles(tmp_path: Path, expected: np.ndarray) -> None:
    done, out = classify(tmp_path, "--device=cuda", memory=1_500_000)
    assert_result(done, out, expected)
    assert done.output.count("tiles are split, which changes nothing but the time") == 1


def test_little_pinned_memory_is_named(tmp_path: Path) -> None:
    done, out = classify(tmp_path, "--device=cuda", pinned=1 << 16)
    assert done.status == 1
    assert "bytes of pinned host memory, which a copy needs" in done.output
    assert not out.exists()


def test_a_busy_device_leaves_the_others(tmp_path: Path, expected: np.ndarray) -> None:
    done, out = classify(tmp_path, "--device=cuda", gpus=2, busy=0b01)
    assert_result(done, out, expected)
    assert done.use["contexts"] == [1]
    assert "CUDA device 0 cannot be used: cudaErrorDevicesUnavailable" in done.output
    done, out = classify(tmp_path, "--device=cuda:0", gpus=2, busy=0b01)
    assert done.status == 1
    assert "CUDA device 0 cannot be used: cudaErrorDevicesUnavailable" in done.output


def test_a_fault_of_a_kernel_ends_the_run_with_its_reason(tmp_path: Path) -> None:
    done, out = classify(tmp_path, "--device=cuda", failing_launch=3)
    assert done.status == 1
    assert "cudaErrorIllegalAddress" in done.output
    assert not out.exists()


def test_doctor_finds_the_cpus_bits(tmp_path: Path) -> None:
    done = run(["-m", "pixelforest", "doctor", "--device=cuda"], tmp_path, races=0)
    assert (done.status, done.findings) == (0, ()), done.output
    assert done.output.count("the CPU's bits") == 4
    assert "GPU 0:                       emulated GPU, sm_90, 8 multiprocessors" in done.output

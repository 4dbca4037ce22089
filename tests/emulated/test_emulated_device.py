"""``cupy_device`` with the real CuPy on emulated GPUs, and what the emulated GPUs notice.

Each test is a process of its own, whose program is a function of this module.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cuda_host.jobs import REGIONS, expected
from support.emulated_gpu.build import find_missing
from support.emulated_gpu.run import Done, run
from support.golden import TESTS
from support.tile_jobs import assert_same_part, classify

from pixelforest.box import Box
from pixelforest.kernels.contract import DeviceFailed

REASON = find_missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))

FILL = 'extern "C" __global__ void fill(int* out) { out[threadIdx.x] = 7; }'
DOUBLE = 'extern "C" __global__ void twice(const float* in, float* out) { out[threadIdx.x] = 2.0f * in[threadIdx.x]; }'


def run_program(program: Callable[[], None], folder: Path, **settings: int) -> Done:
    """Run a function of this module in a process with emulated GPUs."""
    paths = f"import sys; sys.path[:0] = {[str(TESTS), str(Path(__file__).parent)]}"
    return run(["-c", f"{paths}; import {Path(__file__).stem} as m; m.{program.__name__}()"], folder, **settings)


def open_device(index: int = 0) -> Any:
    from pixelforest.kernels.cuda.cupy_device import open_devices

    return open_devices((index,))[0]


class WithArrayInterface:
    """An array of a library that only has CUDA's array interface."""

    def __init__(self, array: Any) -> None:
        self._array = array

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return dict(self._array.__cuda_array_interface__)


class WithDLPack:
    """An array of a library that only has DLPack."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


def adopt_arrays() -> None:
    import cupy

    device = open_device(1)
    device.stream()
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    array = cupy.asarray(values)
    for given in (array, WithArrayInterface(array), WithDLPack(array), device.upload(values)):
        taken = device.adopt(given)
        assert taken.shape == (3, 4)
        np.testing.assert_array_equal(device.download(taken), values)
    assert device.adopt(WithDLPack(array)).memory.ptr == array.data.ptr
    np.testing.assert_array_equal(device.download(device.adopt(array.T)), values.T)
    for given in (array, WithArrayInterface(array)):
        with pytest.raises(ValueError, match="an array of CUDA device 1 was given to device 0"):
            open_device(0).adopt(given)
    device.stream()  # CuPy unloads its own kernels in the context of the device that is current at exit


def test_arrays_of_other_libraries_are_taken(tmp_path: Path) -> None:
    done = run_program(adopt_arrays, tmp_path, gpus=2)
    assert (done.status, done.findings) == (0, ()), done.output


def use_and_exit() -> None:
    device = open_device(1)
    kernel = device.load(device.compile(FILL, "fill.cu", ())).kernel("fill")
    out = device.empty((32,), np.int32)
    kernel((1, 1, 1), (32, 1, 1), [out])
    assert (device.download(out) == 7).all()
    thread = threading.Thread(target=lambda: device.download(device.upload(np.ones(10))))
    thread.start()
    thread.join()


def test_the_end_of_a_process_touches_no_other_device(tmp_path: Path) -> None:
    """Modules, streams, events and memory go in whatever order the interpreter chooses."""
    done = run_program(use_and_exit, tmp_path, gpus=2)
    assert (done.status, done.findings, done.output) == (0, (), "")
    assert done.use["contexts"] == [1]


def copy_many_sizes() -> None:
    device = open_device()
    for size in range(1 << 20, 5 << 20, 1 << 17):
        device.download(device.upload(np.zeros(size, np.uint8)))


def test_pinned_memory_is_that_of_the_largest_copies(tmp_path: Path) -> None:
    """A source and a result at the same time, of 5 MiB at most."""
    done = run_program(copy_many_sizes, tmp_path)
    assert (done.status, done.findings) == (0, ()), done.output
    assert done.use["pinned_peak"] <= 2 * 5 * (1 << 20) * 9 // 8


def open_again() -> None:
    from pixelforest.kernels.cuda.backend import open_backend

    for _ in range(4):
        classify("flat", open_backend(), region=REGIONS["flat"])
        gc.collect()


def test_runs_of_one_process_share_memory_and_kernels(tmp_path: Path) -> None:
    done = run_program(open_again, tmp_path, races=0)
    assert (done.status, done.findings) == (0, ()), done.output
    assert done.use["modules_loaded"] < 12
    assert done.use["memory_peaks"][0] < 64 << 20


def continue_on_the_cpu() -> None:
    from pixelforest.kernels.cuda.backend import open_backend

    logging.basicConfig(stream=sys.stdout)
    found = classify("flat", open_backend(falls_back=True), region=REGIONS["flat"])
    assert_same_part(found, expected("flat"), Box((0, 0, 0, 0), REGIONS["flat"].shape))


@pytest.mark.parametrize("launch", [1, 2, 7])
def test_the_cpu_continues_after_a_fault(launch: int, tmp_path: Path) -> None:
    done = run_program(continue_on_the_cpu, tmp_path, failing_launch=launch)
    assert done.status == 0, done.output
    assert "the CPU goes on with what is left, with the same result" in done.output


def compute_nan() -> None:
    device = open_device()
    kernel = device.load(device.compile(DOUBLE, "twice.cu", ("--fmad=false",))).kernel("twice")
    values = np.array([1.5, np.nan, -np.nan, np.inf] * 8, np.float32)
    out = device.empty(values.shape, np.float32)
    kernel((1, 1, 1), (32, 1, 1), [device.upload(values), out])
    found = device.download(out).view(np.uint32).tolist()
    assert [hex(bits) for bits in found[:4]] == ["0x40400000", "0x7fffffff", "0x7fffffff", "0x7f800000"]


def test_a_nan_has_the_bits_that_the_documentation_says(tmp_path: Path) -> None:
    done = run_program(compute_nan, tmp_path)
    assert (done.status, done.findings) == (0, ()), done.output


# ---- What emulated GPUs notice


def use_an_event_of_another_device() -> None:
    import cupy

    first, second = open_device(0), open_device(1)
    first.stream()
    event = cupy.cuda.Event()
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorInvalidResourceHandle"):
        event.record(second.stream())


def download_what_nobody_wrote() -> None:
    device = open_device()
    device.download(device.empty((10,), np.int32))


def write_beyond_an_array() -> None:
    device = open_device()
    kernel = device.load(device.compile(FILL, "fill.cu", ())).kernel("fill")
    kernel((1, 1, 1), (512, 1, 1), [device.empty((100,), np.int32)])
    with pytest.raises(DeviceFailed, match="cudaErrorIllegalAddress"):
        device.synchronize()
    with pytest.raises(DeviceFailed, match="cudaErrorIllegalAddress"):
        device.synchronize()


@pytest.mark.parametrize(
    ("program", "finding"),
    [
        (use_an_event_of_another_device, "an event is recorded in a stream of another device"),
        (download_what_nobody_wrote, "byte 0 of 40 copied to the host was never written"),
        (write_beyond_an_array, "fill:"),
    ],
)
def test_misuse_is_found(program: Callable[[], None], finding: str, tmp_path: Path) -> None:
    done = run_program(program, tmp_path, gpus=2)
    assert done.status == 0, done.output
    (found,) = done.findings
    assert found.startswith(finding)

"""Arrays of the real CuPy on emulated GPUs: results on the device of the image, with the CPU's bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.array_inputs import golden_array, load_golden
from support.emulated_gpu.build import find_missing
from support.emulated_gpu.run import Done, run
from support.golden import GOLDEN, TESTS

import pixelforest
from pixelforest.engine.errors import InputMismatch

REASON = find_missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))

NAMES = ("Probabilities", "Simple Segmentation", "Uncertainty")
PART = slice(100, 140), slice(150, 200)


def run_program(program: Callable[[], None], folder: Path, **settings: int) -> Done:
    """Run a function of this module in a process with emulated GPUs."""
    paths = f"import sys; sys.path[:0] = {[str(TESTS), str(Path(__file__).parent)]}"
    return run(["-c", f"{paths}; import {Path(__file__).stem} as m; m.{program.__name__}()"], folder, **settings)


def load(device: str) -> Any:
    return pixelforest.load(GOLDEN / "px2d_gray" / "project.ilp", device=device, threads=2)


class WithDLPack:
    """An array of a library that only has DLPack."""

    def __init__(self, array: Any) -> None:
        self._array, self.shape, self.dtype = array, array.shape, array.dtype

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()

    def __getitem__(self, place: Any) -> Any:
        raise AssertionError("no copy")


def predict() -> None:
    """The image is made on a stream that has not been waited for; afterwards device and stream are as before."""
    import cupy

    image = golden_array("px2d_gray")[PART]
    expected = load_golden("px2d_gray").predict(image, results=NAMES)
    model = load("cuda")
    with cupy.cuda.Device(1), cupy.cuda.Stream(non_blocking=True) as stream:
        twice = cupy.asarray(np.asfortranarray(image))
        given = twice[:, ::-1].copy()[:, ::-1]
        for each, other in zip(model.predict(given, results=NAMES), expected, strict=True):
            assert isinstance(each, cupy.ndarray)
            assert (each.device.id, each.dtype) == (1, other.dtype)
            np.testing.assert_array_equal(cupy.asnumpy(each), other)
        out = cupy.zeros((50, 40, 2), "float32").transpose(1, 0, 2)
        assert model.predict(WithDLPack(given), mask=cupy.asarray(image > 20), out=out) is out
        masked = load_golden("px2d_gray").predict(image, mask=image > 20)
        np.testing.assert_array_equal(cupy.asnumpy(out), masked)
        assert (cupy.cuda.runtime.getDevice(), cupy.cuda.get_current_stream()) == (1, stream)
        np.testing.assert_array_equal(model.predict(image, results="Uncertainty"), expected[2])
        assert (cupy.cuda.runtime.getDevice(), cupy.cuda.get_current_stream()) == (1, stream)
        context = load_golden("autocontext_2d").project.path, golden_array("autocontext_2d")[:50, :60]
        found = pixelforest.load(context[0], device="cuda", threads=2).predict(cupy.asarray(context[1]))
        np.testing.assert_array_equal(cupy.asnumpy(found), load_golden("autocontext_2d").predict(context[1]))
    print(cupy.cuda.runtime.getDevice())
    cupy.cuda.runtime.setDevice(1)  # CuPy unloads its own kernels in the context of the device that is current at exit


def test_arrays_stay_where_they_are(tmp_path: Path) -> None:
    done = run_program(predict, tmp_path, gpus=2)
    assert (done.status, done.findings) == (0, ()), done.output
    assert done.output.endswith("0\n")


def refuse() -> None:
    import cupy

    with cupy.cuda.Device(1):
        image = cupy.zeros((99, 99), "u1")
    for device, text in (
        ("cpu", r"^image \(cupy.ndarray\) is in the memory of a device, but the model computes on .*device='cuda'"),
        ("cuda:0", "^image: the array is on a device that is not one of cuda:0 "),
    ):
        with pytest.raises(InputMismatch, match=text) as caught:
            load(device).predict(image)
        assert "\n" not in str(caught.value)
    with cupy.cuda.Device(0), pytest.raises(InputMismatch, match=r"^image: the arrays are on different devices"):
        load("cuda").predict(image, mask=cupy.ones((99, 99), "u1"))


def test_arrays_that_a_model_cannot_take(tmp_path: Path) -> None:
    done = run_program(refuse, tmp_path, gpus=2)
    assert (done.status, done.findings) == (0, ()), done.output

"""Images in the memory of a device, on the host stand-in: the bits of the CPU, and nothing goes through the host."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from support.array_inputs import golden_array, load_golden
from support.cuda_host.faults import FaultyDevice
from support.cuda_host.host_device import DeviceImage, HostDevice
from support.cuda_host.jobs import limit_tiles

import pixelforest
from pixelforest.engine.errors import BackendFailed, InputMismatch, UsageError
from pixelforest.engine.resources import Resources
from pixelforest.kernels.cuda import pixel_backend, tiles
from pixelforest.kernels.cuda.backend import compose_backend

NAMES = ("Probabilities", "Simple Segmentation", "Uncertainty", "Features")
GRAY, CONTEXT = "px2d_gray", "autocontext_2d"
# A part of the image of each project: the stand-in takes a second for 600 000 threads.
PARTS = {
    GRAY: (slice(100, 140), slice(150, 200)),
    "px2d_rgb": (slice(0, 37), slice(80, 120)),
    "px3d": (slice(0, 20), slice(0, 40), slice(8, 48)),
}
FILES = {"px3d": "raw.h5/data"}


def load_on(devices: Sequence[HostDevice], name: str = GRAY, *, threads: int = 3) -> Any:
    """Load a project on stand-ins."""
    model = pixelforest.load(load_golden(name).project.path, device="cuda", threads=threads)
    model._opened = (os.getpid(), model._threads), Resources(compose_backend(devices), threads, 1 << 30)
    return model


def image_of(name: str) -> np.ndarray:
    return golden_array(name, FILES.get(name, "raw.png"))[PARTS[name]]


def assert_same(found: Any, expected: np.ndarray) -> None:
    assert isinstance(found, DeviceImage)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.get().tobytes() == np.ascontiguousarray(expected).tobytes()


@pytest.mark.parametrize("name", list(PARTS))
def test_results_are_on_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name != "px3d":  # whose halo is larger than the tiles
        limit_tiles(monkeypatch)
    image, names = image_of(name), NAMES if name == GRAY else NAMES[:2]
    device = HostDevice(index=2)
    with patch.object(HostDevice, "download", side_effect=AssertionError("nothing is copied to the host")):
        found = load_on([device], name).predict(DeviceImage(image, device_index=2), results=names)
    for each, expected in zip(found, load_golden(name).predict(image, results=names), strict=True):
        assert_same(each, expected)
        assert each.device_index == 2
    assert device.launches.count("scatter") == len(names) * device.launches.count("gather") > 0


def test_an_image_is_computed_on_its_device() -> None:
    devices = [HostDevice(), HostDevice(index=1)]
    image = image_of(GRAY)[:38, :38]
    found = load_on(devices).predict(DeviceImage(image, device_index=1))
    assert_same(found, load_golden(GRAY).predict(image))
    assert (found.device_index, devices[0].launches) == (1, [])
    with pytest.raises(InputMismatch, match=r"image: the array is on a device that is not one of cuda:0,1 "):
        load_on(devices).predict(DeviceImage(image, device_index=3))
    mixed = DeviceImage(np.ones((38, 38), np.uint8))
    with pytest.raises(InputMismatch, match="image: the arrays are on different devices"):
        load_on(devices).predict(DeviceImage(image, device_index=1), mask=mixed)


def test_axes_views_and_targets() -> None:
    image = image_of("px2d_rgb")
    p, s = load_golden("px2d_rgb").predict(image, results=NAMES[:2])
    model = load_on([HostDevice()], "px2d_rgb")
    given = DeviceImage(np.flip(image, 0))[::-1].transpose(2, 1, 0)
    around = DeviceImage(np.zeros((len(p) + 2, p.shape[1], 6), np.float32))
    targets = around[1:-1, :, 1:4].transpose(2, 1, 0), DeviceImage(np.zeros(s.T.shape, np.uint8))
    found = model.predict(given, axes="cxy", results=NAMES[:2], out=targets)
    assert found[0] is targets[0]
    assert_same(found[0], p.transpose(2, 1, 0))
    assert_same(found[1], s.T)
    inside = around.get()
    inside[1:-1, :, 1:4] = 0
    assert not inside.any()


@pytest.mark.parametrize("dtype", ["bool", "float16", "float64", "int64"])
def test_types(dtype: str) -> None:
    image = (image_of(GRAY)[:38, :38] // 64).astype(dtype)
    assert_same(load_on([HostDevice()]).predict(DeviceImage(image)), load_golden(GRAY).predict(image))


def test_masks_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_tiles(monkeypatch)
    model, expected = load_on([HostDevice()]), load_golden(GRAY)
    image = np.stack([image_of(GRAY)[:36], image_of(GRAY)[4:]])
    mask = np.zeros(image.shape, np.uint8)
    mask[0, 5:20, 20:45] = 3
    for names in ("Probabilities", "Simple Segmentation"):
        found = model.predict(DeviceImage(image), mask=DeviceImage(mask), axes="tyx", results=names)
        assert_same(found, expected.predict(image, mask=mask, axes="tyx", results=names))


def test_little_memory_splits_tiles(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles.DeviceWorker, "fits", lambda *sizes: True)
    monkeypatch.setattr(tiles, "MIN_PIECE_VOXELS", 64)
    image = image_of(GRAY)
    mask = (image > 20).astype(np.uint8)
    found = load_on([HostDevice(total_bytes=400_000)]).predict(DeviceImage(image), mask=DeviceImage(mask))
    assert_same(found, load_golden(GRAY).predict(image, mask=mask))
    assert "tiles are split, which changes nothing but the time" in caplog.text


def test_failures_name_the_device() -> None:
    with pytest.raises(BackendFailed, match=r"^cuda:0 \(host stand-in\): "):
        load_on([FaultyDevice(fails_at_launch=3)]).predict(DeviceImage(image_of(GRAY)))
    # Another device does not take over: the image is in the memory of this one.
    model = load_on([FaultyDevice(fails_at_launch=3), HostDevice(index=1)])
    with pytest.raises(BackendFailed):
        model.predict(DeviceImage(image_of(GRAY)))


HERE, THERE = np.zeros((38, 38), np.uint8), DeviceImage(np.zeros((38, 38), np.uint8))


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"image": THERE, "mask": HERE}, InputMismatch, r"mask \(numpy.ndarray\) is in host memory, but image in"),
        ({"image": HERE, "mask": THERE}, InputMismatch, r"mask \(.*DeviceImage\) is in the memory of a device, but"),
        ({"image": THERE, "out": np.zeros((38, 38, 2), np.float32)}, InputMismatch, r"out \(numpy.ndarray\) is in"),
        ({"image": HERE, "out": DeviceImage(np.zeros((38, 38, 2), np.float32))}, InputMismatch, r"out .* but image in"),
        ({"image": THERE, "results": "Labels"}, InputMismatch, "but Labels is stored in the project"),
        ({"image": THERE, "dtype": "float64"}, UsageError, "dtype=float64 is for images on the host; convert"),
        ({"image": DeviceImage(np.zeros((9, 9), ">u2"))}, InputMismatch, "image has the type >u2"),
    ],
)  # fmt: skip
def test_refusals(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        load_on([HostDevice()]).predict(**arguments)
    assert "\n" not in str(caught.value)


def test_both_stages_of_autocontext(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLAT_TILE", "MIN_FLAT_TILE"):
        monkeypatch.setattr(pixel_backend, name, (1, 40, 50))
    image = golden_array(CONTEXT)[:60, :70]
    names = tuple(name for name in load_golden(CONTEXT).results if not name.startswith(("Labels", "Input")))
    device = HostDevice(index=1)
    with patch.object(HostDevice, "download", side_effect=AssertionError("nothing is copied to the host")):
        found = load_on([device], CONTEXT).predict(DeviceImage(image, device_index=1), results=names)
    for each, expected in zip(found, load_golden(CONTEXT).predict(image, results=names), strict=True):
        assert_same(each, expected)
    assert device.launches.count("append_probabilities") > 3


def test_the_default_of_autocontext_into_a_target(caplog: pytest.LogCaptureFixture) -> None:
    image, mask = golden_array(CONTEXT)[:50, :60], DeviceImage(np.zeros((50, 60), np.uint8))
    out = DeviceImage(np.zeros((2, 60, 50), np.float32)).transpose(2, 1, 0)
    assert load_on([HostDevice()], CONTEXT).predict(DeviceImage(image), mask=mask, out=out) is out
    assert_same(out, load_golden(CONTEXT).predict(image))
    assert "mask has no effect: ilastik ignores prediction masks in Autocontext" in caplog.text


def test_inputs_of_autocontext_are_refused() -> None:
    with pytest.raises(InputMismatch, match="in the memory of a device, and Input Stage 2 is this image itself"):
        load_on([HostDevice()], CONTEXT).predict(DeviceImage(golden_array(CONTEXT)), results="Input Stage 2")


@pytest.mark.parametrize("method", ["predict", "predict_objects"])
def test_objects_are_refused(method: str) -> None:
    model = load_on([HostDevice()], "pcoc2d")
    with pytest.raises(InputMismatch, match="measures objects on the host; copy the image to it, such as") as caught:
        getattr(model, method)(DeviceImage(golden_array("pcoc2d")))
    assert model.project.workflow in str(caught.value)


def test_the_cpu_refuses_images_on_devices() -> None:
    with pytest.raises(InputMismatch, match=r"but the model computes on .*; load it with device='cuda'") as caught:
        load_golden(GRAY).predict(THERE)
    assert "\n" not in str(caught.value)

"""Arrays of other libraries on the device: sources, masks and targets of any type and strides, as NumPy takes them."""

from __future__ import annotations

import numpy as np
import pytest
from support.cuda_host.host_device import DeviceImage, HostDevice
from support.cuda_host.machines import MakeDevice

from pixelforest.kernels.cuda.filters import upload_source
from pixelforest.kernels.cuda.strided import gather_mask, gather_source, scatter_result

TYPES = (
    "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64",
)  # fmt: skip
SHAPE = (2, 3, 5, 17)
VIEWS = {
    "contiguous": lambda image: image,
    "transposed": lambda image: image.transpose(0, 3, 2, 1),
    "reversed": lambda image: image[:, ::-1, :, ::-1],
    "a part": lambda image: image[1:, :2, 1:4, 2::3],
    "empty": lambda image: image[:, :0],
}


@pytest.fixture(scope="module")
def device(make_device: MakeDevice) -> HostDevice:
    return make_device()


def values(dtype: str) -> np.ndarray:
    """Values of all magnitudes and signs, with NaN and infinity."""
    rng = np.random.default_rng(3)
    bits = rng.integers(0, 256, (*SHAPE, np.dtype(dtype).itemsize), np.uint8)
    made = bits[..., 0] % 3 == 1 if dtype == "bool" else bits.view(dtype)[..., 0]
    if made.dtype.kind == "f":
        made[0, 0, 0, :5] = np.nan, np.inf, -np.inf, 0, -0.0
    return made


@pytest.mark.parametrize("dtype", TYPES)
def test_sources_of_any_strides(device: HostDevice, dtype: str) -> None:
    image = values(dtype)
    for name, view in VIEWS.items():
        with np.errstate(over="ignore", invalid="ignore"):
            expected = view(image).astype(np.float32)
        found = device.download(gather_source(device, view(DeviceImage(image))))
        uploaded = device.download(upload_source(device, np.ascontiguousarray(view(image))))
        np.testing.assert_array_equal(found, expected, err_msg=name)
        assert found.tobytes() == uploaded.tobytes(), name


@pytest.mark.parametrize("dtype", TYPES)
def test_masks_of_any_strides(device: HostDevice, dtype: str) -> None:
    image = values(dtype)
    if dtype == "float64":
        image[1, 1, 1, :2] = 1e-300, -1e-300
    for name, view in VIEWS.items():
        expected = (view(image) > 0).any(axis=-1)
        found = device.download(gather_mask(device, view(DeviceImage(image))))
        np.testing.assert_array_equal(found, expected, err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_targets_of_any_strides(device: HostDevice, dtype: str) -> None:
    for name, view in VIEWS.items():
        expected, target = np.full(SHAPE, 7, dtype), DeviceImage(np.full(SHAPE, 7, dtype))
        part = view(expected)
        new = np.arange(part.size).reshape(part.shape).astype(dtype)
        part[...] = new
        scatter_result(device, device.upload(new), view(target))
        np.testing.assert_array_equal(target.get(), expected, err_msg=name)
    with pytest.raises(ValueError, match="do not fit into"):
        scatter_result(device, device.upload(np.zeros(SHAPE, np.float64)), target)

"""Source of a second stage on the device: the bits of the definition on the host, for every type of image."""

from __future__ import annotations

import numpy as np
import pytest
from support.cuda_host.host_device import HostDevice
from support.cuda_host.machines import MakeDevice

from pixelforest.kernels.cuda.results import ClassColumns
from pixelforest.kernels.cuda.stages import stack_stages
from pixelforest.kernels.shared.stages import as_raw_type
from pixelforest.testing.kernel_inputs import assert_same_values

TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
SHAPE = (2, 3, 19)  # of the part with probabilities
FIRST = (1, 0, 2)  # its place in the source
COLUMNS = (2, -1, 0)


@pytest.fixture(scope="module")
def device(make_device: MakeDevice) -> HostDevice:
    return make_device()


def probabilities() -> np.ndarray:
    """Fractions of 100 trees, neighbours of values where integers change, and values that no sound project has."""
    fractions = np.arange(101, dtype=np.float32) / np.float32(100)
    steps = np.array([0.5, 1 / 255, 0.25, 1.0, 1 / 65535], np.float32)
    near = np.concatenate([np.nextafter(steps, np.float32(side)) for side in (0, 2)])
    odd = np.array([-0.0, -0.3, 1.7, 1e9, -1e9, 3e20, -3e20, np.inf, -np.inf, np.nan, 1e-45], np.float32)
    values = np.concatenate([fractions, steps, near, odd])
    return np.resize(values, (*SHAPE, 3))


@pytest.mark.parametrize("dtype", TYPES)
def test_channels_of_the_image_then_probabilities_in_its_type(device: HostDevice, dtype: str) -> None:
    given = probabilities()
    source = np.random.default_rng(2).normal(size=(2, 4, 5, 24)).astype(np.float32)
    spread = np.stack([given[..., 2], np.zeros(SHAPE, np.float32), given[..., 0]])
    with np.errstate(over="ignore", invalid="ignore"):
        expected = [source[:, 1:3, 0:3, 2:21], as_raw_type(spread, np.dtype(dtype)).astype(np.float32)]
    found = stack_stages(
        device, device.upload(source), FIRST, device.upload(given), ClassColumns(COLUMNS, 3), np.dtype(dtype)
    )
    assert_same_values(device.download(found), np.concatenate(expected))

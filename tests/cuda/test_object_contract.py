"""Contract tests of object operations for the backends with a device."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cuda_host.host_device import HostDevice
from support.cuda_host.machines import MakeDevice

from pixelforest.engine.objects.label import label_components
from pixelforest.engine.objects.threshold import threshold_frame
from pixelforest.engine.project.thresholding import ThresholdSettings
from pixelforest.engine.resources import Resources
from pixelforest.engine.storage.scratch import Scratch
from pixelforest.kernels import load
from pixelforest.kernels.contract import Backend
from pixelforest.kernels.cuda.backend import compose_backend
from pixelforest.testing.label_slabs import Storage, random_values


@pytest.fixture(scope="module")
def device(make_device: MakeDevice) -> HostDevice:
    return make_device()


@pytest.fixture(scope="module")
def backend(device: HostDevice) -> Backend:
    return compose_backend([device])


@settings(deadline=None, max_examples=10)
@given(
    st.sampled_from([(36, 18, 40), (1, 270, 40), (3, 150, 35)]),
    st.sampled_from([0.1, 0.35, 0.6, 0.9]),
    st.integers(1, 3),
    st.integers(1500, 20_000),
)
def test_frames_of_many_bricks_in_slabs_of_any_size(
    backend: Backend, shape: tuple[int, int, int], share: float, values: int, voxels: int
) -> None:
    """Ids are those of the CPU for the frame as one slab."""
    frame = random_values(shape, "uint8", share=share, values=values)
    slabs = ((backend, voxels, 2), (load("cpu"), frame.size, 1))
    with Scratch(1 << 28) as scratch:
        found, expected = (
            label_components(
                lambda box: frame[box.slices()], shape, frame.dtype,
                resources=Resources(each, threads, scratch.memory_bytes), scratch=scratch, voxels=size,
            )
            for each, size, threads in slabs
        )  # fmt: skip
        assert found.count == expected.count
        np.testing.assert_array_equal(found.labels, expected.labels)


@pytest.mark.parametrize("method", ["simple", "hysteresis", "ipht"])
@pytest.mark.parametrize("shape", [(1, 40, 50), (9, 10, 35)], ids=["flat", "solid"])
def test_thresholds_of_slabs_equal_those_of_the_cpu(backend: Backend, method: str, shape: tuple[int, int, int]) -> None:
    maps = np.random.default_rng(7).integers(0, 256, (*shape, 2)).astype(np.uint8)
    low = 0.5 if method == "simple" else 1.05  # of the sum of both channels
    chosen = ThresholdSettings(method, 2, 400, 0.55, low, (0.3, 0.8, 1.0), 0, 1)
    with Scratch(1 << 26) as scratch:
        found, expected = (
            threshold_frame(
                lambda box: maps[box.slices()], shape, 2, chosen, (0.0, 255.0),
                resources=Resources(each, threads, 1 << 26), scratch=scratch, voxels=voxels,
            )
            for each, voxels, threads in ((backend, 600, 2), (load("cpu"), maps.size, 1))
        )  # fmt: skip
        assert expected.any()
        np.testing.assert_array_equal(found, expected)


def test_devices_are_used(backend: Backend, device: HostDevice) -> None:
    device.launches.clear()
    backend.labels.label_slab(np.ones((4, 20, 40), np.uint8), Storage())
    assert {"label_bricks", "join_bricks", "write_runs"} <= set(device.launches)

"""Components found on the device: the same runs as the CPU's, array by array, for frames of every kind."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import pytest
from support.cuda_host.host_device import HostDevice
from support.cuda_host.machines import MakeDevice

from pixelforest.kernels.contract import Backend, KernelError
from pixelforest.kernels.cpu.host import labels as cpu
from pixelforest.kernels.cpu.host.labels import SlabRuns
from pixelforest.kernels.cuda import labels
from pixelforest.kernels.cuda.backend import compose_backend
from pixelforest.kernels.cuda.launch import prepare
from pixelforest.testing.label_slabs import TYPES, Storage, random_values
from pixelforest.testing.long_paths import snake, spiral

# Bricks are 32 wide; 256 high in a plane, else 16 x 16, 128 x 2 or 64 x 4. A stretch has 1024 voxels.
SHAPES = (
    (1, 1, 1), (1, 1, 32), (1, 1, 33), (1, 2, 1025), (1, 600, 3), (1, 257, 70), (2, 129, 40), (3, 70, 31),
    (17, 17, 65), (33, 20, 40), (50, 1, 9), (40, 33, 1),
)  # fmt: skip


@pytest.fixture(scope="module")
def device(make_device: MakeDevice) -> HostDevice:
    found = make_device()
    prepare(found, [(labels.FILE, (f"VALUE={kind}",)) for kind in labels.TYPES.values()])
    return found


def check(device: HostDevice, values: np.ndarray) -> SlabRuns:
    """Label on the device and on the CPU, and compare the records."""
    found, expected = labels.label_slab(device, values, Storage()), cpu.label_slab(values, Storage())
    assert (found.shape, found.count) == (expected.shape, expected.count)
    for ours, theirs in zip(found.runs, expected.runs, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    return found


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
@pytest.mark.parametrize(("share", "values"), [(0.05, 1), (0.5, 1), (0.7, 1), (0.9, 2), (1.0, 3)])
def test_random_slabs_have_the_runs_of_the_cpu(
    device: HostDevice, shape: tuple[int, int, int], share: float, values: int
) -> None:
    check(device, random_values(shape, "uint8", share=share, values=values))


@pytest.mark.parametrize("dtype", [*TYPES, ">i4", ">f8"])
@pytest.mark.parametrize("shape", [(1, 40, 70), (18, 19, 40)], ids=["flat", "solid"])
def test_every_type_is_labelled_by_the_device(device: HostDevice, dtype: str, shape: tuple[int, int, int]) -> None:
    check(device, random_values(shape, dtype, share=0.8, values=1 if dtype == "bool" else 3))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_compare_as_numbers_do_on_the_device(device: HostDevice, dtype: str) -> None:
    rng = np.random.default_rng(1)
    special = np.array([0.0, -0.0, 1.5, -1.5, np.nan, np.inf, -np.inf], dtype)
    check(device, rng.choice(special, (3, 20, 70)))


@pytest.mark.parametrize("top", [2**31, 2**32, 2**63])
def test_large_values_are_compared_whole(device: HostDevice, top: int) -> None:
    rng = np.random.default_rng(2)
    check(device, rng.choice(np.array([0, 1, top, top + 1], np.uint64), (4, 20, 40)))


def test_a_value_for_every_voxel(device: HostDevice) -> None:
    shape = (5, 21, 70)
    assert check(device, np.arange(1, np.prod(shape) + 1, dtype=np.uint32).reshape(shape)).count == np.prod(shape)


@pytest.mark.parametrize("value", [0, 1, 255])
@pytest.mark.parametrize("shape", [(1, 300, 100), (20, 33, 70)], ids=["flat", "solid"])
def test_one_value_everywhere_is_one_component(device: HostDevice, shape: tuple[int, int, int], value: int) -> None:
    assert check(device, np.full(shape, value, np.uint8)).count == min(value, 1)


@pytest.mark.parametrize("shape", [(1, 260, 70), (18, 18, 66)], ids=["flat", "solid"])
@pytest.mark.parametrize("values", [1, 2])
def test_voxels_of_a_checkerboard_are_apart(device: HostDevice, shape: tuple[int, int, int], values: int) -> None:
    board = np.indices(shape).sum(axis=0) % 2 + (values - 1)
    assert check(device, board.astype(np.uint8)).count == (board != 0).sum()


@pytest.mark.parametrize("turns", range(4))
def test_a_spiral_is_one_component_for_the_device(device: HostDevice, turns: int) -> None:
    """Its arms meet last, across many bricks; turned, the root lies elsewhere."""
    assert check(device, np.rot90(spiral(301), turns)[np.newaxis]).count == 1


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2, 0), (2, 0, 1)], ids=str)
@pytest.mark.parametrize("flips", [(), (0, 1, 2)], ids=["", "flipped"])
def test_a_snake_is_one_component_in_any_direction(
    device: HostDevice, axes: tuple[int, int, int], flips: tuple[int, ...]
) -> None:
    check(device, np.flip(snake((35, 35, 37)), flips).transpose(axes))


def test_combs_whose_teeth_meet_at_the_end(device: HostDevice) -> None:
    """Every tooth is a component of its own until the last row of the last brick."""
    values = np.zeros((1, 530, 100), np.uint8)
    values[0, :, ::2] = 1
    values[0, -1] = 1
    assert check(device, values).count == 1


def test_slabs_that_are_not_contiguous_on_the_device(device: HostDevice) -> None:
    check(device, random_values((9, 40, 80), "uint16", share=0.6, values=3)[::2, ::-1, ::2])


@pytest.mark.parametrize("n", [1, 1023, 1024, 1025, 5000])
def test_counts_are_added_up(device: HostDevice, n: int) -> None:
    counts = np.random.default_rng(n).integers(0, 1025, (2, n)).astype(np.uint32)
    on_device, totals = device.upload(counts), device.empty((2,), np.uint32)
    labels.FILE.kernel(device, "add_up_counts", ("VALUE=unsigned char",))(
        (2, 1, 1), (1024, 1, 1), (on_device, np.uint32(n), totals)
    )
    np.testing.assert_array_equal(device.download(totals), counts.sum(axis=1))
    np.testing.assert_array_equal(device.download(on_device), np.cumsum(counts, axis=1) - counts)


def test_complex_values_are_refused_by_the_device(device: HostDevice) -> None:
    with pytest.raises(KernelError, match="complex64"):
        labels.label_slab(device, np.zeros((1, 2, 2), np.complex64), Storage())


@pytest.fixture
def backend(device: HostDevice) -> Backend:
    return compose_backend([device])


@pytest.mark.parametrize("shape", [(0, 4, 5), (2, 0, 5), (2, 4, 0)], ids=str)
def test_empty_slabs(backend: Backend, shape: tuple[int, int, int]) -> None:
    slab = backend.labels.label_slab(np.zeros(shape, np.uint8), Storage())
    assert (slab.shape, slab.count, len(slab.first)) == (shape, 0, shape[0] * shape[1] + 1)


def test_what_is_too_large_for_its_numbers_is_the_cpus(
    backend: Backend, device: HostDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "MAX_VOXELS", 99)
    before = len(device.launches)
    assert backend.labels.label_slab(np.ones((1, 10, 10), np.uint8), Storage()).count == 1
    assert len(device.launches) == before
    assert backend.labels.label_slab(np.ones((1, 9, 11), np.uint8), Storage()).count == 1
    assert len(device.launches) > before


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.WARNING, logger="pixelforest.kernels"):
        yield caplog


def test_what_does_not_fit_the_device_is_the_cpus_with_one_warning(
    make_device: MakeDevice, warnings: pytest.LogCaptureFixture
) -> None:
    values = random_values((4, 20, 40), "uint8", share=0.6)
    expected = cpu.label_slab(values, Storage())
    for room in (0, values.size, 4 * values.size, 6 * values.size):
        small = make_device(total_bytes=room)
        backend = compose_backend([small])
        warnings.clear()
        for _ in range(2):
            found = backend.labels.label_slab(values, Storage())
            np.testing.assert_array_equal(found.component, expected.component)
        assert len(warnings.records) == 1
        assert small.free_bytes() == room, "what was taken is given back"

"""Smoothing of prediction maps on the device, bit-identical to the CPU's."""

from __future__ import annotations

import numpy as np
import pytest
from support.cuda_host.host_device import HostDevice
from support.cuda_host.machines import MakeDevice

from pixelforest.kernels.contract import Backend, MapPlan, Voxels
from pixelforest.kernels.cpu.host import threshold as cpu
from pixelforest.kernels.cuda import threshold
from pixelforest.kernels.cuda.backend import compose_backend
from pixelforest.kernels.shared.taps import threshold_taps

TAPS = {sigma: threshold_taps(sigma) for sigma in (0.3, 1.0, 2.0)}
AXES = [(0.3, 1.0, 2.0), (None, 1.0, 0.3), (None, 1.0, None), (None, None, 1.0), (1.0, None, 0.3), (1.0, None, None)]


@pytest.fixture(scope="module")
def device(make_device: MakeDevice) -> HostDevice:
    return make_device()


def plan_of(sigmas: tuple[float | None, ...], channels: tuple[int, ...] = (0,), **other: object) -> MapPlan:
    z, y, x = (None if sigma is None else TAPS[sigma] for sigma in sigmas)
    return MapPlan(channels, other.get("value_range"), (z, y, x))  # type: ignore[arg-type]


def check(
    device: HostDevice, source: np.ndarray, plan: MapPlan, tile: tuple[Voxels, Voxels], start: Voxels, image: Voxels
) -> None:
    found = threshold.smooth_maps(device, source, start, tile, image, plan)
    expected = cpu.smooth_maps(source, start, tile, image, plan)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        is_nan = np.isnan(theirs)
        np.testing.assert_array_equal(np.isnan(ours), is_nan)
        np.testing.assert_array_equal(ours.view(np.uint32)[~is_nan], theirs.view(np.uint32)[~is_nan])


def check_whole(device: HostDevice, maps: np.ndarray, plan: MapPlan) -> None:
    image = maps.shape[:3]
    check(device, maps, plan, ((0, 0, 0), image), (0, 0, 0), image)


@pytest.mark.parametrize("sigmas", AXES, ids=str)
def test_along_any_axes(device: HostDevice, sigmas: tuple[float | None, ...]) -> None:
    maps = np.random.default_rng(1).normal(size=(7, 12, 45, 2)).astype(np.float32)
    check_whole(device, maps, plan_of(sigmas, (1, 0)))


@pytest.mark.parametrize("dtype", [*threshold.TYPES, "float16", ">u2", ">f8"])
def test_every_type_with_a_range(device: HostDevice, dtype: str) -> None:
    """Integers beyond 2^24 are rounded on their way to float32, doubles beyond its range become infinite."""
    rng = np.random.default_rng(2)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        maps = np.array(rng.normal(size=(1, 9, 40, 3)) * 1e3, kind)
        if kind.itemsize == 8:
            maps[0, 0, :7, 1] = [1e39, -1e39, np.inf, np.nan, 1e-40, -1e-46, 16777217]
    elif kind.kind == "b":
        maps = rng.random((1, 9, 40, 3)) < 0.5
    else:
        limits = np.iinfo(kind)
        maps = rng.integers(limits.min, limits.max, (1, 9, 40, 3), kind.newbyteorder("="), endpoint=True).astype(kind)
    with np.errstate(all="ignore"):
        check_whole(device, maps, plan_of((None, 1.0, 0.3), (1,), value_range=(10.0, 255.0)))
        check_whole(device, maps, plan_of((None, 0.3, 1.0), (2,), value_range=(0.1, 0.7)))


def test_zeros_of_either_sign_and_sums_that_vanish(device: HostDevice) -> None:
    """Without a pass along z, the CPU's last one turns -0.0 into 0.0; otherwise -0.0 is kept."""
    smallest = np.float32(1e-45)
    maps = np.random.default_rng(3).choice(np.array([-0.0, 0.0, smallest, -smallest], np.float32), (4, 8, 40, 1))
    for sigmas in AXES:
        check_whole(device, maps, plan_of(sigmas))


@pytest.mark.parametrize("sigmas", [(1.0, 1.0, 1.0), (0.3, 2.0, 0.3), (None, 1.0, 0.3), (0.3, None, None)], ids=str)
@pytest.mark.parametrize(
    "tile", [((0, 0), (3, 12)), ((4, 0), (5, 6)), ((2, 5), (6, 9)), ((6, 11), (7, 12))], ids=lambda t: str(t[0])
)
@pytest.mark.parametrize("spare", [0, 1])
def test_smoothed_tiles_equal_their_part_of_the_image(
    device: HostDevice, sigmas: tuple[float | None, ...], tile: tuple[tuple[int, int], tuple[int, int]], spare: int
) -> None:
    """A source that reaches as far as the taps, and one that reaches farther."""
    image = (7, 12, 33)
    maps = np.random.default_rng(4).integers(0, 256, (*image, 1)).astype(np.uint8)
    halo = [spare if s is None else len(TAPS[s]) - 1 + spare for s in sigmas[:2]]
    low = [max(0, a - m) for a, m in zip(tile[0], halo, strict=True)]
    high = [min(n, b + m) for n, b, m in zip(image, tile[1], halo, strict=False)]
    source = maps[low[0] : high[0], low[1] : high[1]]
    place = ((*tile[0], 0), (*tile[1], image[2]))
    check(device, source, plan_of(sigmas), place, (low[0], low[1], 0), image)


@pytest.fixture
def backend(device: HostDevice) -> Backend:
    return compose_backend([device])


@pytest.mark.parametrize("case", ["no taps", "too large"])
def test_what_a_device_gains_nothing_from_is_the_cpus(
    backend: Backend, device: HostDevice, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = np.random.default_rng(5).random((1, 6, 40, 1), np.float32)
    if case == "too large":
        monkeypatch.setattr(threshold, "MAX_VALUES", maps.size - 1)
    plan = plan_of((None, None, None) if case == "no taps" else (None, 1.0, 1.0))
    before, where = len(device.launches), ((0, 0, 0), ((0, 0, 0), (1, 6, 40)), (1, 6, 40))
    (found,) = backend.labels.smooth_maps(maps, *where, plan)
    np.testing.assert_array_equal(found, cpu.smooth_maps(maps, *where, plan)[0])
    assert len(device.launches) == before


def test_what_does_not_fit_the_device_is_the_cpus(make_device: MakeDevice) -> None:
    maps = np.random.default_rng(6).random((1, 6, 40, 1), np.float32)
    plan, where = plan_of((None, 1.0, 1.0)), ((0, 0, 0), ((0, 0, 0), (1, 6, 40)), (1, 6, 40))
    small = make_device(total_bytes=maps.nbytes * 2)
    (found,) = compose_backend([small]).labels.smooth_maps(maps, *where, plan)
    np.testing.assert_array_equal(found, cpu.smooth_maps(maps, *where, plan)[0])
    assert small.free_bytes() == small.total_bytes

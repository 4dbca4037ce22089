"""Object operations on a GPU, at sizes where threads interact, compared with the CPU and other libraries.

Emulated GPUs take smaller ones.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import ndimage
from support.emulated_gpu.build import are_in_use

from pixelforest.kernels import load
from pixelforest.kernels.contract import DeviceUnavailable, MapPlan
from pixelforest.kernels.cpu.host import labels as cpu
from pixelforest.kernels.cpu.host import threshold as cpu_threshold
from pixelforest.kernels.cuda import labels, threshold
from pixelforest.kernels.cuda.device import Device
from pixelforest.kernels.shared.taps import threshold_taps
from pixelforest.testing.label_slabs import Storage, random_values
from pixelforest.testing.labelled_frames import make_labels, make_raw, measure
from pixelforest.testing.long_paths import snake, spiral

pytestmark = pytest.mark.gpu

if are_in_use():  # several bricks along each axis, and stretches that end inside of rows
    SLABS, WHOLE, TYPED = [(40, 50, 70), (1, 300, 417), (31, 70, 33)], (20, 40, 70), (20, 50, 40)
    SPIRAL, SNAKE, THREADED, SMOOTHED = 121, (21, 23, 35), (20, 30, 40), [(20, 30, 50), (1, 100, 170)]
else:
    SLABS, WHOLE, TYPED = [(256, 256, 256), (1, 4096, 4096), (31, 700, 333)], (200, 300, 400), (60, 300, 200)
    SPIRAL, SNAKE, THREADED, SMOOTHED = 2001, (201, 203, 205), (20, 300, 300), [(64, 200, 300), (1, 2000, 3000)]


@pytest.fixture(scope="module")
def device() -> Device:
    try:
        from pixelforest.kernels.cuda.cupy_device import open_devices

        return open_devices([0])[0]
    except DeviceUnavailable as error:
        pytest.skip(str(error))


def check(device: Device, values: np.ndarray) -> int:
    found, expected = labels.label_slab(device, values, Storage()), cpu.label_slab(values, Storage())
    assert found.count == expected.count
    for ours, theirs in zip(found.runs, expected.runs, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    return found.count


@pytest.mark.slow
@pytest.mark.parametrize("shape", SLABS, ids=str)
@pytest.mark.parametrize("share", [0.05, 0.31, 0.5, 0.6, 0.95])
def test_random_slabs_on_a_real_gpu(device: Device, shape: tuple[int, int, int], share: float) -> None:
    """Shares around those where components grow without bounds: 0.31 in 3-D, 0.59 in 2-D."""
    values = random_values(shape, "uint8", share=share, values=1)
    for _ in range(3):
        check(device, values)


@pytest.mark.slow
@pytest.mark.parametrize("value", [0, 1])
def test_one_value_everywhere_on_a_real_gpu(device: Device, value: int) -> None:
    assert check(device, np.full(WHOLE, value, np.uint8)) == value


@pytest.mark.slow
def test_long_paths(device: Device) -> None:
    for turns in range(4):
        assert check(device, np.rot90(spiral(SPIRAL), turns)[np.newaxis]) == 1
    for axes in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        assert check(device, snake(SNAKE).transpose(axes)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64", "float32", "float64"])
def test_every_type_is_labelled_by_a_real_gpu(device: Device, dtype: str) -> None:
    check(device, random_values(TYPED, dtype, share=0.8, values=3))


@pytest.mark.slow
def test_several_threads_at_once(device: Device) -> None:
    depth, height, width = THREADED
    slabs = [random_values((depth + i, height, width), "uint8", share=0.5) for i in range(16)]
    with ThreadPoolExecutor(8) as pool:
        assert all(count > 0 for count in pool.map(lambda slab: check(device, slab), slabs))


@pytest.mark.slow
@pytest.mark.parametrize("shape", SMOOTHED, ids=["solid", "flat"])
def test_smoothed_maps_have_the_bits_of_the_cpu(device: Device, shape: tuple[int, int, int]) -> None:
    maps = np.random.default_rng(1).integers(0, 256, (*shape, 2)).astype(np.uint8)
    z, y, x = (threshold_taps(2.0) if n > 1 else None for n in shape)
    plan, where = MapPlan((1, 0), (0.0, 255.0), (z, y, x)), ((0, 0, 0), ((0, 0, 0), shape), shape)
    for ours, theirs in zip(
        threshold.smooth_maps(device, maps, *where, plan), cpu_threshold.smooth_maps(maps, *where, plan), strict=True
    ):
        np.testing.assert_array_equal(ours.view(np.uint32), theirs.view(np.uint32))


@pytest.mark.slow
@pytest.mark.skipif(are_in_use(), reason="CuPy sorts by Thrust, which has a runtime of its own that is not emulated")
@pytest.mark.parametrize("shape", [(90, 91, 92), (1, 800, 900)], ids=["solid", "flat"])
def test_components_are_those_of_cupy(device: Device, shape: tuple[int, int, int]) -> None:
    cupy = pytest.importorskip("cupy")
    peer = pytest.importorskip("cupyx.scipy.ndimage")
    values = random_values(shape, "uint8", share=0.45, values=1)
    theirs, count = peer.label(cupy.asarray(values))
    slab = labels.label_slab(device, values, Storage())
    ours = np.zeros(shape, np.uint32)
    load("cpu").labels.write_labels(slab, np.arange(slab.count + 1), 0, ours)
    assert slab.count == int(count)
    number = np.zeros(slab.count + 1, np.int64)
    number[ours] = cupy.asnumpy(theirs)
    np.testing.assert_array_equal(number[ours], cupy.asnumpy(theirs))


@pytest.mark.parametrize("shape", [(12, 40, 50), (1, 300, 400)], ids=["solid", "flat"])
def test_statistics_agree_with_cucim(device: Device, shape: tuple[int, int, int]) -> None:
    """Whole numbers and extremes exactly; sums it adds in another order."""
    cupy = pytest.importorskip("cupy")
    peer = pytest.importorskip("cucim.skimage.measure")
    ids, raw = make_labels("blobs", shape), make_raw(shape, 1, "float")
    assert ids.max() == ndimage.label(ids)[1]
    ours = measure(load("cpu"), ids, raw, frozenset({"bounds", "values"}))
    flat = slice(None) if shape[0] > 1 else 0
    wanted = ("area", "bbox", "centroid", "intensity_mean", "intensity_min", "intensity_max")
    table = peer.regionprops_table(
        cupy.asarray(ids[flat].astype(np.int32)), cupy.asarray(raw[flat][..., 0]), properties=wanted
    )
    found = {name: cupy.asnumpy(column) for name, column in table.items()}
    d = 2 if shape[0] == 1 else 3
    np.testing.assert_array_equal(found["area"], ours["count"][:, 0])
    np.testing.assert_array_equal(found["intensity_min"], ours["smallest"][:, 0])
    np.testing.assert_array_equal(found["intensity_max"], ours["largest"][:, 0])
    np.testing.assert_allclose(found["intensity_mean"], ours["mean"][:, 0], rtol=1e-4, atol=1e-4)
    for axis in range(d):
        np.testing.assert_array_equal(found[f"bbox-{axis}"], ours["low"][:, d - 1 - axis])
        np.testing.assert_array_equal(found[f"bbox-{d + axis}"], ours["high"][:, d - 1 - axis])
        np.testing.assert_allclose(found[f"centroid-{axis}"], ours["centre"][:, d - 1 - axis], rtol=1e-6)

"""Features of the device equal the CPU's to the last bit; the kernels run on the host."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from support.cuda_host.features import Features, Tile, assert_same_features
from support.cuda_host.host_device import HostDevice
from support.cuda_host.machines import MakeDevice

from pixelforest import kernels
from pixelforest.kernels.contract import OPERATIONS, FeaturePlan, KernelError, ScalePlan, Voxels
from pixelforest.kernels.cuda import features as cuda_features
from pixelforest.kernels.cuda import filters, launch
from pixelforest.kernels.cuda.features import chunk_planes, load_plan, stack_bytes
from pixelforest.testing.kernel_inputs import assert_same_bits, compute_features, make_plan, open_stack, random_image

CPU = kernels.load("cpu")
SHAPES_OF_TILES = (
    ((0, 0, 0), (12, 19, 75)),
    ((5, 9, 40), (6, 10, 41)),
    ((0, 3, 0), (3, 4, 75)),
    ((10, 0, 33), (12, 19, 66)),
    ((3, 7, 60), (12, 19, 75)),
)


@pytest.fixture(scope="module")
def device(make_device: MakeDevice) -> HostDevice:
    return make_device()


@pytest.fixture(scope="module")
def quick_device(make_device: MakeDevice) -> HostDevice:
    """Unoptimised device for variants with little work."""
    return make_device(optimise=False)


@pytest.mark.parametrize("slicewise", [True, False], ids=["2d", "3d"])
@pytest.mark.parametrize("scale", [0.2, 0.3, 0.45, 0.7, 1.0, 3.5])
def test_all_operations(device: HostDevice, quick_device: HostDevice, scale: float, slicewise: bool) -> None:
    """Each radius of the feature filters; more than a block along every axis."""
    chosen = device if scale >= 1 else quick_device
    assert_same_features(chosen, random_image((1, 13, 19, 70), dtype="int16"), make_plan([(scale, slicewise)]))


@pytest.mark.parametrize("tile", SHAPES_OF_TILES[:3], ids=str)
def test_all_operations_in_one_kernel(device: HostDevice, tile: Tile) -> None:
    """In 3-d two are the default."""
    image = random_image((1, 12, 19, 75), dtype="float32")
    assert_same_features(device, image, make_plan([(1.0, False)]), tile, split_solid=False)
    assert device.launches[-1] == "transpose_stack"
    assert device.launches[-3:-1].count("features_3d") == 1


@pytest.mark.parametrize("slicewise", [True, False], ids=["2d", "3d"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_one_operation_alone_on_the_device(quick_device: HostDevice, operation: str, slicewise: bool) -> None:
    plan = make_plan([(1.6, slicewise)], operations=[operation])
    assert_same_features(quick_device, random_image((1, 7, 9, 40), dtype="float32"), plan)
    small = ((2, 3, 5), (6, 8, 38))
    assert_same_features(quick_device, random_image((1, 7, 9, 40), dtype="float32"), plan, small)


@pytest.mark.parametrize("width", [*range(63, 68), *range(96, 101), 130])
def test_widths_around_the_fused_range(device: HostDevice, width: int) -> None:
    assert_same_features(device, random_image((1, 1, 36, width)), make_plan([(1.0, True), (10.0, True)]))


@pytest.mark.parametrize("width", [65, 66, 97])
def test_widths_around_the_fused_range_in_3d(device: HostDevice, width: int) -> None:
    assert_same_features(device, random_image((1, 7, 8, width)), make_plan([(1.6, False)]))


@pytest.mark.parametrize("shape", [(4, 4, 4), (5, 4, 33), (4, 21, 6), (23, 5, 5), (4, 4, 129)])
def test_small_and_odd_volumes(device: HostDevice, shape: Voxels) -> None:
    assert_same_features(device, random_image((1, *shape), dtype="float32"), make_plan([(0.75, False)]))


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 17, 32), (1, 16, 33), (3, 4, 70)])
def test_small_and_odd_slices(device: HostDevice, shape: Voxels) -> None:
    assert_same_features(device, random_image((1, *shape), dtype="float32"), make_plan([(0.75, True)]))


@pytest.mark.parametrize("tile", SHAPES_OF_TILES, ids=str)
def test_tiles_need_no_more_than_their_halo(device: HostDevice, tile: Tile) -> None:
    """A tile gets no more than its halo; scales in 2-d and 3-d side by side, several channels."""
    image = random_image((2, 12, 19, 75), dtype="uint16")
    assert_same_features(device, image, make_plan([(1.0, False), (1.6, True)], channels=2), tile)


def test_more_halo_than_needed_changes_nothing_on_the_device(device: HostDevice) -> None:
    image = random_image((1, 9, 16, 70))
    plan, tile = make_plan([(1.0, False)]), ((2, 5, 20), (6, 10, 60))
    backend = Features(device)
    loaded = backend.pixels.load_plan(plan)
    stack = backend.pixels.feature_stack(backend.pixels.to_device(image), (0, 0, 0), tile, (9, 16, 70), loaded)
    found = backend.pixels.to_host(backend.pixels.features(stack))
    assert_same_bits(found, compute_features(CPU, image, plan, tile))
    assert_same_bits(backend.pixels.to_host(backend.pixels.features(stack)), found)


@pytest.mark.parametrize("slicewise", [True, False], ids=["2d", "3d"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38], ids=["nan", "inf", "near-overflow"])
def test_values_that_are_not_finite(device: HostDevice, bad: float, slicewise: bool) -> None:
    image = random_image((1, 9, 12, 70), dtype="float32")
    image[0, 5, 6, 30] = bad
    image[0, 0, 0, 0] = -bad
    assert_same_features(device, image, make_plan([(1.0, slicewise)]))


@pytest.mark.parametrize("scale", [1e-30, 1e-40, 1e20], ids=["tiny", "denormal", "huge"])
def test_features_of_extreme_values_equal_those_of_the_cpu(device: HostDevice, scale: float) -> None:
    image = (random_image((1, 6, 7, 70), dtype="float32").astype(np.float64) * scale).astype(np.float32)
    assert_same_features(device, image, make_plan([(1.0, True), (1.0, False)]))


@pytest.mark.parametrize("value", [0.0, -3.5])
def test_features_of_constant_images_equal_those_of_the_cpu(device: HostDevice, value: float) -> None:
    image = np.full((1, 6, 7, 40), value, np.float32)
    assert_same_features(device, image, make_plan([(1.0, True), (1.0, False)]))


@pytest.mark.parametrize("multiprocessors", [1, 1000])
def test_results_do_not_depend_on_the_device(make_device: MakeDevice, multiprocessors: int) -> None:
    """Few blocks with many planes, or many with few."""
    image = random_image((1, 30, 9, 12), dtype="float32")
    assert_same_features(make_device(multiprocessors=multiprocessors), image, make_plan([(1.0, False)]))


def test_gaussians_too_wide_for_shared_memory(make_device: MakeDevice) -> None:
    """A device with little of it takes the kernel that reads straight from memory; so would a huge sigma."""
    poor = make_device(shared_bytes_per_block=1000, optimise=False)
    image = random_image((1, 14, 13, 70))
    scale = ScalePlan(3.3, 0.1, False, {"gaussian": 0})
    assert_same_features(poor, image, FeaturePlan((scale,), 1, 1), ((2, 3, 1), (13, 12, 68)))
    assert poor.launches.count("gaussian_1d_wide") == 3


def test_columns_of_several_channels_and_scales(quick_device: HostDevice) -> None:
    image = random_image((3, 5, 6, 9), dtype="float32")
    plan = make_plan([(0.7, True), (1.6, True)], channels=3, operations=OPERATIONS[::-1])
    assert_same_features(quick_device, image, plan)


def test_zero_is_the_negative_part_of_zeros_and_nan(device: HostDevice) -> None:
    kernel = """extern "C" __global__ void f(const float* in, float* out) {
        out[threadIdx.x] = negative_part(in[threadIdx.x]);
    }"""
    source = launch.read_source("arithmetic.cuh") + kernel
    values = np.array([-0.0, 0.0, np.nan, 2.0, -3.0, -1e-45, np.inf, -np.inf], np.float32)
    out = device.zeros((8,), np.float32)
    module = device.load(device.compile(source, "f.cu", launch.OPTIONS))
    module.kernel("f")((1, 1, 1), (8, 1, 1), (device.upload(values), out))
    assert_same_bits(device.download(out), np.array([0, 0, 0, 0, -3.0, -1e-45, 0, -np.inf], np.float32))


def test_kernels_are_shared_by_scales_that_differ_in_taps_only() -> None:
    """Start-up depends on how many there are."""
    scales = [(0.3, False), (0.7, False), (1.0, False), (1.6, False), (3.5, False), (5.0, False), (10.0, False)]
    variants = {kernel.defines for scale in load_plan(make_plan(scales)).scales for kernel in scale.kernels}
    assert len(variants) == 2 * 3


def test_plans_are_prepared_before_the_first_tile(make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch.cache, "folders", lambda: iter(()))
    plan = load_plan(make_plan([(1.0, True), (1.6, True), (1.0, False)]))
    fresh = make_device(optimise=False)
    launch.prepare(fresh, [*cuda_features.plan_kernels(plan), *filters.source_kernels(np.dtype(np.uint8))])
    assert sorted(fresh.compiled) == ["features.cu"] * 3 + ["filters.cu", "sources.cu"]
    image = random_image((1, 6, 7, 40))
    assert_same_features(fresh, image, make_plan([(1.0, True), (1.6, True), (1.0, False)]))
    assert len(fresh.compiled) == 5


@pytest.mark.parametrize("slicewise", [True, False], ids=["2d", "3d"])
def test_memory_stays_within_what_was_announced(make_device: MakeDevice, slicewise: bool) -> None:
    shape = (2, 13, 19, 75)  # one more than the radius along z
    image, tile = random_image(shape), ((3, 4, 20), (9, 15, 60))
    plan = load_plan(make_plan([(1.0, slicewise), (3.5, slicewise)], channels=2))
    halo = plan.source_halo
    low = [max(a - m, 0) for a, m in zip(tile[0], halo, strict=True)]
    high = [min(b + m, n) for b, m, n in zip(tile[1], halo, shape[1:], strict=True)]
    source = tuple(b - a for a, b in zip(low, high, strict=True))
    extent = tuple(b - a for a, b in zip(*tile, strict=True))
    small = make_device(total_bytes=stack_bytes(plan, extent, source) + plan.packed.pre_taps.nbytes)
    backend = Features(small)
    inside = image[(slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))]
    stack = backend.pixels.feature_stack(
        backend.pixels.to_device(inside.astype(np.float32)), tuple(low), tile, shape[1:], plan
    )
    assert stack.shape == (*extent, plan.packed.width)


@pytest.mark.parametrize(
    "dtype",
    ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64",
     ">u2", ">f8", ">f4"],
)  # fmt: skip
def test_sources_become_float32_as_numpy_makes_them(device: HostDevice, dtype: str) -> None:
    kind = np.dtype(dtype)
    rng = np.random.default_rng(5)
    raw = rng.integers(0, 256, (2, 3, 5, 7, kind.itemsize), np.uint8)
    values = raw.view(kind)[..., 0] if kind != np.bool_ else raw[..., 0] > 100
    if kind.kind == "f":
        special = [0.0, -0.0, np.inf, -np.inf, np.nan, *np.ldexp(1.0, np.arange(-30, 16)), 65504.0, 6e-8, -1e-7]
        extreme = [1e300, 1e-300, 3.4028235e38, 3.4028236e38] if kind.itemsize == 8 else []
        values.reshape(-1)[: len(special) + len(extreme)] = [*special, *extreme]
    with np.errstate(all="ignore"):
        expected = values.astype(np.float32)
    found = device.download(filters.upload_source(device, values))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    assert_same_bits(np.signbit(found), np.signbit(np.where(np.isnan(expected), found, expected)))


def test_every_half_is_converted_exactly(device: HostDevice) -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(1, 1, 256, 256)
    found = device.download(filters.upload_source(device, halves))
    np.testing.assert_array_equal(found, halves.astype(np.float32))


def test_sources_that_are_not_contiguous_on_the_device(device: HostDevice) -> None:
    image = random_image((1, 6, 8, 10), dtype="uint16").transpose(0, 3, 2, 1)[:, ::2]
    np.testing.assert_array_equal(device.download(filters.upload_source(device, image)), image.astype(np.float32))


def test_a_source_that_is_no_number_is_refused(device: HostDevice) -> None:
    with pytest.raises(KernelError, match="complex64 cannot be brought to the device"):
        filters.upload_source(device, np.zeros((1, 1, 2, 2), np.complex64))


@pytest.mark.parametrize(("depth", "across", "resident"), [(1, 1, 264), (256, 256, 264), (64, 4, 264), (1000, 3, 2)])
def test_chunks_cover_the_depth_in_few_steps(depth: int, across: int, resident: int) -> None:
    chunk = chunk_planes(depth, across, resident, 7)

    def steps(planes: int) -> int:
        return -(-(across * -(-depth // planes)) // resident) * (planes + 7)

    assert 1 <= chunk <= depth
    assert steps(chunk) == min(steps(planes) for planes in range(1, depth + 1))


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 11, 5), (1, 5, 7, 33), (3, 3, 3, 70)])
def test_a_transposed_stack_has_the_same_values(device: HostDevice, shape: Sequence[int]) -> None:
    z, y, x, f = shape
    stride = -(-(z * y * x) // 32) * 32
    values = np.random.default_rng(0).normal(size=(f, stride)).astype(np.float32)
    found = filters.transpose_stack(device, device.upload(values), (z, y, x, f), stride)
    expected = values[:, : z * y * x].T.reshape(shape)
    assert_same_bits(device.download(found), expected)


def test_an_empty_plan_and_stack(device: HostDevice) -> None:
    stack = open_stack(Features(device), random_image((1, 2, 3, 4)), FeaturePlan((), 1, 0))
    assert stack.shape == (2, 3, 4, 0)
    assert device.download(cuda_features.features(stack)).shape == (2, 3, 4, 0)

"""Features and forest in one kernel, run on the host: the CPU backend's bits, and two kernels where it does not fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from contract.builders import make_plan, random_forest, random_image
from cuda_host.faults import FaultyDevice
from cuda_host.host_device import HostDevice
from cuda_host.jobs import KINDS, assert_cpu_bytes, limit_tiles

from pixelforest import kernels
from pixelforest.kernels.contract import DeviceUnavailable, FeaturePlan, ForestArrays, Voxels
from pixelforest.kernels.cuda import fused
from pixelforest.kernels.cuda.backend import CudaBackend
from pixelforest.kernels.cuda.device import Device
from pixelforest.kernels.cuda.features import load_plan
from pixelforest.kernels.cuda.filters import upload_source
from pixelforest.kernels.cuda.forest import load_forest
from pixelforest.kernels.cuda.tiles import ForestChoice

H100 = 227 << 10
SCALES = (0.3, 0.7, 1.0, 1.6)
CPU = kernels.load("cpu")
LEAVES = pytest.mark.parametrize("pure", [True, False], ids=["pure", "mixed"])
Tile = tuple[Voxels, Voxels]


@pytest.fixture(scope="module")
def device() -> HostDevice:
    return HostDevice(shared_bytes_per_block=H100)


def some_forests(plan: FeaturePlan, *, pure: bool, classes: int = 3) -> list[ForestArrays]:
    """Two of sizes that are added up in float32, with thresholds among the features' values."""
    rng = np.random.default_rng([plan.width, classes])
    forests = [random_forest(rng, trees=t, columns=plan.width, classes=classes, pure=pure, depth=6) for t in (9, 5)]
    for forest in forests:
        for tree in forest.trees:
            tree.threshold[:] = rng.normal(size=len(tree.threshold)) * 60 + 20
    return forests


def assert_cpu_bits(
    device: Device,
    image: np.ndarray,
    plan: FeaturePlan,
    forests: Sequence[ForestArrays],
    tile: Tile | None = None,
    *,
    distinct: int = 10,
) -> fused.FusedLaunch:
    """Probabilities of a tile (default: the whole image) from one kernel, compared with the CPU's.

    distinct  how many different ones there are at least: the forest must tell voxels apart
    """
    size: Voxels = image.shape[1:]
    first, stop = tile or ((0, 0, 0), size)
    loaded = load_plan(plan)
    margin = loaded.source_margin
    low = [max(a - m, 0) for a, m in zip(first, margin, strict=True)]
    high = [min(b + m, n) for b, m, n in zip(stop, margin, size, strict=True)]
    source = image[(slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))]
    forest = load_forest(device, forests)
    launch = fused.plan_fused(loaded, forest)
    assert launch is not None
    at = (tuple(low), (first, stop), size)
    found = device.download(fused.predict_fused(upload_source(device, source), *at, loaded, forest, launch))
    stack = CPU.feature_stack(CPU.to_device(source), *at, CPU.load_plan(plan))
    wanted = CPU.to_host(CPU.predict(stack, CPU.load_forest(forests)))
    assert found.shape == wanted.shape
    differing = np.argwhere(found.view(np.uint32) != wanted.view(np.uint32))
    assert not len(differing), f"{len(differing)} of {found.size} differ, first at {differing[0]}"
    assert len(np.unique(found.reshape(-1, found.shape[-1]), axis=0)) >= distinct
    return launch


@LEAVES
@pytest.mark.parametrize("shape", [(1, 21, 75), (1, 64, 33)], ids=str)
def test_flat_images(device: HostDevice, shape: Voxels, pure: bool) -> None:
    plan = make_plan([(scale, True) for scale in SCALES])
    launch = assert_cpu_bits(device, random_image((1, *shape)), plan, some_forests(plan, pure=pure))
    assert (launch.planes, launch.rows, launch.kinds) == (1, 8, (0, 1, 2, 2))


@LEAVES
@pytest.mark.parametrize("shape", [(7, 13, 70), (12, 9, 31)], ids=str)
def test_volumes(device: HostDevice, shape: Voxels, pure: bool) -> None:
    plan = make_plan([(scale, False) for scale in SCALES])
    launch = assert_cpu_bits(device, random_image((1, *shape)), plan, some_forests(plan, pure=pure))
    assert launch.planes > 1


@pytest.mark.parametrize(
    "tile",
    [((0, 0, 0), (3, 5, 33)), ((5, 9, 40), (6, 10, 41)), ((3, 7, 6), (12, 19, 75)), ((2, 0, 0), (9, 8, 64))],
    ids=str,
)
def test_tiles_of_several_channels_with_scales_in_2d_and_3d(device: HostDevice, tile: Tile) -> None:
    """A tile gets no more than its halo."""
    plan = make_plan([(1.0, False), (1.6, True)], channels=2)
    image = random_image((2, 12, 19, 75), dtype="uint16") / np.float32(200)
    forests = some_forests(plan, pure=True)
    is_voxel = tile == ((5, 9, 40), (6, 10, 41))
    assert_cpu_bits(device, image, plan, forests, tile, distinct=1 if is_voxel else 10)


@pytest.mark.parametrize("slicewise", [True, False], ids=["2d", "3d"])
@LEAVES
def test_features_that_are_no_number(device: HostDevice, slicewise: bool, pure: bool) -> None:
    """Their voxels are in no class; whole patches are, and parts of patches."""
    image = random_image((1, 9, 26, 70), dtype="float32")
    image[0, 5, 6, 30] = np.nan
    image[0, 0, 20:, 40:] = np.nan
    plan = make_plan([(1.0, slicewise)])
    assert_cpu_bits(device, image, plan, some_forests(plan, pure=pure))


@pytest.mark.parametrize("classes", [1, 2, 40])
@LEAVES
def test_numbers_of_classes(device: HostDevice, classes: int, pure: bool) -> None:
    plan = make_plan([(1.0, True)])
    forests = some_forests(plan, pure=pure, classes=classes)
    assert_cpu_bits(device, random_image((1, 1, 20, 40)), plan, forests, distinct=min(classes, 4))


@pytest.mark.parametrize("operation", ["gaussian", "structure_tensor", "difference_of_gaussians"])
@pytest.mark.parametrize("slicewise", [True, False], ids=["2d", "3d"])
def test_one_operation_alone(operation: str, slicewise: bool) -> None:
    """The intermediates of each have sizes of their own; a device may have little shared memory."""
    device = HostDevice(optimise=False, shared_bytes_per_block=64 << 10)
    plan = make_plan([(1.6, slicewise), (0.8, slicewise)], operations=[operation])
    assert_cpu_bits(device, random_image((1, 5, 12, 40)), plan, some_forests(plan, pure=True), distinct=2)


def test_what_does_not_fit_is_refused() -> None:
    plan = make_plan([(scale, True) for scale in SCALES], channels=3)
    forests = some_forests(plan, pure=True)
    sizes = {}
    for limit in (H100, 99 << 10, 64 << 10, 48 << 10):
        launch = fused.plan_fused(load_plan(plan), load_forest(HostDevice(shared_bytes_per_block=limit), forests))
        sizes[limit >> 10] = launch and (launch.planes, launch.rows)
        assert launch is None or launch.shared_bytes <= limit
    assert sizes == {227: (1, 8), 99: (1, 4), 64: (1, 4), 48: None}
    many = some_forests(plan, pure=True, classes=400)
    assert fused.plan_fused(load_plan(plan), load_forest(HostDevice(), many)) is None


# ----------------------------------------------------------------------------------------------------- a whole backend


@pytest.mark.parametrize("kind", KINDS)
def test_the_backend_gives_the_cpus_bytes(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features are exported too, so the stack is made; without them it is not."""
    limit_tiles(monkeypatch)
    device = HostDevice(shared_bytes_per_block=H100)
    backend = CudaBackend([device], forests=ForestChoice(fuses=True))
    masked = kind != "mixed"  # of whose region the mask leaves nothing
    assert_cpu_bytes(kind, backend, masked=masked)
    assert "predict_fused" not in device.launches
    names = ("Probabilities", "Simple Segmentation", "Uncertainty")
    assert_cpu_bytes(kind, backend, masked=masked, names=names)
    assert "predict_fused" in device.launches
    made = device.launches.index("predict_fused")
    assert not {"features_2d", "features_3d", "entered_staged_pure"} & set(device.launches[made:])


def test_the_backend_takes_two_kernels_where_one_does_not_fit() -> None:
    device = HostDevice(shared_bytes_per_block=20 << 10)
    names = ("Probabilities",)
    assert_cpu_bytes("flat", CudaBackend([device], forests=ForestChoice(fuses=True)), names=names)
    assert "predict_fused" not in device.launches
    assert "features_2d" in device.launches


def test_tiles_that_do_not_fit_the_memory_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pixelforest.kernels.cuda.tiles.SMALLEST_PIECE", 16)
    device = FaultyDevice(full_at_array=20)
    device.shared_bytes_per_block = H100
    assert_cpu_bytes(
        "flat", CudaBackend([device], forests=ForestChoice(fuses=True)), names=("Probabilities",), threads=1
    )
    assert device.launches.count("predict_fused") > 1


def test_it_is_off_until_it_has_been_measured() -> None:
    assert not ForestChoice().fuses


@pytest.mark.gpu
@LEAVES
@pytest.mark.parametrize("shape", [(1, 517, 1031), (37, 101, 143)], ids=["2d", "3d"])
def test_on_a_gpu(shape: Voxels, pure: bool) -> None:
    try:
        from pixelforest.kernels.cuda.cupy_device import open_devices

        device = open_devices([0])[0]
    except DeviceUnavailable as error:
        pytest.skip(str(error))
    plan = make_plan([(scale, shape[0] == 1) for scale in SCALES])
    image = random_image((1, *shape), dtype="float32")
    image[0, -1, 30:60, 100:] = np.nan
    assert_cpu_bits(device, image, plan, some_forests(plan, pure=pure))

"""Feature operations of a stand-in for a device, compared with the CPU's."""

from __future__ import annotations

import numpy as np
from support.cuda_host.host_device import HostArray, HostDevice

from pixelforest import kernels
from pixelforest.kernels.contract import FeaturePlan, Voxels
from pixelforest.kernels.cuda import features as cuda_features
from pixelforest.kernels.cuda import filters
from pixelforest.kernels.cuda.features import CudaPlan, CudaStack, load_plan
from pixelforest.testing.kernel_inputs import compute_features

Tile = tuple[Voxels, Voxels]


class Features:
    """Feature operations of a backend."""

    def __init__(self, device: HostDevice, *, split_solid: bool = True) -> None:
        self.device, self.split_solid = device, split_solid

    @property
    def pixels(self) -> Features:
        return self

    def load_plan(self, plan: FeaturePlan) -> CudaPlan:
        return load_plan(plan, split_solid=self.split_solid)

    def source_halo(self, plan: CudaPlan) -> Voxels:
        return plan.source_halo

    def to_device(self, source: np.ndarray) -> HostArray:
        return filters.upload_source(self.device, source)

    def to_host(self, array: HostArray) -> np.ndarray:
        return self.device.download(array)

    def feature_stack(self, source: HostArray, start: Voxels, tile: Tile, image: Voxels, plan: CudaPlan) -> CudaStack:
        return cuda_features.feature_stack(self.device, source, start, tile, image, plan)

    def features(self, stack: CudaStack) -> HostArray:
        return cuda_features.features(stack)


def assert_same_features(
    device: HostDevice, image: np.ndarray, plan: FeaturePlan, tile: Tile | None = None, *, split_solid: bool = True
) -> None:
    backends = (Features(device, split_solid=split_solid), kernels.load("cpu"))
    found, expected = (compute_features(backend, image, plan, tile) for backend in backends)
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(numbers, ~np.isnan(found))
    differing = np.argwhere((found.view(np.uint32) != expected.view(np.uint32)) & numbers)
    assert not len(differing), f"{len(differing)} differ, in columns {np.unique(differing[:, -1])}; {differing[0]}"

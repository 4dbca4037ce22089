"""The public suites of ``pixelforest.testing``, for every backend."""

from __future__ import annotations

from typing import ClassVar

from pixelforest.testing.backends import BackendSuite


class TestBackends(BackendSuite):
    """Small tests also run CUDA's kernels on the CPU."""

    has_stand_in = True
    sampled: ClassVar = {
        "test_flat_widths_around_the_fused_range": 8,
        "test_one_operation_alone": 20,
        "test_one_forest": 12,
        "test_several_forests": 6,
        "test_deep_chains": 2,
        "test_thresholds_are_compared_in_double": 8,
        "test_every_quantity_of_objects": 12,
        "test_every_quantity_of_neighbourhoods": 20,
    }

"""Ids never depend on how a frame is cut into slabs, on threads, or on where intermediate arrays lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.backends import also_on_the_host

from pixelforest.engine.objects.label import cut_frame, label_components, renumber_labels
from pixelforest.engine.objects.slab_labels import find_objects
from pixelforest.engine.objects.slab_sources import ComponentSource
from pixelforest.engine.objects.threshold import threshold_frame
from pixelforest.engine.project.thresholding import ThresholdSettings
from pixelforest.engine.resources import Resources
from pixelforest.engine.storage.scratch import Scratch
from pixelforest.kernels.contract import Backend
from pixelforest.testing.reference import labels as reference
from pixelforest.testing.reference import threshold as threshold_reference

EXAMPLES = settings(deadline=None, max_examples=30)
shapes = st.one_of(
    st.tuples(st.just(1), st.integers(1, 16), st.integers(1, 90)),
    st.tuples(st.integers(2, 9), st.integers(1, 8), st.integers(1, 12)),
)
plans = st.fixed_dictionaries(
    {"voxels": st.integers(1, 400), "threads": st.integers(1, 3), "memory": st.sampled_from([0, 1 << 24])}
)


def random_values(shape: tuple[int, int, int], share: float, stretch: int, seed: int) -> np.ndarray:
    """Values 1 to 3 on a share of the voxels; stretched along z, so that objects cross many faces."""
    rng = np.random.default_rng(seed)
    values = (rng.integers(1, 4, shape) * (rng.random(shape) < share)).astype(np.uint8)
    return np.repeat(values, stretch, axis=0)[: shape[0]]


@also_on_the_host
@EXAMPLES
@given(shapes, st.floats(0, 1), st.integers(1, 9), st.integers(0, 99), plans)
def test_components_do_not_depend_on_slabs(
    backend: Backend, shape: tuple[int, int, int], share: float, stretch: int, seed: int, plan: dict[str, int]
) -> None:
    values = random_values(shape, share, stretch, seed)
    expected = reference.label_components(values)
    with Scratch(plan["memory"]) as scratch:
        frame = label_components(
            lambda box: values[box.slices()], shape, values.dtype,
            resources=Resources(backend, plan["threads"], scratch.memory_bytes), scratch=scratch, voxels=plan["voxels"],
        )  # fmt: skip
        np.testing.assert_array_equal(frame.labels, expected)
        assert frame.count == expected.max()


@also_on_the_host
@EXAMPLES
@given(shapes, st.floats(0, 1), st.integers(1, 9), st.integers(0, 99), st.integers(1, 9), st.integers(1, 3))
def test_components_without_labels_of_the_frame(
    backend: Backend, shape: tuple[int, int, int], share: float, stretch: int, seed: int, thickness: int, threads: int
) -> None:
    """Not-a-number equals nothing, not even in another slab."""
    values = random_values(shape, share, stretch, seed).astype(np.float32)
    values[values == 3] = np.nan
    expected = reference.label_components(values)
    source = ComponentSource(lambda box: values[box.slices()], shape, values.dtype, backend)
    objects = find_objects(source, cut_frame(shape, thickness), Resources(backend, threads, 1 << 24))
    assert objects.count == expected.max()
    for i, slab in enumerate(objects.slabs):
        np.testing.assert_array_equal(objects.label(i), expected[slab.slices()])


@EXAMPLES
@given(shapes, st.floats(0, 1), st.integers(0, 99), plans)
def test_label_images(
    backend: Backend, shape: tuple[int, int, int], share: float, seed: int, plan: dict[str, int]
) -> None:
    values = random_values(shape, share, 1, seed) * np.uint16(1000)
    expected, originals = reference.renumber(values)
    with Scratch(plan["memory"]) as scratch:
        frame = renumber_labels(
            lambda box: values[box.slices()], shape, values.dtype,
            resources=Resources(backend, plan["threads"], scratch.memory_bytes), scratch=scratch, voxels=plan["voxels"],
        )  # fmt: skip
        np.testing.assert_array_equal(frame.labels, expected)
        assert frame.original_ids is not None
        assert frame.original_ids.tolist() == originals


@pytest.mark.slow
@EXAMPLES
@given(
    st.sampled_from(["simple", "hysteresis", "ipht"]),
    st.sampled_from([(1, 12, 40), (8, 7, 9)]),
    st.tuples(*[st.sampled_from([0.05, 0.3, 0.8, 1.3])] * 3),
    st.sampled_from([0, 1]),
    st.booleans(),
    st.integers(0, 99),
    plans,
)
def test_thresholds_do_not_depend_on_slabs(
    backend: Backend,
    method: str,
    shape: tuple[int, int, int],
    sigma: tuple[float, float, float],
    core_channel: int,
    strict: bool,
    seed: int,
    plan: dict[str, int],
) -> None:
    maps = (np.random.default_rng(seed).random((*shape, 2)) * 16).round().astype(np.float32) / np.float32(16)
    chosen = ThresholdSettings(method, 2, 60, 0.75, 0.5, sigma, 0, core_channel, strict)
    with Scratch(plan["memory"]) as scratch:
        found = threshold_frame(
            lambda box: maps[box.slices()], shape, 2, chosen, None,
            resources=Resources(backend, plan["threads"], 1 << 24), scratch=scratch, voxels=plan["voxels"],
        )  # fmt: skip
        np.testing.assert_array_equal(found, threshold_reference.threshold(maps, chosen, None))

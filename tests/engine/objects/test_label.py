"""Objects of a frame: recorded ids, refused inputs, slabs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from support.emulated_gpu.build import are_in_use

from pixelforest.box import Box
from pixelforest.engine.errors import InputMismatch
from pixelforest.engine.objects import label
from pixelforest.engine.objects.label import LabelFrame, label_components, plan_slabs, renumber_labels, slab_voxels
from pixelforest.engine.resources import Resources
from pixelforest.engine.storage.scratch import Scratch
from pixelforest.kernels.contract import Backend

PLENTY = 1 << 30


def objects_of(
    values: np.ndarray, backend: Backend, *, renumber: bool = False, voxels: int | None = None
) -> LabelFrame:
    """The objects of a frame in memory."""
    work = renumber_labels if renumber else label_components
    with Scratch(PLENTY) as scratch:
        return work(
            lambda box: values[box.slices()], values.shape, values.dtype,
            resources=Resources(backend, 2, scratch.memory_bytes), scratch=scratch, voxels=voxels,
        )  # fmt: skip


@pytest.mark.golden
@pytest.mark.parametrize("voxels", [None, 1000], ids=["one slab", "many slabs"])
@pytest.mark.parametrize(
    ("case", "name", "renumber"),
    [
        ("obj2d_seg", "seg.png", False),
        ("obj3d_seg", "seg.h5", False),
        ("obj2dt_seg", "seg.h5", False),
        ("obj2d_label", "labels.h5", True),
    ],
)
def test_recorded_ids(
    golden_image: Callable[[str, str], np.ndarray],
    backend: Backend,
    case: str,
    name: str,
    renumber: bool,
    voxels: int | None,
) -> None:
    given, expected = golden_image(case, name), golden_image(case, "expected/object_identities.h5")
    assert given.shape == expected.shape
    for values, ids in zip(given[..., 0], expected[..., 0], strict=True):
        frame = objects_of(values, backend, renumber=renumber, voxels=voxels)
        np.testing.assert_array_equal(frame.labels, ids)
        assert frame.labels.dtype == np.uint32
        assert frame.count == ids.max() > 0


def test_label_images_keep_their_values(backend: Backend) -> None:
    frame = objects_of(np.array([[[7, 0, 3], [9, 3, 7]]], np.uint16), backend, renumber=True)
    assert frame.labels.tolist() == [[[1, 0, 2], [3, 2, 1]]]
    assert frame.original_ids is not None
    assert frame.original_ids.tolist() == [7, 3, 9]
    assert frame.original_ids.dtype == np.uint16


@pytest.mark.parametrize("dtype", ["int8", "int64"])
def test_signed_labels_work_while_they_are_not_negative(backend: Backend, dtype: str) -> None:
    values = np.array([[[0, 5, 5, 100]]], dtype)
    assert objects_of(values, backend, renumber=True).labels.tolist() == [[[0, 1, 1, 2]]]
    values[0, 0, 2] = -3
    with pytest.raises(InputMismatch, match=r"-3; the first one stands at \(z, y, x\) = \(0, 0, 2\)"):
        objects_of(values, backend, renumber=True)


@pytest.mark.parametrize("dtype", ["bool", "float32", "float64"])
def test_labels_that_are_not_integers_are_refused(backend: Backend, dtype: str) -> None:
    with pytest.raises(InputMismatch, match=f"must hold integers, not {dtype}"):
        objects_of(np.zeros((1, 2, 2), dtype), backend, renumber=True)


@pytest.mark.parametrize("dtype", ["complex64", "S3"])
def test_segmentations_that_are_no_numbers_are_refused(backend: Backend, dtype: str) -> None:
    with pytest.raises(InputMismatch, match="cannot be split into objects"):
        objects_of(np.zeros((1, 2, 2), dtype), backend)


@pytest.mark.parametrize("renumber", [False, True])
def test_more_objects_than_ids_are_refused(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, *, renumber: bool
) -> None:
    monkeypatch.setattr(label, "MAX_OBJECTS", 3)
    assert objects_of(np.array([[[1, 2, 3]]], np.uint8), backend, renumber=renumber).count == 3
    with pytest.raises(InputMismatch, match="4 objects, more than"):
        objects_of(np.array([[[1, 2, 3, 4]]], np.uint8), backend, renumber=renumber)


@pytest.mark.parametrize("renumber", [False, True])
@pytest.mark.parametrize("shape", [(1, 4, 5), (3, 2, 2), (0, 4, 5), (1, 0, 5)])
def test_frames_without_objects(backend: Backend, shape: tuple[int, int, int], *, renumber: bool) -> None:
    frame = objects_of(np.zeros(shape, np.uint8), backend, renumber=renumber)
    assert frame.count == 0
    assert frame.labels.shape == shape
    assert not frame.labels.any()


@pytest.mark.slow
@pytest.mark.skipif(are_in_use(), reason="too much work for emulated GPUs")
def test_a_frame_of_more_than_two_to_the_31_voxels(backend: Backend) -> None:
    """Rods along z through every slab, balls, and a voxel at the very end; the file with the labels stays sparse."""
    shape, size = (1310, 1310, 1310), 1310
    assert size**3 > 2**31

    def read(box: Box) -> np.ndarray:
        values = np.zeros(box.shape, np.uint8)
        y, x = np.ogrid[box.start[1] : box.stop[1], :size]
        values[:] = (y % 100 == 50) & (x % 100 == 50)
        for out, z in zip(values, range(box.start[0], box.stop[0]), strict=True):
            room = 400 - (z % 100 - 50) ** 2
            out |= ((y % 100) - 20) ** 2 + ((x % 100) - 20) ** 2 <= room
            if z == size - 1:
                out[size - 1 - box.start[1] :, -1] = 1
        return values

    with Scratch(1 << 28) as scratch:
        frame = label_components(
            read, shape, np.uint8, resources=Resources(backend, 2, scratch.memory_bytes), scratch=scratch
        )
        across = len(range(50, size, 100))
        corners = len(range(20, size + 20, 100))
        layers = len(range(50, size, 100))
        assert frame.count == across**2 + layers * corners**2 + 1
        assert frame.labels[-1, -1, -1] == frame.count
        assert frame.labels[0, 50, 50] == frame.labels[-1, 50, 50] == 1
        assert frame.labels[-1, -60, -60] == across**2


def test_an_error_while_reading_is_passed_on(backend: Backend) -> None:
    def read(box: Box) -> np.ndarray:
        if box.start[0] == 3:
            raise InputMismatch("no more")
        return np.ones(box.shape, np.uint8)

    for work in (label_components, renumber_labels):
        with Scratch(PLENTY) as scratch, pytest.raises(InputMismatch, match="no more"):
            work(
                read,
                (6, 2, 2),
                np.uint8,
                resources=Resources(backend, 2, scratch.memory_bytes),
                scratch=scratch,
                voxels=4,
            )


@pytest.mark.parametrize(("shape", "voxels"), [((1, 10, 7), 20), ((5, 4, 6), 50), ((5, 4, 6), 7), ((5, 4, 6), 1000)])
def test_slabs_cover_the_frame_in_scan_order(shape: tuple[int, int, int], voxels: int) -> None:
    slabs = plan_slabs(shape, voxels)
    places = np.arange(np.prod(shape)).reshape(shape)
    assert np.concatenate([places[s.slices()].reshape(-1) for s in slabs]).tolist() == places.reshape(-1).tolist()
    assert all(s.size <= max(voxels, shape[2]) for s in slabs)


def test_slabs_obey_the_budget() -> None:
    budget = 1 << 28
    for threads in (1, 4):
        voxels = slab_voxels((2000, 2000, 2000), 16, memory_bytes=budget, threads=threads)
        assert threads * voxels * 16 <= budget / 4


def test_a_frame_costs_its_labels_and_nothing_else(backend: Backend) -> None:
    values = (np.random.default_rng(0).random((8, 64, 64)) < 0.4).astype(np.uint8)
    with Scratch(PLENTY) as scratch:
        frame = label_components(
            lambda box: values[box.slices()], values.shape, values.dtype,
            resources=Resources(backend, 1, scratch.memory_bytes), scratch=scratch, voxels=5000,
        )  # fmt: skip
        assert scratch.bytes_in_memory == frame.labels.nbytes
